"""`medino check` finds what leaks, and leaves alone what does not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from archive_files import write_csv, write_dicom
from planted import lc25000_groups

from medino.cli.main import main
from medino.data import Manifest, write_phantom


def scanned(folder: Path, tmp_path: Path, *parts: object) -> Path:
    """The manifest of a folder, split by patient."""
    cohort = tmp_path / "cohort.parquet"
    words = ["scan", str(folder), "-o", str(cohort), "--split-fractions", "0.6", "0.1", "0.3", *map(str, parts)]
    assert main(words) == 0
    return cohort


def checked(cohort: Path, tmp_path: Path, *parts: object) -> tuple[int, dict]:
    """Exit status and report."""
    report = tmp_path / "report.json"
    status = main(["check", str(cohort), "-o", str(report), *map(str, parts)])
    return status, json.loads(report.read_text())


def lc25000(shared_data: Path, tmp_path: Path, grouped: bool, groups: int | None) -> Path:
    """The manifest of some tiles; a patient is the original that a tile was made from, or the tile."""
    folder = tmp_path / "tiles"
    folder.mkdir()
    lines = ["path,label,patient" if grouped else "path,label"]
    for path, label, group in lc25000_groups(shared_data, groups):
        shutil.copy(path, folder / path.name)
        lines.append(f"tiles/{path.name},{label}" + (f",{group}" if grouped else ""))
    return scanned(folder, tmp_path, "--labels", write_csv(tmp_path / "labels.csv", *lines))


def test_tiles_of_one_original_in_two_splits_set_it_off(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = lc25000(shared_data, tmp_path, grouped=False, groups=12)
    capsys.readouterr()
    status, report = checked(cohort, tmp_path)
    assert status == 1
    assert report["leaks"]
    manifest = Manifest.read(cohort)
    path_of = dict(zip(manifest.column("sample_id"), manifest.column("path"), strict=True))
    group_of = {path.name: group for path, _, group in lc25000_groups(shared_data)}
    pairs = [(group_of[path_of[pair["first"]]], group_of[path_of[pair["second"]]]) for pair in report["duplicates"]]
    assert all(first == second for first, second in pairs)
    # More than half of the originals are found out.
    assert len({first for first, _ in pairs}) > 6
    assert any(pair["across_splits"] for pair in report["duplicates"])
    shown = capsys.readouterr().out
    assert "leaks found" in shown
    assert "lungn" not in shown


def test_tiles_split_by_their_original_do_not(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = lc25000(shared_data, tmp_path, grouped=True, groups=12)
    status, report = checked(cohort, tmp_path)
    assert (status, report["duplicates"], report["leaks"]) == (0, [], False)
    assert "no leak found" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [False, True])
def test_all_of_lc25000_is_told_apart_by_its_groups(shared_data: Path, tmp_path: Path, grouped: bool) -> None:
    cohort = lc25000(shared_data, tmp_path, grouped=grouped, groups=None)
    status, report = checked(cohort, tmp_path)
    assert status == (0 if grouped else 1)
    assert (len(report["duplicates"]) == 0) == grouped
    assert not any(shortcut["leak"] for shortcut in report["shortcuts"])


def test_radiographs_of_different_patients_are_not_taken_for_copies(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for path in sorted((shared_data / "cxr_shenzhen" / "images").iterdir())[:60]:
        shutil.copy(path, folder / path.name)
    status, report = checked(scanned(folder, tmp_path), tmp_path)
    assert (status, report["duplicates"]) == (0, [])


@pytest.mark.slow
def test_none_of_284_patients_is_taken_for_another(shared_data: Path, tmp_path: Path) -> None:
    _, report = checked(scanned(shared_data / "cxr_shenzhen" / "images", tmp_path), tmp_path)
    assert (report["images"], report["duplicates"]) == (284, [])


def test_neighbouring_slices_of_one_patient_are_no_leak(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "volumes"
    folder.mkdir()
    for path in sorted((shared_data / "hippocampus" / "images").glob("*.nii.gz"))[:6]:
        shutil.copy(path, folder / path.name)
    status, report = checked(scanned(folder, tmp_path), tmp_path)
    assert (status, report["duplicates"]) == (0, [])


def test_a_copied_slice_under_another_patient_is_a_leak(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "volumes"
    folder.mkdir()
    paths = sorted((shared_data / "hippocampus" / "images").glob("*.nii.gz"))[:3]
    for path in paths:
        shutil.copy(path, folder / path.name)
    shutil.copy(paths[0], folder / "again.nii.gz")
    status, report = checked(scanned(folder, tmp_path), tmp_path)
    assert status == 1
    assert {pair["kind"] for pair in report["duplicates"]} >= {"exact duplicate"}
    manifest = Manifest.read(tmp_path / "cohort.parquet")
    slices = sum(path == "again.nii.gz" for path in manifest.column("path"))
    assert sum(pair["kind"] == "exact duplicate" for pair in report["duplicates"]) == slices


def test_a_slice_under_another_patient_is_found_though_noise_was_added(shared_data: Path, tmp_path: Path) -> None:
    paths = sorted((shared_data / "series_ct_head_ge").glob("*.dcm"))[10:13]
    (tmp_path / "images").mkdir()
    for number, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        # Slices this far apart are different pictures, also under different patients.
        dataset.PatientID, dataset.StudyInstanceUID = f"P{number}", f"1.2.{number}"
        dataset.SeriesInstanceUID = f"1.3.{number}"
        dataset.save_as(tmp_path / "images" / f"{number}.dcm")
    values = dataset.pixel_array + np.random.default_rng(0).integers(-2, 3, dataset.pixel_array.shape)
    dataset.set_pixel_data(
        values.astype(dataset.pixel_array.dtype), dataset.PhotometricInterpretation, dataset.BitsStored
    )
    dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "P9", "1.2.9", "1.3.9"
    dataset.save_as(tmp_path / "images" / "9.dcm")
    status, report = checked(scanned(tmp_path / "images", tmp_path), tmp_path)
    assert status == 1
    manifest = Manifest.read(tmp_path / "cohort.parquet")
    path_of = dict(zip(manifest.column("sample_id"), manifest.column("path"), strict=True))
    assert any(value is not None for value in manifest.column("position_mm"))
    pairs = [({path_of[pair["first"]], path_of[pair["second"]]}, pair["kind"]) for pair in report["duplicates"]]
    assert pairs == [({"2.dcm", "9.dcm"}, "near-duplicate")]


@pytest.mark.slow
def test_labels_that_follow_the_scanner_are_a_leak_and_others_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = write_phantom(tmp_path / "phantom", patients=60, images_per_patient=1, size=64)
    cohort = scanned(archive.images, tmp_path, "--labels", archive.labels)
    status, report = checked(cohort, tmp_path)
    assert status == 0
    assert not any(shortcut["leak"] for shortcut in report["shortcuts"])
    manifest = Manifest.read(cohort)
    rigged = [f"label {name}" for name in manifest.column("manufacturer")]
    manifest.with_column("label", rigged).write(cohort)
    capsys.readouterr()
    status, report = checked(cohort, tmp_path)
    assert status == 1
    assert "manufacturer" in {each["fact"] for each in report["shortcuts"] if each["leak"]}
    assert "manufacturer: balanced accuracy 1.00" in capsys.readouterr().out


def test_patients_and_series_in_two_places_are_leaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        path = tmp_path / "images" / f"{number}.dcm"
        write_dicom(path, PatientID=f"P{number // 2}", SeriesInstanceUID=f"1.2.{number}")
    assert main(["scan", str(tmp_path / "images"), "-o", str(tmp_path / "cohort.parquet")]) == 0
    splits = ["train", "test", "train", "train", "test", "test"]
    Manifest.read(tmp_path / "cohort.parquet").with_column("split", splits).write(tmp_path / "cohort.parquet")
    capsys.readouterr()
    status, report = checked(tmp_path / "cohort.parquet", tmp_path)
    assert status == 1
    assert len(report["torn_patients"]) == 1
    # All six share the study 1.2.3.
    assert [torn["what"] for torn in report["shared"]] == ["study"]
    shown = capsys.readouterr().out
    assert "patients in two splits" in shown
    assert "P0" not in shown + json.dumps(report)
    assert "6 blank or clipped images were not compared" in shown


@pytest.mark.slow
def test_features_name_further_candidates(shared_data: Path, tmp_path: Path) -> None:
    cohort = lc25000(shared_data, tmp_path, grouped=False, groups=6)
    features = tmp_path / "features.parquet"
    assert main(["embed", "--manifest", str(cohort), "-o", str(features), "--thumbnail"]) == 0
    _, without = checked(cohort, tmp_path)
    _, beside = checked(cohort, tmp_path, "--features", features)

    def found(report: dict) -> set[tuple[str, str]]:
        return {(pair["first"], pair["second"]) for pair in report["duplicates"]}

    assert found(without) <= found(beside)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("--similarity", "2"), "similarity is 2.0"),
        (("--skill", "-1"), "skill is -1.0"),
        (("--workers", "0"), "0 worker processes can't read anything"),
        (("-o", "report.txt"), "no file name that ends in .json"),
        (("--features", "none.parquet"), "none.parquet does not exist"),
    ],
)
def test_what_can_not_be_used_is_said_in_one_line(
    parts: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dicom(tmp_path / "images" / "a.dcm", PatientID="P")
    cohort = tmp_path / "cohort.parquet"
    assert main(["scan", str(tmp_path / "images"), "-o", str(cohort)]) == 0
    capsys.readouterr()
    assert main(["check", str(cohort), *parts]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_a_missing_manifest_and_features_of_another_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(tmp_path / "none.parquet")]) == 2
    assert "none.parquet does not exist" in capsys.readouterr().err
