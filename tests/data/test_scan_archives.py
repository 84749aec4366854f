"""Archives go all the way: scanned, verified, trained on and embedded, as if they were folders."""

import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from archive_files import write_dicom, write_nifti, write_png
from sample_rows import sample_of

from medino.cli.main import main
from medino.core import UnreadableImageError
from medino.data import Manifest, PixelDataset, Source, check_splits, read_pixels
from medino.data.identity import IdentityKey
from medino.data.readers import describe
from medino.data.scanning.scan import scan
from medino.features import FeatureTable
from medino.models import PRESETS
from tests.ssl.conftest import TINY_BACKBONE, tiny_data, write_images

KEY = IdentityKey(b"k" * 32)


def folder_of_all_formats(folder: Path) -> Path:
    write_dicom(folder / "study" / "1", PatientID="7")
    write_dicom(folder / "study" / "2.dcm", PatientID="8")
    write_png(folder / "a.png")
    write_nifti(folder / "v.nii.gz")
    write_nifti(folder / "plain")
    (folder / "notes.txt").write_text("hello")
    return folder


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_zipped_folder_is_what_the_folder_is(tmp_path: Path, method: int, workers: int) -> None:
    folder = folder_of_all_formats(tmp_path / "data")
    with zipfile.ZipFile(tmp_path / "data.zip", "w", method) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    loose, packed = (scan([tmp_path / name], key=KEY, verify=True, workers=workers) for name in ("data", "data.zip"))
    assert len(packed) == len(loose) == 15
    assert list(packed.column("member")) == list(loose.column("path"))
    assert set(packed.column("path")) == {"data.zip"}
    assert len(set(packed.column("sample_id"))) == 15
    for name in ("format", "frame", "rows", "columns", "patient_unit", "modality", "spacing_row_mm"):
        assert list(packed.column(name)) == list(loose.column(name))
    named = loose.column("patient_unit") == "patient"
    assert list(packed.column("patient")[named]) == list(loose.column("patient")[named])
    assert [(reject.member, reject.reason) for reject in packed.rejects] == [
        (reject.path, reject.reason) for reject in loose.rejects
    ]
    for one, other in zip(PixelDataset(packed), PixelDataset(loose), strict=True):  # type: ignore[call-overload]
        assert one.values.equal(other.values)


@pytest.mark.slow
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_zoo_is_read_from_an_archive_as_from_its_folder(tmp_path: Path, shared_data: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "zoo.zip", "w", method) as archive:
        for path in (shared_data / "dicom_zoo").iterdir():
            archive.write(path, path.name)

    def read(source: Source) -> tuple[object, np.ndarray | None]:
        try:
            facts = describe(source)
            return facts, read_pixels(source, sample_of(facts[-1])).values.numpy()
        except UnreadableImageError as error:
            return str(error), None

    for path in (shared_data / "dicom_zoo").iterdir():
        (loose, values), (packed, same) = read(Source(path)), read(Source(tmp_path / "zoo.zip", path.name))
        if "slide" in str(loose):
            assert packed == "a slide inside an archive can't be read where it lies: unpack it"
            continue
        assert packed == loose
        np.testing.assert_array_equal(same, values)


def test_damaged_members_and_archives_are_rejects(tmp_path: Path) -> None:
    folder_of_all_formats(tmp_path / "data")
    noise = np.random.default_rng(0).bytes(4000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "data" / "a.png", "a.png")
        archive.writestr("b.png", noise)
    data = (tmp_path / "x.zip").read_bytes()
    place = data.index(noise[1000:1020])
    (tmp_path / "x.zip").write_bytes(data[:place] + bytes(20) + data[place + 20 :])
    (tmp_path / "y.zip").write_bytes(data[:100])
    manifest = scan([tmp_path / "x.zip", tmp_path / "y.zip"], key=KEY)
    assert list(manifest.column("member")) == ["a.png"]
    reasons = {(reject.path, reject.member): reject.reason for reject in manifest.rejects}
    assert set(reasons) == {("x.zip", "b.png"), ("y.zip", None)}
    assert all("damaged" in reason for reason in reasons.values())


def test_a_study_in_an_archive_is_trained_on_and_embedded(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    shutil.make_archive(str(tmp_path / "study"), "zip", tmp_path / "images")
    shutil.rmtree(tmp_path / "images")
    cohort = tmp_path / "cohort.parquet"
    assert (
        main(["scan", str(tmp_path / "study.zip"), "-o", str(cohort), "--patient_pattern", "([a-f])_", "--verify"]) == 0
    )
    manifest = Manifest.read(cohort)
    assert (len(manifest), len(set(manifest.column("patient"))), len(manifest.rejects)) == (12, 6, 0)
    backbone = PRESETS["mini"].replace(**TINY_BACKBONE)
    for num_workers in (0, 2):
        made = list(tiny_data(cohort, num_workers=num_workers, uniform_over="patients").batches(backbone, 2))
        assert [len(batch.sample_ids) for batch in made] == [4, 4]
        assert not any(batch.rejects for batch in made)
    features = tmp_path / "features.parquet"
    assert main(["embed", "--manifest", str(cohort), "-o", str(features), "--thumbnail"]) == 0
    assert len(FeatureTable.read(features)) == 12


def test_an_npz_file_gives_images_labels_splits_and_a_patient_for_each_image(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {}
    for name, count in {"train": 8, "val": 4, "test": 4}.items():
        arrays[f"{name}_images"] = generator.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{name}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
    np.savez_compressed(tmp_path / "mnist.npz", **arrays)
    manifest = scan([tmp_path / "mnist.npz"], key=KEY, verify=True)
    assert not manifest.rejects
    check_splits(manifest)
    assert Counter(manifest.column("split")) == {"train": 8, "validation": 4, "test": 4}
    assert Counter(manifest.column("label")) == {"0": 8, "1": 8}
    assert len(set(manifest.column("patient"))) == len(set(manifest.column("series"))) == 16
    assert manifest.patient_unit == "file"
    dataset = PixelDataset(manifest)
    for row in range(16):
        sample = manifest.sample(row)
        np.testing.assert_array_equal(dataset[row].values[0], arrays[str(sample.member)][sample.frame])


def test_the_slices_of_a_volume_in_an_npz_file_are_one_patients(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_images=np.zeros((3, 4, 28, 28), np.uint8))
    manifest = scan([tmp_path], key=KEY)
    assert sorted(Counter(manifest.column("patient")).values()) == [4, 4, 4]
