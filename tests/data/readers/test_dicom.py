"""DICOM: units, windows, valid part, places, and reasons that tell nothing private."""

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from sample_rows import sample_of

from medino.core import UnreadableImageError
from medino.data.pixels import Window
from medino.data.readers import describe, read_mask, read_pixels, sniff
from medino.data.schema import Sample

RAMP = np.arange(12, dtype=np.int16).reshape(3, 4)


def row(path: Path, frame: int = 0) -> Sample:
    return sample_of(describe(path)[frame])


def item(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("lossy", "lossless"), [("JPLY__MR4_JPLY", "JPLL__MR4_JPLL"), ("JPLY__XA1_JPLY", "JPLL__XA1_JPLL")]
)
def test_twelve_bit_jpeg_is_near_its_lossless_sibling(shared_data: Path, lossy: str, lossless: str) -> None:
    zoo = shared_data / "dicom_zoo"
    one, other = (zoo / f"dicom-test-files__WG04__{name}" for name in (lossy, lossless))
    first, second = read_pixels(one, row(one)).values, read_pixels(other, row(other)).values
    assert np.corrcoef(first.flatten(), second.flatten())[0, 1] > 0.99
    assert (first - second).abs().mean() < 0.01 * (second.max() - second.min())


def test_slope_and_intercept_give_physical_units_and_scale_the_full_range(write_dicom) -> None:
    path = write_dicom(RAMP, BitsStored=12, HighBit=11, RescaleSlope="-2", RescaleIntercept="10")
    pixels = read_pixels(path, row(path))
    np.testing.assert_array_equal(pixels.values[0], 10 - 2.0 * RAMP)
    assert pixels.full_range == (10 - 2 * 2047, 10 + 2 * 2048)


def test_each_frame_of_an_enhanced_image_has_its_own_slope_window_and_place(write_dicom) -> None:
    orientation = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared = item(
        PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.5, 0.25], SliceThickness=3)]),
        PlaneOrientationSequence=Sequence([orientation]),
        PixelValueTransformationSequence=Sequence([item(RescaleSlope=1, RescaleIntercept=0)]),
    )
    frames = [
        item(
            PlanePositionSequence=Sequence([item(ImagePositionPatient=[0, 0, 7 + 3 * frame])]),
            FrameVOILUTSequence=Sequence([item(WindowCenter=[100 + frame, 5], WindowWidth=[50, 9])]),
            PixelValueTransformationSequence=Sequence([item(RescaleSlope=frame + 1, RescaleIntercept=-frame)]),
        )
        for frame in range(2)
    ]
    path = write_dicom(
        np.stack([RAMP, RAMP + 100]),
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence([*frames]),
    )
    first, second = describe(path)
    assert (first["slice_position_mm"], second["slice_position_mm"]) == (7, 10)
    assert (second["spacing_row_mm"], second["spacing_column_mm"], second["slice_thickness_mm"]) == (0.5, 0.25, 3)
    pixels = read_pixels(path, row(path, 1))
    np.testing.assert_array_equal(pixels.values[0], 2.0 * (RAMP + 100) - 1)
    assert pixels.windows == (Window(100.5, 49), Window(4.5, 8))
    assert pixels.spacing == (0.5, 0.25)
    np.testing.assert_array_equal(read_pixels(path, row(path, 0)).values[0], RAMP)


def test_a_linear_window_maps_the_ends_that_the_standard_gives_and_an_exact_one_its_own(write_dicom) -> None:
    path = write_dicom(RAMP, WindowCenter=2048, WindowWidth=4096)
    (window,) = read_pixels(path, row(path)).windows
    # PS3.3 C.11.2.1.2.1, its first example: 0 becomes the lowest, 4095 the highest value.
    assert (window.low, window.high) == (0, 4095)
    path = write_dicom(RAMP, "exact.dcm", WindowCenter=2048, WindowWidth=4096, VOILUTFunction="LINEAR_EXACT")
    assert read_pixels(path, row(path)).windows == (Window(2048, 4096),)


def test_padding_is_left_out_of_the_valid_box(write_dicom) -> None:
    values = np.full((6, 8), -2000, np.int16)
    values[1:4, 2:7] = 5
    path = write_dicom(values, PixelPaddingValue=-2000, RescaleIntercept=-1024, RescaleSlope=1)
    assert read_pixels(path, row(path)).box == (1, 2, 4, 7)
    values[0, 0] = -1990
    path = write_dicom(values, "range.dcm", PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1980)
    assert read_pixels(path, row(path)).box == (1, 2, 4, 7)
    assert read_pixels(write_dicom(RAMP, "plain.dcm"), row(path)).box is None
    path = write_dicom(np.full((6, 8), -2000, np.int16), "empty.dcm", PixelPaddingValue=-2000)
    assert read_pixels(path, row(path)).box is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point_pixel_data_is_read_and_nan_is_refused(write_dicom, dtype: type) -> None:
    values = np.linspace(-1, 1, 12).astype(dtype).reshape(3, 4)
    elements = {"BitsStored": None, "HighBit": None}
    path = write_dicom(values, **elements)
    pixels = read_pixels(path, row(path))
    np.testing.assert_array_equal(pixels.values[0], values.astype(np.float32))
    assert pixels.full_range == pytest.approx((-1, 1))
    values[1, 1] = np.nan
    path = write_dicom(values, "nan.dcm", **elements)
    with pytest.raises(UnreadableImageError, match="NaN"):
        read_pixels(path, row(path))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_the_extremes_of_every_integer_type_survive(write_dicom, dtype: type) -> None:
    limits = np.iinfo(dtype)
    path = write_dicom(np.array([[limits.min, limits.max], [0, 1]], dtype))
    pixels = read_pixels(path, row(path))
    np.testing.assert_array_equal(pixels.values[0].flatten(), np.array([limits.min, limits.max, 0, 1], np.float32))
    assert pixels.full_range == (limits.min, limits.max)


def test_position_is_measured_along_the_normal_of_a_tilted_slice(write_dicom) -> None:
    tilt = np.deg2rad(18.5)
    orientation = [1, 0, 0, 0, float(np.cos(tilt)), float(np.sin(tilt))]
    path = write_dicom(RAMP, ImagePositionPatient=[3, 5, 7], ImageOrientationPatient=orientation)
    expected = -5 * np.sin(tilt) + 7 * np.cos(tilt)
    assert describe(path)[0]["slice_position_mm"] == pytest.approx(expected)


def test_spacing_falls_back_to_the_detector_and_nonsense_is_none(write_dicom) -> None:
    assert describe(write_dicom(RAMP, ImagerPixelSpacing=[0.1, 0.2]))[0]["spacing_row_mm"] == 0.1
    described = describe(write_dicom(RAMP, "zero.dcm", PixelSpacing=[0, 0], SliceThickness=0))[0]
    assert described["spacing_row_mm"] is None
    assert described["slice_thickness_mm"] is None


def test_blank_identifiers_are_none_and_given_ones_are_told(write_dicom) -> None:
    described = describe(write_dicom(RAMP, PatientID="  ", StudyInstanceUID="1.2", AccessionNumber="A7"))[0]
    assert described["patient_id"] is None
    assert described["series_uid"] is None
    assert (described["study_uid"], described["accession_number"]) == ("1.2", "A7")
    assert described["sop_instance_uid"] == "1.2.3.4"


def test_a_file_without_preamble_and_meta_information_is_read(write_dicom, tmp_path: Path) -> None:
    dataset = dcmread(write_dicom(RAMP))
    bare = tmp_path / "bare"
    del dataset.file_meta, dataset.preamble
    for implicit in (True, False):
        dataset.save_as(bare, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert bare.read_bytes()[128:132] != b"DICM"
        assert sniff(bare) == "dicom"
        np.testing.assert_array_equal(read_pixels(bare, row(bare)).values[0], RAMP)


def test_a_segmentation_is_read_as_a_mask(shared_data: Path) -> None:
    path = shared_data / "dicom_zoo" / "highdicom-testfiles__test_files__seg_image_ct_binary.dcm"
    expected = dcmread(path).pixel_array
    for frame in range(3):
        np.testing.assert_array_equal(read_mask(path, frame), expected[frame])


def test_no_reason_tells_a_value_or_a_path_and_nothing_reaches_the_terminal(
    write_dicom, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    secret = {"PatientName": "SECRET^NAME", "PatientID": "SECRET", "PatientBirthDate": "19700101"}
    path = write_dicom(RAMP, "SECRET.dcm", **secret)
    whole = path.read_bytes()
    broken = [whole[:200], whole[:-9], whole.replace(b"MONOCHROME2", b"SECRET12345"), b"SECRET" * 99]
    broken += [whole.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")]
    broken += [whole.replace(b"(\0\x10\0US\x02\0\x03\0", b"(\0\x10\0US\x02\0\0\0")]
    broken += [whole.replace(b"(\0\0\x01US\x02\0\x10\0", b"(\0\0\x01US\x02\0\x11\0")]
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings():
        warnings.simplefilter("error")
        for content in broken:
            assert content != whole
            path.write_bytes(content)
            with pytest.raises(UnreadableImageError) as caught:
                read_pixels(path, row(path))
            assert "SECRET" not in str(caught.value)
            assert "1970" not in str(caught.value)
            assert str(tmp_path) not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_a_missing_file_and_a_missing_frame_are_said_in_words(write_dicom, tmp_path: Path) -> None:
    path = write_dicom(RAMP)
    with pytest.raises(UnreadableImageError, match="frame 1 is asked for, and the file has 1"):
        read_mask(path, 1)
    with pytest.raises(UnreadableImageError, match="not there"):
        describe(tmp_path / "nothing.dcm")
