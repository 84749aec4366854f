"""DICOM: from stored values to physical units, to windows and to what is valid, as the standard and pydicom have it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing
from pydicom.sequence import Sequence
from sample_rows import sample_of

from medino.core import UnreadableImageError
from medino.data.intensity import Intensity, apply_window
from medino.data.pixels import Pixels, Window
from medino.data.readers import describe, read_pixels

VALUES = np.random.default_rng(0).integers(0, 4096, (6, 8)).astype(np.uint16)
TWELVE = {"BitsStored": 12, "HighBit": 11}


def pixels_of(path: Path, frame: int = 0) -> Pixels:
    return read_pixels(path, sample_of(describe(path)[frame]))


def table(first: int, entries: np.ndarray, bits: int, *, words: bool = False) -> Dataset:
    item = Dataset()
    length = 0 if len(entries) == 2**16 else len(entries)
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [length, first, bits])
    if words:
        item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    else:
        item.add_new("LUTData", "US", [int(entry) for entry in entries])
    return item


@pytest.mark.parametrize("words", [False, True], ids=["US", "OW"])
@pytest.mark.parametrize("first", [0, 100, -50])
def test_a_modality_lut_gives_what_pydicom_gives(write_dicom, first: int, words: bool) -> None:
    item = table(first, np.arange(3000)[::-1] * 7, 16, words=words)
    item.ModalityLUTType = "OD"
    path = write_dicom(VALUES.astype(np.int16), ModalityLUTSequence=Sequence([item]))
    pixels = pixels_of(path)
    np.testing.assert_array_equal(pixels.values[0], apply_modality_lut(VALUES.astype(np.int16), dcmread(path)))
    assert pixels.full_range == (0, 65535)


def test_a_lookup_table_without_its_entries_is_said_in_words(write_dicom) -> None:
    item = table(0, np.arange(9), 16)
    item.LUTDescriptor = [4096, 0, 16]
    path = write_dicom(VALUES, ModalityLUTSequence=Sequence([item]), **TWELVE)
    with pytest.raises(UnreadableImageError, match="lookup table"):
        pixels_of(path)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(1000, 500), (2048, 4096), (37.5, 1.5)])
def test_windows_give_what_pydicoms_windowing_gives(write_dicom, function: str, center: float, width: float) -> None:
    facts = {"WindowCenter": center, "WindowWidth": width, "VOILUTFunction": function}
    facts |= {"RescaleSlope": 2, "RescaleIntercept": -1024}
    path = write_dicom(VALUES, **TWELVE, **facts)
    pixels = pixels_of(path)
    dataset = dcmread(path)
    with np.errstate(over="ignore"):
        expected = apply_windowing(apply_modality_lut(VALUES, dataset), dataset)
    low, high = pixels.full_range
    np.testing.assert_allclose(
        apply_window(pixels.values[0], pixels.windows[0]), (expected - low) / (high - low), atol=1e-5
    )


def test_several_windows_are_all_kept_and_their_explanations_are_not_looked_at(write_dicom) -> None:
    facts = {"WindowCenter": [40, 400, 10], "WindowWidth": [80, 1800, 0]}
    path = write_dicom(VALUES, WindowCenterWidthExplanation=["BRAIN", "BONE"], **facts)
    assert pixels_of(path).windows == (Window(39.5, 79), Window(399.5, 1799))


@pytest.mark.parametrize("words", [False, True], ids=["US", "OW"])
@pytest.mark.parametrize("first", [0, 700])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_voi_lut_comes_before_a_window_and_gives_what_pydicom_gives(
    write_dicom, photometric: str, first: int, words: bool
) -> None:
    entries = np.round(1023 * np.linspace(0, 1, 2000) ** 0.4)
    facts = {"WindowCenter": 40, "WindowWidth": 80, "PhotometricInterpretation": photometric, "Modality": "DX"}
    voi = Sequence([table(first, entries, 10, words=words)])
    path = write_dicom(VALUES, VOILUTSequence=voi, **facts, **TWELVE)
    pixels = pixels_of(path)
    assert [window.shape for window in pixels.windows] == ["table", "linear"]
    expected = apply_voi(VALUES, dcmread(path)) / 1023
    shown = Intensity("file").apply(pixels)[0]
    np.testing.assert_allclose(shown, 1 - expected if photometric == "MONOCHROME1" else expected, atol=1e-5)
    assert torch.equal(Intensity("auto").apply(pixels)[0], shown)


def test_a_voi_lut_of_a_ct_may_begin_below_zero(write_dicom) -> None:
    item = table(-1000, np.arange(2000), 16)
    path = write_dicom(VALUES, VOILUTSequence=Sequence([item]), RescaleSlope=1, RescaleIntercept=-1024, **TWELVE)
    (window,) = pixels_of(path).windows
    assert (window.low, window.high) == (-1000, 999)


def test_the_voi_lut_of_the_zoo_is_applied_as_pydicom_applies_it(shared_data: Path) -> None:
    path = shared_data / "dicom_zoo" / "dicom-test-files__pydicom__vlut_04.dcm"
    dataset = dcmread(path)
    bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
    expected = apply_voi(dataset.pixel_array, dataset) / (2**bits - 1)
    np.testing.assert_allclose(Intensity("file").apply(pixels_of(path))[0], expected, atol=1e-5)


def test_a_dose_is_in_gray(shared_data: Path) -> None:
    path = shared_data / "dicom_zoo" / "dicom-test-files__pydicom__rtdose.dcm"
    dataset = dcmread(path)
    pixels = pixels_of(path, 3)
    np.testing.assert_allclose(pixels.values[0], dataset.pixel_array[3] * float(dataset.DoseGridScaling), rtol=1e-6)
    assert 0.5 < pixels.values.max() < 2


def test_padding_and_its_range_are_not_valid_and_are_filled_with_the_darkest_valid_value(write_dicom) -> None:
    values = np.full((6, 8), -2000, np.int16)
    values[1:4, 2:7] = np.arange(15).reshape(3, 5) - 500
    values[5, 7] = -1990
    facts = {"PixelPaddingValue": -2000, "RescaleIntercept": -24, "RescaleSlope": 2}
    ranged = write_dicom(values, "range.dcm", PixelPaddingRangeLimit=-1985, **facts)
    pixels = pixels_of(ranged)
    np.testing.assert_array_equal(pixels.valid, values > -600)
    assert pixels.box == (1, 2, 4, 7)
    assert set(pixels.values[0][~pixels.valid].tolist()) == {2 * -500 - 24}
    np.testing.assert_array_equal(pixels.values[0][pixels.valid], 2 * values[values > -600] - 24)
    single = pixels_of(write_dicom(values, **facts))
    np.testing.assert_array_equal(single.valid, values > -2000)
    assert single.box == (1, 2, 6, 8)
    bright = pixels_of(write_dicom(values, "one.dcm", PhotometricInterpretation="MONOCHROME1", **facts))
    assert set(bright.values[0][~bright.valid].tolist()) == {2 * -486 - 24}
    shown = Intensity("percentile").apply(bright)
    assert shown[0][~bright.valid].max() == 0


def test_padding_written_with_the_other_sign_is_known(write_dicom) -> None:
    values = np.array([[-2000, 5, 7]], np.int16)
    path = write_dicom(values, PixelPaddingValue=0)
    dataset = dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", 63536)
    dataset.save_as(path)
    assert pixels_of(path).valid.tolist() == [[False, True, True]]


def test_an_image_without_padding_or_of_padding_alone_is_valid_as_a_whole(write_dicom) -> None:
    for values in (VALUES.astype(np.int16), np.full((4, 4), -2000, np.int16)):
        pixels = pixels_of(write_dicom(values, PixelPaddingValue=-2000))
        assert pixels.valid is None
        assert pixels.box is None
        np.testing.assert_array_equal(pixels.values[0], values)


def test_padding_of_floating_point_pixel_data_is_known(write_dicom) -> None:
    values = np.array([[-1e9, 0.5, 0.75]], np.float32)
    path = write_dicom(values, BitsStored=None, HighBit=None, FloatPixelPaddingValue=-1e9)
    pixels = pixels_of(path)
    assert pixels.valid.tolist() == [[False, True, True]]
    assert pixels.values[0, 0].tolist() == [0.5, 0.5, 0.75]


def test_a_supplemental_palette_an_overlay_and_a_shutter_leave_the_values_alone(write_dicom) -> None:
    extra: dict[str, object] = {
        "PixelPresentation": "COLOR",
        "RedPaletteColorLookupTableDescriptor": [256, 0, 16],
        "RedPaletteColorLookupTableData": bytes(512),
        "ShutterShape": "RECTANGULAR",
        "ShutterLeftVerticalEdge": 2,
        "ShutterRightVerticalEdge": 4,
        "ShutterUpperHorizontalEdge": 2,
        "ShutterLowerHorizontalEdge": 4,
    }
    path = write_dicom(VALUES, **extra)
    dataset = dcmread(path)
    dataset.add_new(0x60000010, "US", 6)
    dataset.add_new(0x60000011, "US", 8)
    dataset.add_new(0x60000100, "US", 1)
    dataset.add_new(0x60003000, "OB", bytes([255] * 6))
    dataset.save_as(path)
    pixels = pixels_of(path)
    np.testing.assert_array_equal(pixels.values[0], VALUES)
    assert not pixels.colour


def test_overlays_of_the_zoo_are_not_burned_in(shared_data: Path) -> None:
    path = shared_data / "dicom_zoo" / "dicom-test-files__pydicom__MR-SIEMENS-DICOM-WithOverlays.dcm"
    dataset = dcmread(path)
    assert dataset.overlay_array(0x6000).any()
    np.testing.assert_array_equal(pixels_of(path).values[0], dataset.pixel_array)


def test_real_world_values_are_not_applied(write_dicom) -> None:
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 3.0, 5.0
    mapping.add_new("RealWorldValueFirstValueMapped", "US", 0)
    mapping.add_new("RealWorldValueLastValueMapped", "US", 4095)
    path = write_dicom(VALUES, RealWorldValueMappingSequence=Sequence([mapping]))
    np.testing.assert_array_equal(pixels_of(path).values[0], VALUES)


def colour(write_dicom, planes: np.ndarray, planar: int, photometric: str = "RGB") -> Pixels:
    """`planes`: (3, H, W)."""
    stored = planes if planar else np.moveaxis(planes, 0, -1)
    facts = {"SamplesPerPixel": 3, "PlanarConfiguration": planar, "PhotometricInterpretation": photometric}
    return pixels_of(write_dicom(planes[0], **facts, PixelData=np.ascontiguousarray(stored).tobytes()))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_is_read_by_pixel_and_by_plane(write_dicom, dtype: type) -> None:
    planes = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (3, 4, 6)).astype(dtype)
    for planar in (0, 1):
        np.testing.assert_array_equal(colour(write_dicom, planes, planar).values, planes)


@pytest.mark.parametrize("planar", [0, 1])
def test_ybr_full_becomes_rgb_by_the_equations_of_the_standard(write_dicom, planar: int) -> None:
    ybr = np.random.default_rng(2).integers(60, 190, (3, 4, 6)).astype(np.uint8)
    luma, blue, red = ybr[0].astype(float), ybr[1] - 128.0, ybr[2] - 128.0
    # PS3.3 C.7.6.3.1.2, solved for red, green and blue.
    rgb = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue]).clip(0, 255)
    np.testing.assert_allclose(colour(write_dicom, ybr, planar, "YBR_FULL").values, rgb, atol=1)


@pytest.mark.parametrize("first", [0, 3])
def test_a_palette_gives_its_entries_and_its_ends_beyond(write_dicom, first: int) -> None:
    stored = np.array([[0, 3, 4, 9, 200]], np.uint8)
    reds, greens, blues = (np.arange(8, dtype=np.uint16) * factor for factor in (1000, 2000, 3000))
    facts: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, entries in (("Red", reds), ("Green", greens), ("Blue", blues)):
        facts[f"{name}PaletteColorLookupTableDescriptor"] = [8, first, 16]
        facts[f"{name}PaletteColorLookupTableData"] = entries.tobytes()
    pixels = pixels_of(write_dicom(stored, **facts))
    places = np.clip(stored.astype(int) - first, 0, 7)
    np.testing.assert_array_equal(pixels.values, np.stack([reds[places], greens[places], blues[places]]))
    assert pixels.full_range == (0, 65535)


def test_a_palette_of_more_than_256_entries_of_8_bits_is_looked_up_to_its_end(write_dicom) -> None:
    stored = np.array([[0, 300, 1023, 4000]], np.uint16)
    facts: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    shades = (np.arange(1024) // 4).astype(np.uint8)
    for name in ("Red", "Green", "Blue"):
        facts[f"{name}PaletteColorLookupTableDescriptor"] = [1024, 0, 8]
        facts[f"{name}PaletteColorLookupTableData"] = shades.tobytes()
    pixels = pixels_of(write_dicom(stored, **facts))
    assert pixels.values[2, 0].tolist() == [0, 75, 255, 255]
    assert pixels.full_range == (0, 255)


def test_a_palette_that_lacks_entries_is_said_in_words(write_dicom) -> None:
    facts: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        facts[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        facts[f"{name}PaletteColorLookupTableData"] = bytes(100)
    with pytest.raises(UnreadableImageError, match="lookup table"):
        pixels_of(write_dicom(VALUES, **facts))


def test_a_segmented_palette_is_expanded(write_dicom) -> None:
    stored = np.arange(8, dtype=np.uint8)[None]
    # PS3.3 C.7.9.2: a discrete segment of two entries, then a linear one of six that ends at 7000.
    segments = np.array([0, 2, 0, 1000, 1, 6, 7000], np.uint16).tobytes()
    facts: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        facts[f"{name}PaletteColorLookupTableDescriptor"] = [8, 0, 16]
        facts[f"Segmented{name}PaletteColorLookupTableData"] = segments
    np.testing.assert_array_equal(pixels_of(write_dicom(stored, **facts)).values[1, 0], np.arange(8) * 1000)
