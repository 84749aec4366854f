"""The phantom archive: valid DICOM, known truth, two scanners that say nothing of the class, the same bytes again."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medino.core import InputError
from medino.data.intensity import Intensity
from medino.data.phantom import LABELS, PhantomArchive, write_phantom
from medino.data.readers import read_pixels
from medino.data.scanning.scan import scan


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> PhantomArchive:
    """The default archive: 300 images of 60 patients."""
    return write_phantom(tmp_path_factory.mktemp("phantom") / "archive")


def image_files(archive: PhantomArchive) -> list[Path]:
    return sorted(archive.images.glob("*/[0-9]*.dcm"))


def labels_of(archive: PhantomArchive) -> dict[str, str]:
    with archive.labels.open(newline="") as file:
        return {row["patient"]: row["label"] for row in csv.DictReader(file)}


def mask_of(archive: PhantomArchive, file: Path) -> np.ndarray:
    return np.asarray(Image.open(archive.masks / file.relative_to(archive.images).with_suffix(".png")))


def bytes_of(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_image_is_valid_twelve_bit_dicom(archive: PhantomArchive) -> None:
    files = image_files(archive)
    assert len(files) == 300
    uids = Counter()
    for path in files:
        file = pydicom.dcmread(path)
        assert file.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert (file.BitsAllocated, file.BitsStored, file.HighBit) == (16, 12, 11)
        assert file.pixel_array.shape == (96, 96)
        assert file.pixel_array.max() <= 4095
        assert file.PixelSpacing == [3.75, 3.75]
        assert file.PatientID == f"PHANTOM-{path.parent.name}"
        for uid in (file.SOPInstanceUID, file.StudyInstanceUID, file.SeriesInstanceUID):
            assert uid.is_valid
        uids[file.SOPInstanceUID] += 1
    assert len(uids) == 300


def test_scanning_finds_patients_labels_and_masks_and_rejects_the_damaged_file(archive: PhantomArchive) -> None:
    manifest = scan([archive.images], labels=archive.labels, masks=archive.masks, verify=True)
    assert len(manifest) == 300
    assert len(set(manifest.column("patient"))) == 60
    assert set(manifest.column("patient_unit")) == {"patient"}
    assert Counter(manifest.column("label")) == dict.fromkeys(LABELS, 100)
    assert all(manifest.column("mask_path"))
    assert [(Path(reject.path).name, bool(reject.reason)) for reject in manifest.rejects] == [("damaged.dcm", True)]


def test_the_damaged_file_has_a_header_and_half_its_pixels(archive: PhantomArchive) -> None:
    damaged = archive.images / "0001" / "damaged.dcm"
    assert pydicom.dcmread(damaged, stop_before_pixels=True).PatientID == "PHANTOM-0001"
    assert 0.4 < damaged.stat().st_size / (archive.images / "0001" / "1.dcm").stat().st_size < 0.6


def test_scanners_are_split_evenly_over_the_classes_and_over_patients(archive: PhantomArchive) -> None:
    labels = labels_of(archive)
    assert len(labels) == 60
    scanners: dict[str, set[str]] = {}
    for path in image_files(archive):
        file = pydicom.dcmread(path, stop_before_pixels=True)
        scanners.setdefault(file.PatientID, set()).add(f"{file.Manufacturer} {file.PhotometricInterpretation}")
    assert all(len(used) == 1 for used in scanners.values())
    counts = Counter((labels[patient], next(iter(used))) for patient, used in scanners.items())
    names = ("Phantom Scanner A MONOCHROME2", "Phantom Scanner B MONOCHROME1")
    assert counts == {(label, name): 10 for label in LABELS for name in names}


def test_masks_hold_lung_and_exactly_the_findings_of_the_class(archive: PhantomArchive) -> None:
    labels = labels_of(archive)
    for path in image_files(archive):
        mask = mask_of(archive, path)
        assert mask.shape == (96, 96)
        assert mask.dtype == np.uint8
        assert 0.1 < (mask > 0).mean() < 0.5
        sick = labels[f"PHANTOM-{path.parent.name}"] != "normal"
        assert set(np.unique(mask)) == ({0, 1, 2} if sick else {0, 1})


def test_lung_is_dark_and_nodules_are_bright_as_shown_on_both_scanners(archive: PhantomArchive) -> None:
    """MONOCHROME1 stores lung high and shows it dark: the way through reader and window has to turn it."""
    labels, table = labels_of(archive), scan([archive.images], labels=archive.labels)
    seen = set()
    for index in range(len(table)):
        sample = table.sample(index)
        path = table.source(index).path
        shown = Intensity().apply(read_pixels(path, sample))[0].numpy()
        mask = mask_of(archive, path)
        middle = shown[30:60, 44:52].mean()
        assert shown[mask == 1].mean() < middle - 0.15
        if labels[f"PHANTOM-{path.parent.name}"] == "nodules":
            assert shown[mask == 2].mean() > shown[mask == 1].mean()
        seen.add(sample.photometric)
    assert seen == {"MONOCHROME1", "MONOCHROME2"}


def test_a_histogram_and_a_thumbnail_help_and_do_not_solve_it(archive: PhantomArchive) -> None:
    """The few-shot problem leaves room for features: twenty images a class, tested on other patients."""
    labels = labels_of(archive)
    features, classes, patients = [], [], []
    for path in image_files(archive):
        file = pydicom.dcmread(path)
        values = file.pixel_array.astype(float) * (-1 if file.PhotometricInterpretation == "MONOCHROME1" else 1)
        low, high = np.percentile(values, (1, 99))
        shown = np.clip((values - low) / (high - low), 0, 1)
        thumbnail = shown.reshape(12, 8, 12, 8).mean(axis=(1, 3)).ravel()
        histogram = np.histogram(shown, 16, (0, 1))[0] / shown.size
        features.append(np.concatenate([thumbnail, 4 * histogram]))
        classes.append(labels[file.PatientID])
        patients.append(file.PatientID)
    data, truth, owners = np.array(features), np.array(classes), np.array(patients)
    scores = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        support: list[int] = []
        for label in LABELS:
            chosen = generator.permutation(np.unique(owners[truth == label]))[:10]
            support += [
                index for owner in chosen for index in generator.permutation(np.flatnonzero(owners == owner))[:2]
            ]
        test = ~np.isin(owners, owners[support])
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        probe.fit(data[support], truth[support])
        scores.append(balanced_accuracy_score(truth[test], probe.predict(data[test])))
    assert 0.6 < np.mean(scores) < 0.9


def test_the_same_seed_writes_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    settings = {"patients": 4, "images_per_patient": 2, "size": 48}
    write_phantom(tmp_path / "a", **settings)
    write_phantom(tmp_path / "b", **settings)
    write_phantom(tmp_path / "c", **settings, seed=1)
    first, again, other = (bytes_of(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() == other.keys()
    assert not any(first[name] == other[name] for name in first if name.endswith(".dcm"))


def test_the_same_archive_is_found_again_and_another_is_not_written_over(tmp_path: Path) -> None:
    settings = {"patients": 3, "images_per_patient": 1, "size": 32}
    (tmp_path / ".phantom.part").mkdir()
    (tmp_path / ".phantom.part" / "left by a killed run").touch()
    (tmp_path / "phantom").mkdir()
    archive = write_phantom(tmp_path / "phantom", **settings)
    before = bytes_of(tmp_path)
    assert write_phantom(tmp_path / "phantom", **settings) == archive
    with pytest.raises(InputError, match="something else"):
        write_phantom(tmp_path / "phantom", **settings, seed=5)
    assert bytes_of(tmp_path) == before
    assert {path.parts[0] for path in map(Path, before)} == {"phantom"}


def test_impossible_sizes_are_refused_in_words(tmp_path: Path) -> None:
    for settings, words in (({"patients": 0}, "empty"), ({"images_per_patient": 0}, "empty"), ({"size": 8}, "8 px")):
        with pytest.raises(InputError, match=words):
            write_phantom(tmp_path / "phantom", **settings)
    assert not (tmp_path / "phantom").exists()
