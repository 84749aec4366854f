"""DICOM segmentations: read back in full, referring to their images, and free of errors by another's validator."""

import shutil
import subprocess
import sys
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from volume_files import write_ct

from medino.core import InputError, UnreadableImageError
from medino.data import PixelDataset, Source, scan
from medino.data.volumes.stacks import find_stacks
from medino.segmentation.dicom_seg import write_dicom_seg

validated = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: apt-get install dicom3tools)"
)


def errors_of(path: Path) -> list[str]:
    """What the validator of dicom3tools calls errors."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def blocks(count: int, rows: int, columns: int) -> np.ndarray:
    """(count, rows, columns, 2) bool: two blocks that overlap, in the middle third of the images."""
    masks = np.zeros((count, rows, columns, 2), dtype=bool)
    middle = slice(count // 3, max(count // 3 + 1, 2 * count // 3))
    masks[middle, rows // 4 : rows // 2, columns // 4 : columns // 2, 0] = True
    masks[middle, rows // 3 : rows // 2 + 2, columns // 3 : columns // 2 + 3, 1] = True
    return masks


def written(paths: list[Path], masks: np.ndarray, out: Path, frames: bool = False) -> Path:
    sources = [(Source(paths[0]), frame) for frame in range(len(masks))] if frames else [(Source(p), 0) for p in paths]
    names = ["lung", "a finding of many words"][: masks.shape[-1]]
    write_dicom_seg(out, sources, masks, names, "f" * 32)
    return out


def slices_of(folder: Path) -> list[Path]:
    manifest = scan([folder], workers=1)
    (stack,) = find_stacks(manifest)
    return [manifest.source(row).path for row in stack.rows.tolist()]


@pytest.mark.parametrize("series", ["series_ct_head_ge", "series_mr_brain"])
@validated
def test_a_series_segmentation_has_no_errors_by_the_validator(series: str, shared_data: Path, tmp_path: Path) -> None:
    paths = slices_of(shared_data / series)
    header = dcmread(paths[0], stop_before_pixels=True)
    out = written(paths, blocks(len(paths), header.Rows, header.Columns), tmp_path / "seg.dcm")
    assert errors_of(out) == []


@pytest.mark.parametrize("series", ["series_ct_head_ge", "series_mr_brain", "drawn"])
def test_every_pixel_is_read_back_and_refers_to_its_image(
    series: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if series == "drawn":
        paths = write_ct(tmp_path / "ct")
    else:
        paths = slices_of(request.getfixturevalue("shared_data") / series)
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    masks = blocks(len(paths), headers[0].Rows, headers[0].Columns)
    out = written(paths, masks, tmp_path / "seg.dcm")
    uids = [header.SOPInstanceUID for header in headers]

    read = dcmread(out)
    assert read.SegmentsOverlap == "YES"
    assert [item.SegmentLabel for item in read.SegmentSequence] == ["lung", "a finding of many words"]
    assert read.PatientID == headers[0].PatientID
    (referenced,) = read.ReferencedSeriesSequence
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} == set(uids)
    found, pixels = np.zeros_like(masks), read.pixel_array.reshape(-1, *masks.shape[1:3])
    for frame, group in zip(pixels, read.PerFrameFunctionalGroupsSequence, strict=True):
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        place = uids.index(source.ReferencedSOPInstanceUID)
        position = group.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(position, headers[place].ImagePositionPatient, atol=1e-3)
        found[place, ..., group.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1] = frame > 0
    np.testing.assert_array_equal(found, masks)
    peer = highdicom.seg.segread(out).get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(peer > 0, masks)


def test_medinos_own_scan_makes_it_the_mask_of_its_images(tmp_path: Path) -> None:
    paths = write_ct(tmp_path / "ct")
    masks = blocks(len(paths), 24, 28)[..., :1]
    written(paths, masks, tmp_path / "ct" / "seg.dcm")
    manifest = scan([tmp_path / "ct"], workers=1)
    (stack,) = find_stacks(manifest)
    pixels = PixelDataset(manifest)
    read = np.stack([pixels.mask(row).numpy() for row in stack.rows.tolist()])
    np.testing.assert_array_equal(read == 1, masks[..., 0])


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("highdicom-testfiles__test_files__dx_image.dcm", 1),
        ("dicom-test-files__pydicom__SC_rgb_2frame.dcm", 2),
        ("dicom-test-files__WG04__JLSN__RG2_JLSN", 1),
    ],
)
@validated
def test_images_without_a_place_and_frames_of_a_file_have_no_errors_by_the_validator(
    name: str, frames: int, shared_data: Path, tmp_path: Path
) -> None:
    path = shared_data / "dicom_zoo" / name
    header = dcmread(path, stop_before_pixels=True)
    masks = blocks(frames, header.Rows, header.Columns)
    assert errors_of(written([path], masks, tmp_path / "seg.dcm", frames=True)) == []


@validated
def test_masks_without_a_pixel_are_a_segmentation_too(tmp_path: Path) -> None:
    paths = write_ct(tmp_path / "ct")
    out = written(paths, np.zeros((10, 24, 28, 2), dtype=bool), tmp_path / "seg.dcm")
    assert errors_of(out) == []
    assert not dcmread(out).pixel_array.any()


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"StudyInstanceUID": None}, "lacks StudyInstanceUID"),
        ({"FrameOfReferenceUID": None}, "no Frame Of Reference UID"),
    ],
)
def test_what_a_segmentation_can_t_repeat_is_a_reason_and_nothing_is_written(
    tags: dict[str, None], reason: str, tmp_path: Path
) -> None:
    paths = write_ct(tmp_path / "ct")
    for path in paths:
        dataset = dcmread(path)
        for name in tags:
            delattr(dataset, name)
        dataset.save_as(path)
    with pytest.raises(UnreadableImageError, match=reason):
        written(paths, blocks(10, 24, 28), tmp_path / "seg.dcm")
    assert not (tmp_path / "seg.dcm").exists()


def test_files_without_the_names_that_were_taken_out_are_no_problem(tmp_path: Path) -> None:
    paths = write_ct(tmp_path / "ct")
    for path in paths:
        dataset = dcmread(path)
        del dataset.PatientName, dataset.AccessionNumber
        dataset.StudyTime, dataset.StudyDate = "12:00:00", "2020.01.01"
        dataset.save_as(path)
    assert dcmread(written(paths, blocks(10, 24, 28), tmp_path / "seg.dcm")).StudyTime == "120000"


def test_no_name_of_a_patient_is_printed(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    paths = write_ct(tmp_path / "ct", PatientName="Quillfeather")
    written(paths, blocks(10, 24, 28), tmp_path / "seg.dcm")
    assert not [warning for warning in recwarn if "Quillfeather" in str(warning.message)]


def test_without_highdicom_the_way_to_get_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match=r"install medino\[dicomseg\]"):
        write_dicom_seg(tmp_path / "seg.dcm", [], np.zeros((0, 1, 1, 1), bool), ["lung"], "model")
