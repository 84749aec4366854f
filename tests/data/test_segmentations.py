from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from archive_files import write_dicom
from pydicom.sr.codedict import codes
from segmentation_files import box, item, write_segmentation, write_series
from slice_rows import manifest_of

from medino.core import InputError
from medino.data import IdentityKey, Manifest, PixelDataset, Source, scan
from medino.data.segmentations import hashed_or_reason, with_segmentations


def _masks(manifest: Manifest) -> dict[str, np.ndarray | None]:
    pixels = PixelDataset(manifest)
    return {
        sample.path: None if sample.mask_path is None else pixels.mask(row).numpy()
        for row, sample in enumerate(manifest.samples())
    }


def test_a_segmentation_becomes_the_masks_of_the_images_it_refers_to(tmp_path: Path) -> None:
    write_series(tmp_path)
    frames = [(2, 1, box(0, 0, 3, 3)), (1, 1, box(1, 1, 4, 4)), (2, 2, box(4, 4, 6, 6))]
    write_segmentation(tmp_path / "seg.dcm", frames, listed=[f"1.2.9.{index}" for index in range(3)])
    manifest = scan([tmp_path], workers=1)
    masks = _masks(manifest)

    assert sorted(masks) == [f"slice{index}.dcm" for index in range(4)]
    np.testing.assert_array_equal(masks["slice2.dcm"], box(0, 0, 3, 3) + 2 * box(4, 4, 6, 6))
    np.testing.assert_array_equal(masks["slice1.dcm"], box(1, 1, 4, 4))
    # Listed among the sources without a frame: nothing was found there. Not listed: nobody looked.
    assert not masks["slice0.dcm"].any()
    assert masks["slice3.dcm"] is None
    assert manifest.rejects == ()
    assert "3 images have their mask from 1 DICOM segmentations" in manifest.settings["notes"]


def test_frames_that_only_say_where_they_lie_are_joined_by_place(tmp_path: Path) -> None:
    write_series(tmp_path)
    write_segmentation(tmp_path / "seg.dcm", [(3, 1, box(0, 0, 3, 3))], by_place=True)
    masks = _masks(scan([tmp_path], workers=1))

    np.testing.assert_array_equal(masks["slice3.dcm"], box(0, 0, 3, 3))
    assert [path for path, mask in masks.items() if mask is not None] == ["slice3.dcm"]


def test_frames_of_a_multi_frame_image_are_joined_by_number(tmp_path: Path) -> None:
    cine = pydicom.dcmread(write_dicom(tmp_path / "cine.dcm", SOPInstanceUID="1.2.9.0", Modality="US"))
    cine.NumberOfFrames, cine.PixelData = 3, bytes(3 * 6 * 8)
    cine.save_as(tmp_path / "cine.dcm")
    frames = [(2, 1, box(0, 0, 3, 3))]
    write_segmentation(tmp_path / "seg.dcm", frames, frame_numbers=True, listed=["1.2.9.0"])
    manifest = scan([tmp_path], workers=1)
    pixels = PixelDataset(manifest)

    assert manifest.column("frame").tolist() == [0, 1, 2]
    assert [bool(pixels.mask(row).any()) for row in range(3)] == [False, False, True]


def test_a_pair_of_others_is_joined(shared_data: Path, tmp_path: Path) -> None:
    for name in ("ct_image", "seg_image_ct_binary_single_frame"):
        source = next((shared_data / "dicom_zoo").glob(f"*__{name}.dcm"))
        (tmp_path / f"{name}.dcm").write_bytes(source.read_bytes())
    masks = _masks(scan([tmp_path], workers=1))

    assert list(masks) == ["ct_image.dcm"]
    assert set(np.unique(masks["ct_image.dcm"])) == {0, 1}


@pytest.mark.filterwarnings("ignore:The string .* is unlikely to represent the intended person name")
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_what_highdicom_writes_of_real_slices_comes_back_on_each_slice(
    shared_data: Path, tmp_path: Path, kind: str
) -> None:
    files = sorted((shared_data / "series_ct_head_ge").iterdir())[4:9]
    images = [pydicom.dcmread(file) for file in files]
    for image in images:
        # The standard requires these, blank if need be, and highdicom copies them.
        for name in ("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"):
            image.setdefault(name, "")
        image.setdefault("AccessionNumber", "")
        image.setdefault("ReferringPhysicianName", "")
    labels = np.zeros((5, 512, 512), dtype=np.uint8)
    labels[0, 100:200, 50:80], labels[2, 10:300, 20:30], labels[2, 5:9, 7:8], labels[4, 0, 511] = 1, 2, 3, 3
    algorithm = hd.AlgorithmIdentificationSequence("threshold", codes.cid7162.ArtificialIntelligence, "1")
    segments = [
        hd.seg.SegmentDescription(number, f"segment {number}", codes.SCT.Tissue, codes.SCT.Bone, "AUTOMATIC", algorithm)
        for number in (1, 2, 3)
    ]
    # Source images out of order, as they come from an archive.
    order = [3, 0, 4, 2, 1]
    made = hd.seg.Segmentation(
        [images[index] for index in order],
        labels[order],
        kind,
        segments,
        hd.UID(),
        1,
        hd.UID(),
        1,
        "maker",
        "model",
        "1",
        "serial",
    )
    made.save_as(tmp_path / "masks.dcm")
    for file in files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    masks = _masks(scan([tmp_path], workers=1))

    assert len(masks) == 5
    for index, file in enumerate(files):
        # Slices without a segment have no frame, and yet a mask: highdicom lists all source images.
        np.testing.assert_array_equal(masks[file.name], labels[index])


def test_a_segmentation_of_images_that_were_not_scanned_is_a_reject(tmp_path: Path) -> None:
    for path in write_series(tmp_path, slices=2):
        path.rename(path.with_name(f"image{path.name}"))
    write_segmentation(tmp_path / "seg.dcm", [(7, 1, box(0, 0, 3, 3))])
    manifest = scan([tmp_path], workers=1)

    assert len(manifest) == 2
    assert [(reject.path, reject.reason) for reject in manifest.rejects] == [
        ("seg.dcm", "a segmentation of images that are not among the scanned files")
    ]


def test_of_two_segmentations_of_one_image_the_first_counts_and_the_other_is_a_reject(tmp_path: Path) -> None:
    write_series(tmp_path, slices=1)
    write_segmentation(tmp_path / "a.dcm", [(0, 1, box(0, 0, 1, 1))])
    write_segmentation(tmp_path / "b.dcm", [(0, 2, box(0, 0, 1, 1))])
    manifest = scan([tmp_path], workers=1)

    assert _masks(manifest)["slice0.dcm"].max() == 1
    assert [(reject.path, reject.reason) for reject in manifest.rejects] == [
        ("b.dcm", "a segmentation of images that have a mask already")
    ]


def test_the_tiles_of_a_slide_that_are_cut_anew_take_no_segmentation_of_its_frames(tmp_path: Path) -> None:
    key, notes = IdentityKey.draw(), []
    file = write_segmentation(tmp_path / "seg.dcm", [(1, 1, box(0, 0, 1, 1))], frame_numbers=True)
    tiles = [
        {"format": "slide", "path": "slide.dcm", "frame": frame, "instance": key.hash("image", "1.2.9.0")}
        for frame in range(3)
    ]
    rows = [*tiles, {"format": "dicom", "path": file.name, "modality": "SEG"}]
    sized = [{**row, "rows": 6, "columns": 8} for row in rows]
    manifest = with_segmentations(manifest_of(sized, roots=(tmp_path,)), key, 1, notes)

    assert manifest.column("mask_path").tolist() == [None, None, None]
    assert [reject.reason for reject in manifest.rejects] == [
        "a segmentation of a slide, whose tiles are cut anew: it lies on none of them"
    ]


def test_segmentations_alone_are_no_images(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "seg.dcm", [(0, 1, box(0, 0, 1, 1))])

    with pytest.raises(InputError, match="no image can be read"):
        scan([tmp_path], workers=1)


def test_workers_hand_back_no_identifier(tmp_path: Path) -> None:
    file = write_segmentation(tmp_path / "seg.dcm", [(0, 1, box(0, 0, 1, 1))], listed=["1.2.9.0"])

    assert "1.2.9" not in repr(hashed_or_reason(IdentityKey.draw(), Source(file)))


def test_segmentations_of_several_frames_are_not_taken_for_masks_by_their_names(tmp_path: Path) -> None:
    write_series(tmp_path / "images", slices=1)
    write_dicom(tmp_path / "images" / "other.dcm", size=(6, 8), SOPInstanceUID="1.2.10")
    frames = [(0, 1, box(0, 0, 1, 1)), (0, 2, box(1, 1, 2, 2))]
    write_segmentation(tmp_path / "masks" / "slice0.dcm", frames)
    manifest = scan([tmp_path / "images"], masks=tmp_path / "masks", workers=1)

    assert manifest.column("mask_path").tolist() == [None, None]
    assert any("scan its folder with theirs" in note for note in manifest.settings["notes"])


@pytest.mark.parametrize(("position", "number"), [([1, 2], 1), ([0, 0, 0], -3), ([0, 0, 0], 99)])
def test_segmentations_that_make_no_sense_are_rejects(tmp_path: Path, position: list[int], number: int) -> None:
    write_series(tmp_path, slices=2)
    file = write_segmentation(tmp_path / "seg.dcm", [(0, 1, box(0, 0, 1, 1))], by_place=True)
    dataset = pydicom.dcmread(file)
    group = dataset.PerFrameFunctionalGroupsSequence[0]
    group.PlanePositionSequence[0].ImagePositionPatient = position
    image = item(ReferencedSOPInstanceUID="1.2.9.0", ReferencedFrameNumber=number)
    if number != 1:
        group.DerivationImageSequence = item(SourceImageSequence=image)
    dataset.save_as(file)
    manifest = scan([tmp_path], workers=1)

    assert len(manifest) == 2
    assert [reject.path for reject in manifest.rejects] == ["seg.dcm"]
