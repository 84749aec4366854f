"""Pixels equal those of an independent reader (SimpleITK, with GDCM inside), or the difference has a stated reason."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from sample_rows import sample_of
from zoo_files import ZOO, zoo

from medino.core import UnreadableImageError
from medino.data.readers import describe, dicom, read_pixels
from medino.data.readers.settings import DEFAULT_SETTINGS
from medino.data.source import Source

Correct = Callable[[np.ndarray, Path], np.ndarray]


def not_inverted(values: np.ndarray, path: Path) -> np.ndarray:
    return 2 ** dcmread(path).BitsStored - 1 - values


def not_inverted_where_it_did_not_wrap(values: np.ndarray, path: Path) -> np.ndarray:
    highest = 2 ** dcmread(path).BitsStored - 1
    return np.where(values == highest, np.nan, highest - values)


def sibling(name: str) -> Correct:
    """What pydicom finds in the uncompressed file of the same image."""
    return lambda values, path: dcmread(path.parent / name).pixel_array.reshape(values.shape)


def dose(values: np.ndarray, path: Path) -> np.ndarray:
    return values * float(dcmread(path).DoseGridScaling)


def modality_table(values: np.ndarray, path: Path) -> np.ndarray:
    item = dcmread(path).ModalityLUTSequence[0]
    return np.asarray(item.LUTData)[values.astype(int) - item.LUTDescriptor[1]]


INVERTED = ("GDCM inverts MONOCHROME1; medino says `inverted`, so that windows are in the file's units", not_inverted)
PALETTE = ("GDCM keeps the upper 8 bits of a 16-bit palette; medino all 16", lambda values, path: values)
ONE_BIT = ("GDCM stretches single bits to 0 and 255; medino keeps 0 and 1", lambda values, path: values / 255)
DOSE = ("GDCM leaves a dose as stored; medino gives Gy, by the dose grid's scaling", dose)
RLE_16 = "GDCM 3.0 mixes the bytes of RLE colour of more than 8 bits"
PYDICOM, HIGHDICOM = "dicom-test-files__pydicom__", "highdicom-testfiles__test_files__"
DIFFERENT: dict[str, tuple[str, Correct]] = {
    "dicom-test-files__WG04__J2KI__RG1_J2KI": INVERTED,
    "dicom-test-files__WG04__J2KI__RG3_J2KI": INVERTED,
    "dicom-test-files__WG04__JLSN__RG3_JLSN": INVERTED,
    "dicom-test-files__WG04__JPLY__RG3_JPLY": (
        "GDCM inverts MONOCHROME1, and wraps what lossy JPEG lifted above 10 bits; medino cuts it there",
        not_inverted_where_it_did_not_wrap,
    ),
    f"{HIGHDICOM}dx_image.dcm": INVERTED,
    f"{PYDICOM}OBXXXX1A.dcm": PALETTE,
    f"{PYDICOM}OBXXXX1A_expb.dcm": PALETTE,
    f"{PYDICOM}OBXXXX1A_rle.dcm": PALETTE,
    f"{PYDICOM}OBXXXX1A_rle_2frame.dcm": PALETTE,
    f"{PYDICOM}SC_rgb_rle_16bit.dcm": (RLE_16, sibling(f"{PYDICOM}SC_rgb_16bit.dcm")),
    f"{PYDICOM}SC_rgb_rle_16bit_2frame.dcm": (RLE_16, sibling(f"{PYDICOM}SC_rgb_16bit_2frame.dcm")),
    f"{PYDICOM}SC_rgb_rle_32bit.dcm": (RLE_16, sibling(f"{PYDICOM}SC_rgb_32bit.dcm")),
    f"{PYDICOM}SC_rgb_rle_32bit_2frame.dcm": (RLE_16, sibling(f"{PYDICOM}SC_rgb_32bit_2frame.dcm")),
    f"{PYDICOM}liver_expb.dcm": ONE_BIT,
    f"{PYDICOM}liver_expb_1frame.dcm": ONE_BIT,
    f"{HIGHDICOM}seg_image_cr_binary.dcm": ONE_BIT,
    f"{HIGHDICOM}seg_image_ct_binary.dcm": ONE_BIT,
    f"{HIGHDICOM}seg_image_ct_binary_single_frame.dcm": ONE_BIT,
    f"{PYDICOM}mlut_18.dcm": ("GDCM passes over a modality LUT; medino applies it", modality_table),
    f"{PYDICOM}rtdose.dcm": DOSE,
    f"{PYDICOM}rtdose_rle.dcm": DOSE,
    f"{PYDICOM}rtdose_expb.dcm": (
        "GDCM swaps the bytes of big endian 32-bit values by pairs, and leaves a dose as stored",
        lambda values, path: dose(dcmread(path).pixel_array, path),
    ),
}
"""Files where the two differ: the reason, and what makes GDCM's values into ours."""

NOT_READ_BY_SIMPLEITK = {
    f"{PYDICOM}MR_truncated.dcm",
    f"{PYDICOM}rtdose_1frame.dcm",
    f"{PYDICOM}rtdose_expb_1frame.dcm",
    f"{PYDICOM}rtdose_rle_1frame.dcm",
    f"{HIGHDICOM}seg_image_sm_control_labelmap.dcm",
    f"{HIGHDICOM}seg_image_sm_control_labelmap_palette_color.dcm",
    f"{HIGHDICOM}seg_image_sm_dots_tiled_full.dcm",
    "nema-enhanced-multiframe__medical.nema.org__multiframe__DISCIMG__IMAGES__BRTUMSP3",
}
"""Of these, one is truncated, one a spectrum; the others medino reads."""

NOT_READ_BY_MEDINO = {f"{PYDICOM}badVR.dcm"}
"""Its number of frames is the text "1A"; GDCM takes it for 1."""


def theirs(path: Path) -> np.ndarray | None:
    """All frames by SimpleITK, (F, H, W) or (F, H, W, 3); None where it can't."""
    try:
        return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).astype(np.float64)
    except RuntimeError:
        return None


@pytest.mark.parametrize("name", [row["path"] for row in zoo()], ids=lambda name: name.split("__", 1)[1])
def test_a_zoo_file_has_simpleitks_values_or_a_stated_reason(name: str) -> None:
    path = ZOO / "dicom_zoo" / name
    expected = theirs(path)
    assert (expected is None) == (name in NOT_READ_BY_SIMPLEITK)
    if expected is None:
        return
    if name in NOT_READ_BY_MEDINO:
        with pytest.raises(UnreadableImageError):
            dicom.describe(Source.of(path), DEFAULT_SETTINGS)
        return
    frames = dicom.describe(Source.of(path), DEFAULT_SETTINGS)
    assert len(expected) == len(frames)
    if name in DIFFERENT:
        plain, expected = expected, DIFFERENT[name][1](expected, path).astype(np.float64)
    differs = False
    for frame, facts in enumerate(frames):
        pixels = dicom.read(Source.of(path), sample_of(facts))
        values, want = pixels.values.numpy(), expected[frame]
        if DIFFERENT.get(name) is PALETTE:
            values = values // 256
        if values.shape[0] == 3:
            want = np.moveaxis(want, -1, 0)
        # Two libraries round YBR to RGB, and decode lossy JPEG, differently by one code value.
        atol = 1 if values.shape[0] == 3 or "JPLY" in name else 1e-2
        want = want.reshape(values.shape)
        told = np.isfinite(want)
        if pixels.valid is not None:
            told &= pixels.valid.numpy()
        assert told.mean() > 0.4
        np.testing.assert_allclose(values[told], want[told], rtol=1e-6, atol=atol)
        if name in DIFFERENT:
            one = np.moveaxis(plain[frame], -1, 0) if values.shape[0] == 3 else plain[frame]
            differs |= bool(np.abs(pixels.values.numpy() - one).max() > atol)
    assert differs == (name in DIFFERENT), "the table of differences has a file that does not differ"


@pytest.mark.parametrize("series", ["series_ct_head_ge", "series_mr_brain"])
def test_a_series_has_the_values_spacing_and_order_that_simpleitk_finds(shared_data: Path, series: str) -> None:
    files = [Path(name) for name in SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(shared_data / series))]
    assert len(files) >= 24
    positions = []
    for path in files:
        image = SimpleITK.ReadImage(str(path))
        facts = describe(path)[0]
        pixels = read_pixels(path, sample_of(facts))
        valid = slice(None) if pixels.valid is None else pixels.valid.numpy()
        np.testing.assert_allclose(
            pixels.values[0].numpy()[valid], SimpleITK.GetArrayFromImage(image)[0][valid], atol=1e-3
        )
        assert pixels.spacing == pytest.approx(image.GetSpacing()[1::-1])
        direction = np.array(image.GetDirection()).reshape(3, 3)
        positions.append(facts["slice_position_mm"])
        assert positions[-1] == pytest.approx(float(direction[:, 2] @ image.GetOrigin()), abs=1e-3)
    assert positions == sorted(positions)


def test_padding_of_the_head_series_is_what_its_files_declare(shared_data: Path) -> None:
    for path in sorted((shared_data / "series_ct_head_ge").iterdir()):
        dataset = dcmread(path)
        pixels = read_pixels(path, sample_of(describe(path)[0]))
        assert pixels.valid is not None
        np.testing.assert_array_equal(~pixels.valid.numpy(), dataset.pixel_array == dataset.PixelPaddingValue)
        assert pixels.values.min() >= -1024


@pytest.fixture(autouse=True)
def quiet() -> None:
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
