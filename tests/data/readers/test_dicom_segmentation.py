from pathlib import Path

import numpy as np
import pydicom
import pytest
from archive_files import write_dicom
from segmentation_files import SIZE, box, write_segmentation

from medino.core import UnreadableImageError
from medino.data import Source
from medino.data.readers import read_mask
from medino.data.readers.dicom_segmentation import read_segmentation


def _zoo(folder: Path, name: str) -> Path:
    return next((folder / "dicom_zoo").glob(f"*{name}"))


def test_binary_segments_of_one_image_become_one_mask_of_their_numbers(tmp_path: Path) -> None:
    frames = [(2, 1, box(0, 0, 3, 3)), (0, 1, box(1, 1, 2, 2)), (2, 5, box(4, 4, 6, 8))]
    file = write_segmentation(tmp_path / "seg.dcm", frames)
    found = read_segmentation(Source(file))

    assert [plane.images for plane in found.planes] == [(("1.2.9.2", None),), (("1.2.9.0", None),)]
    np.testing.assert_array_equal(read_mask(file, 0), box(0, 0, 3, 3) + 5 * box(4, 4, 6, 8))
    np.testing.assert_array_equal(read_mask(file, 1), box(1, 1, 2, 2))


def test_where_binary_segments_overlap_the_higher_number_lies_on_top(tmp_path: Path) -> None:
    file = write_segmentation(tmp_path / "seg.dcm", [(0, 2, box(1, 1, 3, 3)), (0, 1, box(0, 0, 6, 8))])

    np.testing.assert_array_equal(read_mask(file, 0), box(0, 0, 6, 8) + box(1, 1, 3, 3))


def test_fractions_count_from_a_half_and_the_largest_wins(tmp_path: Path) -> None:
    low, high = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    low[0, :4], high[0, :4] = (99, 100, 150, 120), (0, 0, 120, 150)
    file = write_segmentation(tmp_path / "seg.dcm", [(0, 1, low), (0, 2, high)], kind="FRACTIONAL")

    assert read_mask(file, 0)[0].tolist() == [0, 1, 1, 2, 0, 0, 0, 0]


def test_a_label_map_holds_segment_numbers_with_padding_as_background(tmp_path: Path) -> None:
    stored = np.where(box(0, 0, 2, 8) == 1, 3, 255)
    file = write_segmentation(tmp_path / "seg.dcm", [(0, 0, stored)], kind="LABELMAP", PixelPaddingValue=255)

    np.testing.assert_array_equal(read_mask(file, 0), 3 * box(0, 0, 2, 8))


def test_one_past_the_last_plane_is_background_and_beyond_there_is_nothing(tmp_path: Path) -> None:
    file = write_segmentation(tmp_path / "seg.dcm", [(0, 1, box(0, 0, 6, 8))])

    assert not read_mask(file, 1).any()
    with pytest.raises(UnreadableImageError, match="plane 2 is asked for"):
        read_mask(file, 2)


@pytest.mark.parametrize("name", ["liver_expb.dcm", "seg_image_ct_binary.dcm", "seg_image_cr_binary.dcm"])
def test_binary_files_of_others_hold_what_an_independent_reader_finds(shared_data: Path, name: str) -> None:
    file = _zoo(shared_data, name)
    dataset = pydicom.dcmread(file)
    pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)

    assert len(read_segmentation(Source(file)).planes) == len(pixels)
    for index, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        segment = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        np.testing.assert_array_equal(read_mask(file, index), pixels[index].astype(np.int64) * segment)


def test_a_fractional_file_of_others_is_thresholded_at_a_half(shared_data: Path) -> None:
    file = _zoo(shared_data, "seg_image_ct_binary_fractional.dcm")
    dataset = pydicom.dcmread(file)

    for index, frame in enumerate(dataset.pixel_array):
        np.testing.assert_array_equal(read_mask(file, index), frame >= 0.5 * dataset.MaximumFractionalValue)


@pytest.mark.parametrize("name", ["sm_control_labelmap.dcm", "sm_control_labelmap_palette_color.dcm"])
def test_label_maps_of_others_are_taken_as_stored(shared_data: Path, name: str) -> None:
    file = _zoo(shared_data, name)
    dataset = pydicom.dcmread(file)
    planes = read_segmentation(Source(file)).planes

    for index, frame in enumerate(dataset.pixel_array):
        source = dataset.PerFrameFunctionalGroupsSequence[index].DerivationImageSequence[0].SourceImageSequence[0]
        assert planes[index].images == ((source.ReferencedSOPInstanceUID, source.ReferencedFrameNumber - 1),)
        np.testing.assert_array_equal(read_mask(file, index), frame)


def test_a_tiled_segmentation_is_put_together_tile_by_tile(shared_data: Path) -> None:
    file = _zoo(shared_data, "seg_image_sm_dots_tiled_full.dcm")
    dataset = pydicom.dcmread(file)
    # Segment after segment, each with its 25 tiles (PS3.3 C.7.6.17.3).
    pixels = dataset.pixel_array.reshape(50, 25, 10, 10)
    numbers = np.array([segment.SegmentNumber for segment in dataset.SegmentSequence])
    planes = read_segmentation(Source(file)).planes

    assert len(planes) == 25
    for tile in range(25):
        assert planes[tile].images[0][1] == tile
        expected = (pixels[:, tile] * numbers[:, None, None]).max(axis=0)
        np.testing.assert_array_equal(read_mask(file, tile), expected)


def test_what_is_no_segmentation_or_says_not_of_what_it_is_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="is no segmentation"):
        read_segmentation(Source(write_dicom(tmp_path / "image.dcm")))
    file = write_segmentation(tmp_path / "seg.dcm", [(0, 1, box(0, 0, 1, 1))])
    dataset = pydicom.dcmread(file)
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.save_as(file)
    with pytest.raises(UnreadableImageError, match="does not say what images"):
        read_segmentation(Source(file))
