"""A scan lists every file once, as rows or as a reject, and stores nobody's name."""

import os
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
from archive_files import write_csv, write_dicom, write_nifti, write_png
from PIL import Image

from medino.core import InputError
from medino.data.identity import IdentityKey
from medino.data.manifest import Manifest
from medino.data.reading import NOT_AN_IMAGE
from medino.data.scanning.scan import scan

KEY = IdentityKey(b"k" * 32)


def paths_of(manifest: Manifest) -> list[str]:
    return sorted(set(manifest.column("path")))


def test_every_file_becomes_rows_or_a_reject_with_a_reason(tmp_path: Path) -> None:
    write_dicom(tmp_path / "b" / "one", PatientID="7")
    write_png(tmp_path / "a.png")
    write_nifti(tmp_path / "c.nii.gz")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:20])
    manifest = scan([tmp_path], key=KEY)
    assert list(manifest.column("path")) == ["a.png", "b/one", *["c.nii.gz"] * 6]
    assert list(manifest.column("frame")) == [0, 0, *range(6)]
    reasons = {reject.path: reject.reason for reject in manifest.rejects}
    assert sorted(reasons) == ["cut.png", "empty.dcm", "notes.txt"]
    assert (reasons["notes.txt"], reasons["empty.dcm"]) == (NOT_AN_IMAGE, "the file is empty")


def test_the_header_of_a_dicom_file_fills_its_row(tmp_path: Path) -> None:
    write_dicom(tmp_path / "x.dcm", PatientID=" 7 ", PixelSpacing=[0.5, 0.25], BodyPartExamined="CHEST")
    row = scan([tmp_path], key=KEY).sample(0)
    assert (row.format, row.modality, row.manufacturer, row.body_part) == ("dicom", "DX", "Siemens", "CHEST")
    assert (row.rows, row.columns, row.spacing_row_mm, row.spacing_column_mm) == (6, 8, 0.5, 0.25)
    assert row.patient == KEY.hash("patient", "7")
    assert (row.study, row.series) == (KEY.hash("study", "1.2.3"), KEY.hash("series", "1.2.3.4"))
    assert row.patient_unit == "patient"


def test_segmentations_are_no_images(tmp_path: Path) -> None:
    write_dicom(tmp_path / "image.dcm", PatientID="7")
    write_dicom(tmp_path / "mask.dcm", PatientID="7", Modality="SEG")
    manifest = scan([tmp_path], key=KEY)
    assert list(manifest.column("modality")) == ["DX"]
    assert [reject.path for reject in manifest.rejects] == ["mask.dcm"]


def test_hidden_files_links_in_circles_and_repeats_are_passed_over(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_png(data / "a" / "1.png")
    write_png(data / ".hidden" / "2.png")
    write_png(data / "a" / ".3.png")
    (data / "a" / "up").symlink_to(data)
    (data / "a" / "twin.png").symlink_to(data / "a" / "1.png")
    (data / "a" / "broken.png").symlink_to(data / "nowhere")
    write_png(tmp_path / "outside" / "4.png")
    (data / "linked").symlink_to(tmp_path / "outside")
    manifest = scan([data, data / "a"], key=KEY)
    assert paths_of(manifest) == ["a/1.png", "linked/4.png"]
    assert [(reject.path, reject.reason) for reject in manifest.rejects] == [("a/broken.png", "a link to nothing")]
    assert manifest.settings["notes"][0].startswith("3 links or paths")


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert [reject.reason for reject in scan([tmp_path], key=KEY).rejects] == ["no regular file"]


def test_a_file_name_that_is_no_text_is_rejected(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png")
    try:
        (tmp_path / os.fsdecode(b"\xff.png")).write_bytes((tmp_path / "a.png").read_bytes())
    except OSError:
        pytest.skip("this file system holds UTF-8 names only")
    manifest = scan([tmp_path], key=KEY)
    manifest.write(tmp_path / "cohort.parquet")
    assert "no valid UTF-8" in Manifest.read(tmp_path / "cohort.parquet").rejects[0].reason


def test_single_files_and_several_folders_have_roots_of_their_own(tmp_path: Path) -> None:
    one, two = write_png(tmp_path / "one" / "x.png"), write_png(tmp_path / "two" / "x.png")
    manifest = scan([one, two.parent], key=KEY)
    assert [manifest.source(row).path for row in range(2)] == [one.resolve(), two.resolve()]
    assert len(set(manifest.column("sample_id"))) == len(set(manifest.column("patient"))) == 2


def test_the_number_of_workers_does_not_matter(tmp_path: Path) -> None:
    for number in range(40):
        write_png(tmp_path / f"{number}.png")
    write_csv(tmp_path / "x.txt", "no image")
    alone, together = (scan([tmp_path], key=KEY, verify=True, workers=workers) for workers in (1, 2))
    assert alone.table == together.table
    assert alone.rejects == together.rejects


def test_a_moved_archive_keeps_its_fingerprint(tmp_path: Path) -> None:
    write_dicom(tmp_path / "here" / "a" / "x.dcm", PatientID="7")
    before = scan([tmp_path / "here"], key=KEY)
    (tmp_path / "here").rename(tmp_path / "there")
    assert scan([tmp_path / "there"], key=KEY).fingerprint == before.fingerprint


def test_verifying_moves_what_cannot_be_decoded_to_the_rejects(tmp_path: Path) -> None:
    volume = np.zeros((4, 4, 3), dtype=np.float32)
    volume[1, 1, 2] = np.nan
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "volume.nii")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.tif", compression="tiff_adobe_deflate")
    whole = (tmp_path / "whole.tif").read_bytes()
    middle = len(whole) // 2
    (tmp_path / "damaged.tif").write_bytes(whole[:middle] + bytes(100) + whole[middle + 100 :])
    assert len(scan([tmp_path], key=KEY)) == 5
    verified = scan([tmp_path], key=KEY, verify=True)
    assert list(verified.column("path")) == ["whole.tif"]
    rejected = [(reject.path, reject.frame) for reject in verified.rejects]
    assert rejected == [("damaged.tif", 0), *(("volume.nii", frame) for frame in range(3))]
    assert "NaN" in verified.rejects[1].reason


@pytest.mark.parametrize(("plane", "slices", "size"), [("axial", 6, (5, 4)), (1, 5, (6, 4)), ("0", 4, (6, 5))])
def test_volumes_are_sliced_along_the_plane(tmp_path: Path, plane: int | str, slices: int, size: tuple) -> None:
    write_nifti(tmp_path / "v.nii.gz", shape=(4, 5, 6))
    manifest = scan([tmp_path], key=KEY, plane=plane)
    assert len(manifest) == slices
    assert {(row.rows, row.columns) for row in manifest.samples()} == {size}


def test_blank_identifiers_fall_back_to_the_study_with_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for study, patient in (("1.1", ""), ("1.2", "ANONYMOUS"), ("1.3", "007")):
        write_dicom(tmp_path / study / "x.dcm", PatientID=patient, StudyInstanceUID=study)
    manifest = scan([tmp_path], key=KEY)
    assert list(manifest.column("patient_unit")) == ["study", "study", "patient"]
    assert manifest.patient_unit == "patient+study"
    assert manifest.sample(0).patient == manifest.sample(0).study
    assert "2 of 3 image files hold no PatientID to trust" in caplog.text


def test_a_constant_identifier_falls_back_to_the_study_and_a_pattern_can_tell_better(tmp_path: Path) -> None:
    for study in ("1.1", "1.2", "1.3"):
        write_dicom(tmp_path / f"p{study[-1]}" / "x.dcm", PatientID="RESEARCH", StudyInstanceUID=study)
    assert scan([tmp_path], key=KEY).patient_unit == "study"
    told = scan([tmp_path], key=KEY, patient_pattern=r"p(\d)/")
    assert told.patient_unit == "patient"
    assert list(told.column("patient")) == [KEY.hash("patient", number) for number in "123"]


def test_files_without_patient_are_their_own_unit_unless_the_labels_say_whose_they_are(tmp_path: Path) -> None:
    for number in range(3):
        write_png(tmp_path / "data" / f"{number}.png")
    assert scan([tmp_path / "data"], key=KEY).patient_unit == "file"
    labels = write_csv(tmp_path / "labels.csv", "path,label,patient", "0.png,ill,P1", "1.png,well,P1", "2.png,ill,")
    manifest = scan([tmp_path / "data"], key=KEY, labels=labels)
    assert list(manifest.column("label")) == ["ill", "well", "ill"]
    assert list(manifest.column("patient_unit")) == ["patient", "patient", "file"]
    assert manifest.sample(0).patient == manifest.sample(1).patient == KEY.hash("patient", "P1")


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("patient", ("7", "8")),
        ("study", ("1.1", "1.2")),
        ("accession", ("ACC7", "ACC8")),
        ("series", ("2.1", "2.2")),
        ("image", ("3.1", "3.2")),
        ("path", ("7/x.dcm", "8/x.dcm")),
    ],
)
def test_labels_join_by_what_the_headers_hold(tmp_path: Path, header: str, cells: tuple[str, str]) -> None:
    for place, patient in ((1, "7"), (2, "8")):
        tags = {"StudyInstanceUID": f"1.{place}", "SeriesInstanceUID": f"2.{place}", "SOPInstanceUID": f"3.{place}"}
        path = tmp_path / "data" / patient / "x.dcm"
        write_dicom(path, PatientID=patient, AccessionNumber=f"ACC{patient}", **tags)
    labels = write_csv(tmp_path / "labels.csv", f"{header},label", f"{cells[0]},ill", f"{cells[1]},well")
    assert list(scan([tmp_path / "data"], key=KEY, labels=labels).column("label")) == ["ill", "well"]


def test_labels_join_by_the_patient_that_the_pattern_finds(tmp_path: Path) -> None:
    write_png(tmp_path / "data" / "p7_1.png")
    labels = write_csv(tmp_path / "labels.csv", "patient,label", "7,ill", "8,well")
    manifest = scan([tmp_path / "data"], key=KEY, labels=labels, patient_pattern=r"p(\d+)_")
    assert manifest.sample(0).label == "ill"
    assert "1 of 2 rows of the labels mean no readable image" in manifest.settings["notes"]


def test_a_given_split_that_tears_a_patient_apart_is_refused(tmp_path: Path) -> None:
    write_dicom(tmp_path / "data" / "a.dcm", PatientID="7")
    write_dicom(tmp_path / "data" / "b.dcm", PatientID="7")
    labels = write_csv(tmp_path / "labels.csv", "image,label,split", "a,ill,train", "b,ill,test")
    with pytest.raises(InputError, match="1 of 1 patients"):
        scan([tmp_path / "data"], key=KEY, labels=labels)


def test_masks_are_found_by_path_or_by_name_and_are_no_images(tmp_path: Path) -> None:
    data, masks = tmp_path / "data", tmp_path / "data" / "masks"
    write_png(data / "a" / "1.png")
    write_png(data / "b" / "1.png")
    write_dicom(data / "c" / "unique.dcm", PatientID="7")
    write_png(data / "none.png")
    write_nifti(data / "v.nii.gz")
    write_png(masks / "a" / "1.png")
    write_png(masks / "b" / "1.tif")
    write_png(masks / "elsewhere" / "unique.png")
    write_nifti(masks / "v.nii.gz", dtype="uint8")
    write_png(masks / "stray.png")
    manifest = scan([data], masks=masks, key=KEY)
    found = dict(zip(manifest.column("path"), manifest.column("mask_path"), strict=True))
    assert found == {
        "a/1.png": "a/1.png",
        "b/1.png": "b/1.tif",
        "c/unique.dcm": "elsewhere/unique.png",
        "none.png": None,
        "v.nii.gz": "v.nii.gz",
    }
    slices = manifest.column("path") == "v.nii.gz"
    assert list(manifest.column("mask_frame")[slices]) == list(range(6))
    assert manifest.mask_source(0).path == (masks / "a" / "1.png").resolve()
    assert "1 files in the masks' folder belong to no image" in manifest.settings["notes"]


def test_a_mask_whose_name_fits_several_images_is_given_to_none(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png", "b/2.png"):
        write_png(tmp_path / "data" / name)
    for name in ("1.png", "2.png"):
        write_png(tmp_path / "masks" / name)
    manifest = scan([tmp_path / "data"], masks=tmp_path / "masks", key=KEY)
    assert list(manifest.column("mask_path")) == [None, None, "2.png"]
    assert any("2 images go without mask" in note for note in manifest.settings["notes"])


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "data" / "1.png", size=(6, 8))
    write_png(tmp_path / "masks" / "1.png", size=(8, 6))
    with pytest.raises(InputError, match=r"the mask 1\.png has 8 x 6 pixels, its image 6 x 8"):
        scan([tmp_path / "data"], masks=tmp_path / "masks", key=KEY)


def test_images_and_masks_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "1.png")
    with pytest.raises(InputError, match="give masks a folder of their own"):
        scan([tmp_path], masks=tmp_path, key=KEY)


def test_masks_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "data" / "1.png")
    write_png(tmp_path / "masks" / "2.png")
    with pytest.raises(InputError, match="none of the 1 files"):
        scan([tmp_path / "data"], masks=tmp_path / "masks", key=KEY)


def test_one_key_makes_patients_comparable_and_another_does_not(tmp_path: Path) -> None:
    write_dicom(tmp_path / "data" / "x.dcm", PatientID="7")
    keys = (tmp_path / "one.key", tmp_path / "one.key", tmp_path / "other.key")
    patients = [scan([tmp_path / "data"], key=key).sample(0).patient for key in keys]
    assert patients[0] == patients[1] != patients[2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"plane": "oblique"}, "'oblique' is none of sagittal, coronal, axial, 0, 1, 2"),
        ({"patient_pattern": "p("}, "no regular expression"),
        ({"patient_pattern": "p1"}, "has no group"),
        ({"labels": "missing.csv"}, "labels' file missing.csv does not exist"),
        ({"masks": "missing"}, "masks' folder missing does not exist"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, options: dict, words: str) -> None:
    write_png(tmp_path / "1.png")
    with pytest.raises(InputError, match=words):
        scan([tmp_path], key=KEY, **options)


def test_a_folder_without_images_is_refused_with_the_main_reasons(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no files"):
        scan([tmp_path], key=KEY)
    write_csv(tmp_path / "a.txt", "x")
    write_csv(tmp_path / "b.txt", "y")
    with pytest.raises(InputError, match=f"2 x {NOT_AN_IMAGE}"):
        scan([tmp_path], key=tmp_path / "medino.key")
    assert not (tmp_path / "medino.key").exists()


def test_the_zoo_is_accounted_for_file_by_file(shared_data: Path) -> None:
    files = {path.name for path in (shared_data / "dicom_zoo").iterdir()}
    manifest = scan([shared_data / "dicom_zoo"], key=KEY)
    rows, rejects = set(manifest.column("path")), {reject.path for reject in manifest.rejects}
    masks = set(manifest.column("mask_path")) - {None}
    assert rows | rejects | masks == files
    assert len(rows) + len(rejects) + len(masks) == len(files)
    assert len(files) == 120


def test_real_tiles_get_label_and_patient_from_their_manifest(shared_data: Path) -> None:
    manifest = scan([shared_data / "lc25000_lung"], labels=shared_data / "MANIFEST.csv", key=KEY)
    assert len(manifest) == 1440
    assert Counter(manifest.column("label")) == {"lung_aca": 480, "lung_n": 480, "lung_scc": 480}
    assert manifest.patient_unit == "patient"


def test_real_volumes_get_their_masks(shared_data: Path) -> None:
    folder = shared_data / "hippocampus"
    manifest = scan([folder / "images"], masks=folder / "labels", patient_pattern=r"hippocampus_(\d+)", key=KEY)
    assert len(set(manifest.column("patient"))) == len(set(manifest.column("path"))) == 160
    assert list(manifest.column("mask_frame")) == list(manifest.column("frame"))
