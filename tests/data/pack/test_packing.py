"""A packed manifest's images, masks and rows are those of the manifest that was packed."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from archive_files import write_dicom, write_nifti, write_png
from PIL import Image

from medino.core import InputError, MedinoError
from medino.data import Manifest, PixelDataset, Pixels, record_rejects, scan
from medino.data.pack import packing, plan, shards
from medino.data.pack.packing import Packed, pack_manifest
from medino.data.pack.plan import PackPlan
from medino.data.pack.resize import shrink, shrink_mask
from medino.data.pack.shards import read_row
from medino.data.volumes import adjacent_slices

IDENTITY = ("sample_id", "patient", "study", "series", "instance", "patient_unit", "label", "split", "frame", "plane")


@pytest.fixture
def archive(tmp_path: Path) -> Manifest:
    """Twelve grey images of several sizes with masks, one colour image, and one file that can't be decoded."""
    generator = np.random.default_rng(0)
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    for number in range(12):
        size = (60 + 5 * number, 50 + number)
        Image.fromarray(generator.integers(0, 2**16, size, dtype=np.uint16)).save(images / f"{number:02d}.png")
        Image.fromarray(generator.integers(0, 4, size, dtype=np.uint8)).save(masks / f"{number:02d}.png")
    Image.fromarray(generator.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(images / "colour.png")
    broken = (images / "03.png").read_bytes()
    (images / "03.png").write_bytes(broken[: len(broken) // 2])
    return scan([images], masks=masks, key=tmp_path / "key")


def pack(manifest: Manifest, folder: Path, short_side: int | None = None, workers: int = 1) -> Packed:
    return pack_manifest(PackPlan(manifest, short_side), str(folder), workers)


def check_same(manifest: Manifest, packed: Manifest, short_side: int | None, rows: int = 10**6) -> None:
    """See that packed images are the resized originals in all fields, within the error that their shard states."""
    sources, images = PixelDataset(manifest), PixelDataset(packed)
    place = {sample_id: row for row, sample_id in enumerate(manifest.column("sample_id"))}
    for row in range(0, len(packed), max(1, len(packed) // rows)):
        sample = packed.sample(row)
        origin = place[sample.sample_id]
        expected, found = shrink(sources[origin], short_side), images[row]
        facts = read_row(packed.source(row)).facts
        assert float((expected.values - found.values).abs().max()) <= facts["largest_error"]
        if sources[origin] is expected and facts["slope"].is_integer():
            assert torch.equal(expected.values, found.values)
        assert facts["largest_error"] <= facts["slope"] / 2 * (1 + 1e-6) + np.spacing(found.values.abs().max().numpy())
        for name in (each.name for each in dataclasses.fields(Pixels) if each.name not in ("values", "valid")):
            assert getattr(expected, name) == getattr(found, name), name
        assert (expected.valid is None) == (found.valid is None)
        assert expected.valid is None or torch.equal(expected.valid, found.valid)
        assert (sample.rows, sample.columns) == tuple(found.values.shape[-2:])
        if found.spacing is not None:
            np.testing.assert_allclose((sample.spacing_row_mm, sample.spacing_column_mm), found.spacing, rtol=1e-6)
        if sample.mask_path is not None:
            assert torch.equal(images.mask(row), shrink_mask(sources.mask(origin), short_side))


@pytest.mark.parametrize("short_side", [None, 32, 55])
def test_images_and_masks_are_those_of_the_source_resized(
    archive: Manifest, tmp_path: Path, short_side: int | None
) -> None:
    packed = pack(archive, tmp_path / "out", short_side)
    assert len(packed.manifest) == 12
    check_same(archive, packed.manifest, short_side)


def test_rows_keep_who_and_what_they_are(archive: Manifest, tmp_path: Path) -> None:
    archive = archive.with_column("label", ["a", "b"] * 6 + ["c"]).with_column("split", ["train"] * 13)
    packed = pack(archive, tmp_path / "out", 32).manifest
    kept = archive.select([path != "03.png" for path in archive.column("path")])
    for name in IDENTITY:
        assert packed.column(name).tolist() == kept.column(name).tolist(), name
    assert set(packed.column("format")) == {"packed"}
    assert packed.fingerprint != archive.fingerprint
    assert packed.settings["packed"] == {"short_side": 32, "of": archive.fingerprint}


def test_what_cannot_be_decoded_is_a_reject_that_names_its_file(archive: Manifest, tmp_path: Path) -> None:
    packed = pack(archive, tmp_path / "out")
    (reject,) = packed.manifest.rejects
    assert (packed.manifest.roots[reject.root], reject.path) == (tmp_path / "images", "03.png")
    assert packed.rejects == {reject.reason: 1}
    assert packed.kept == {"exact": 12}


def test_a_mask_that_cannot_be_decoded_takes_its_image_with_it(archive: Manifest, tmp_path: Path) -> None:
    (tmp_path / "masks" / "05.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.fromarray(np.zeros((3, 3), dtype=np.uint8)).save(tmp_path / "masks" / "06.png")
    rejects = {reject.path: reject.reason for reject in pack(archive, tmp_path / "out").manifest.rejects}
    assert rejects["05.png"].startswith("its mask can't be read")
    assert rejects["06.png"] == "its mask has another size"


def test_shards_hold_neither_paths_nor_identifiers(tmp_path: Path) -> None:
    folder = tmp_path / "Quillfeather"
    write_dicom(folder / "Quillfeather.dcm", size=(60, 60), PatientID="Quillfeather", PatientName="Quillfeather")
    write_dicom(folder / "Quillfeather2.dcm", size=(60, 60), PatientID="Quillfeather", BodyPartExamined="CHEST")
    truncated = (folder / "Quillfeather2.dcm").read_bytes()[:-1000]
    (folder / "Quillfeather3.dcm").write_bytes(truncated)
    manifest = scan([folder])
    pack(manifest, tmp_path / "out")
    hashes = [value.encode() for name in ("patient", "study", "series") for value in manifest.column(name)]
    for shard in (tmp_path / "out").iterdir():
        data = shard.read_bytes()
        assert b"Quillfeather" not in data
        assert not any(value in data for value in hashes)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of two or three of the archive's images."""
    monkeypatch.setattr(plan, "SHARD_BYTES", 40_000)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.usefixtures("small_shards")
def test_the_bytes_do_not_depend_on_the_number_of_workers(archive: Manifest, tmp_path: Path) -> None:
    one, three = (pack(archive, tmp_path / name, 48, workers) for name, workers in (("one", 1), ("three", 3)))
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    assert one.manifest.table.equals(three.manifest.table)
    assert one.shards > 3
    assert all(len(data) < 45_000 for data in contents(tmp_path / "one").values())


@pytest.mark.usefixtures("small_shards")
def test_a_pack_goes_on_where_it_was(archive: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pack(archive, tmp_path / "whole", 48)
    written = packing.write_bytes
    calls = []

    def fails(*given: object) -> None:
        calls.append(given)
        if len(calls) == 6:
            raise MedinoError("the location is full")
        written(*given)

    monkeypatch.setattr(packing, "write_bytes", fails)
    with pytest.raises(MedinoError, match="full"):
        pack(archive, tmp_path / "out", 48)
    monkeypatch.setattr(packing, "write_bytes", written)
    # What a location that does not write whole files can leave behind.
    cut = tmp_path / "out" / "images-00001.arrow"
    cut.write_bytes(cut.read_bytes()[:-100])
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("images-*") if path != cut}
    resumed = pack(archive, tmp_path / "out", 48)
    assert resumed.found == len(kept) >= 1
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert dataclasses.replace(resumed, found=0, manifest=whole.manifest) == whole
    assert resumed.manifest.rejects == whole.manifest.rejects
    assert pack(archive, tmp_path / "out", 48).found == whole.shards


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize(
    "other",
    [
        lambda manifest: (manifest, 33),
        lambda manifest: (manifest.select(range(1, len(manifest))), 32),
        lambda manifest: (manifest.with_column("mask_path", ["other.png"] * len(manifest)), 32),
    ],
)
def test_shards_of_something_else_are_not_written_over(
    archive: Manifest, tmp_path: Path, other: Callable[[Manifest], tuple[Manifest, int]]
) -> None:
    pack(archive, tmp_path / "out", 32)
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match="holds shards of another"):
        pack(other(archive)[0], tmp_path / "out", other(archive)[1])
    assert contents(tmp_path / "out") == before


def test_labels_and_splits_may_change_without_packing_again(archive: Manifest, tmp_path: Path) -> None:
    pack(archive, tmp_path / "out", 32)
    again = pack(archive.with_column("label", ["new"] * len(archive)), tmp_path / "out", 32)
    assert again.found == again.shards
    assert again.manifest.labels == ["new"]


def test_nothing_that_can_be_decoded_is_an_error(tmp_path: Path) -> None:
    path = write_png(tmp_path / "images" / "a.png", size=(50, 50))
    manifest = scan([path.parent])
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match="none of the 1 images"):
        pack(manifest, tmp_path / "out")
    with pytest.raises(InputError, match="is empty"):
        PackPlan(manifest.select([]))
    with pytest.raises(InputError, match="short side of 0"):
        PackPlan(manifest, 0)


def test_a_packed_manifest_moves_with_its_shards(archive: Manifest, tmp_path: Path) -> None:
    packed = pack(archive, tmp_path / "out", 32).manifest
    packed.write(tmp_path / "out" / "cohort.parquet")
    expected = PixelDataset(packed)[3].values
    (tmp_path / "out").rename(tmp_path / "moved")
    moved = Manifest.read(tmp_path / "moved" / "cohort.parquet")
    assert moved.fingerprint == packed.fingerprint
    assert torch.equal(PixelDataset(moved)[3].values, expected)
    # Neither does it need the files that it was packed of.
    (tmp_path / "images").rename(tmp_path / "unmounted")
    assert len(PixelDataset(moved)) == 12


def test_a_row_of_another_manifests_shards_is_a_reason(archive: Manifest, tmp_path: Path) -> None:
    packed = pack(archive, tmp_path / "out").manifest
    wrong = packed.with_column("sample_id", ["x"] * len(packed))
    with pytest.raises(MedinoError, match="belongs to another manifest"):
        PixelDataset(wrong)[0]


def test_one_damaged_row_becomes_one_reject(archive: Manifest, tmp_path: Path) -> None:
    packed = pack(archive, tmp_path / "out").manifest
    packed.write(tmp_path / "out" / "cohort.parquet")
    left = record_rejects(tmp_path / "out" / "cohort.parquet", [packed.sample(4).reject("damaged")])
    assert left.column("sample_id").tolist() == np.delete(packed.column("sample_id"), 4).tolist()
    assert [reject.reason for reject in left.rejects if reject.root == 0] == ["damaged"]


def test_a_packed_manifest_can_be_packed_smaller(archive: Manifest, tmp_path: Path) -> None:
    large = pack(archive, tmp_path / "large").manifest
    small = pack(large, tmp_path / "small", 24).manifest
    check_same(large, small, 24)


def test_neighbouring_slices_are_those_of_the_source(tmp_path: Path) -> None:
    def slice_at(name: str, z: float, **tags: object) -> None:
        place = {"ImagePositionPatient": [0, 0, z], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        write_dicom(tmp_path / "images" / name, size=(40, 40), PixelSpacing=[1, 1], **place, **tags)

    for number, z in enumerate((5.0, 0.0, 2.5, 10.0, 7.5)):
        slice_at(f"{number}.dcm", z)
        slice_at(f"other{number}.dcm", z, SeriesInstanceUID="1.2.3.5")
    write_nifti(tmp_path / "images" / "one.nii.gz", shape=(40, 40, 4))
    write_nifti(tmp_path / "images" / "two.nii.gz", shape=(40, 40, 3))
    manifest = scan([tmp_path / "images"])
    packed = pack(manifest, tmp_path / "out", 20).manifest
    assert packed.column("sample_id").tolist() == manifest.column("sample_id").tolist()
    beside = adjacent_slices(manifest)
    assert (beside != np.arange(len(manifest))[:, None]).any()
    assert np.array_equal(adjacent_slices(packed), beside)
    assert PixelDataset(packed, neighbours=True)[2].stacked


def test_the_first_pixel_of_a_resized_slice_lies_where_its_centre_is(tmp_path: Path) -> None:
    place = {"ImagePositionPatient": [-100, 50, 7], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
    write_dicom(tmp_path / "images" / "a.dcm", size=(80, 40), PixelSpacing=[0.5, 2.0], **place)
    packed = pack(scan([tmp_path / "images"]), tmp_path / "out", 20).manifest.sample(0)
    assert (packed.spacing_row_mm, packed.spacing_column_mm) == (1.0, 4.0)
    # Half a pixel out of the corner: one millimetre more along the row (y), a quarter more down (-z).
    assert packed.position_mm == pytest.approx([-100, 51, 6.75])


def test_the_zoo_comes_back_in_all_fields(shared_data: Path, tmp_path: Path) -> None:
    manifest = scan([shared_data / "dicom_zoo"])
    manifest = manifest.select(manifest.column("frame").astype(int) == 0)
    packed = pack(manifest, tmp_path / "out", workers=2).manifest
    assert len(packed) > 100
    check_same(manifest, packed, None)


@pytest.mark.parametrize("short_side", [None, 24])
def test_volumes_and_their_labels_come_back(shared_data: Path, tmp_path: Path, short_side: int | None) -> None:
    folder = tmp_path / "volumes"
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
        for file in sorted((shared_data / "hippocampus" / kind).iterdir())[:3]:
            (folder / kind / file.name).symlink_to(file)
    manifest = scan([folder / "images"], masks=folder / "labels", plane="coronal")
    packed = pack(manifest, tmp_path / "out", short_side).manifest
    assert len(packed) == len(manifest) > 90
    check_same(manifest, packed, short_side, rows=40)


@pytest.mark.parametrize(
    ("folder", "short_side"), [("wbc_dataset1", 64), ("cxr_shenzhen", 200), ("dsb2018_nuclei", 100)]
)
def test_rasters_come_back(shared_data: Path, tmp_path: Path, folder: str, short_side: int) -> None:
    manifest = scan([shared_data / folder])
    manifest = manifest.select(np.arange(0, len(manifest), len(manifest) // 30))
    packed = pack(manifest, tmp_path / "out", short_side).manifest
    check_same(manifest, packed, short_side)


def test_opening_a_packed_cohort_opens_no_shard(
    archive: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(archive, tmp_path / "out", 32).manifest.write(tmp_path / "out" / "cohort.parquet")
    opened = []
    usual = shards._opened
    monkeypatch.setattr(shards, "_opened", lambda source: opened.append(source.path.name) or usual(source))
    images = PixelDataset(Manifest.read(tmp_path / "out" / "cohort.parquet"))
    assert opened == []
    images[7]
    assert opened == ["images-00000.arrow"]
