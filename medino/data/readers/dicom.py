"""DICOM: frames in physical units, with their windows and their valid part."""

import copy

import numpy as np
import torch
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut

from medino.core import UnreadableImageError
from medino.data.pixels import Pixels, Window
from medino.data.readers.dicom_geometry import spacing
from medino.data.readers.dicom_header import DicomHeader, describe_header, read_header
from medino.data.readers.dicom_pixels import stored_values
from medino.data.readers.dicom_values import first_number, numbers
from medino.data.readers.failures import decoding
from medino.data.readers.settings import ReadSettings
from medino.data.schema import Sample
from medino.data.source import Source

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def describe(source: Source, settings: ReadSettings) -> list[dict[str, object]]:
    """The frames of a DICOM file from its header alone; see `medino.data.readers.describe`."""
    header = read_header(source)
    _check_photometric(header)
    with decoding("the header"):
        return describe_header(header)


def read(source: Source, sample: Sample) -> Pixels:
    """Decode one frame.

    Grey values pass the modality transformation (LUT or slope and intercept; the frame's own in enhanced images);
    palette and YBR become RGB. MONOCHROME1 is flagged, not inverted.

    Raises:
        UnreadableImageError: the frame can't be decoded.
    """
    header = read_header(source)
    frame, photometric = sample.frame, _check_photometric(header)
    stored = stored_values(source, header, frame)
    with decoding("the header"):
        if photometric in _GREY:
            values, full_range = _physical(stored, header, frame)
            box, windows = _valid_box(stored, header), _windows(header, frame)
        else:
            values, full_range = _rgb(stored, header)
            box, windows = None, ()
        return Pixels(
            values=torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)),
            full_range=full_range,
            spacing=spacing(header, frame),
            box=box,
            windows=windows,
            inverted=photometric == "MONOCHROME1",
            modality=header.code("Modality"),
        )


def read_mask(source: Source, frame: int, plane: int | None) -> torch.Tensor:
    """The stored values of one frame as class or instance numbers, (H, W) int64.

    Raises:
        UnreadableImageError: the frame can't be decoded, or is in colour.
    """
    stored = stored_values(source, read_header(source), frame)
    if stored.ndim != 2:
        raise UnreadableImageError("a mask needs one value a pixel, and this DICOM image is in colour")
    return torch.from_numpy(stored.astype(np.int64))


def _check_photometric(header: DicomHeader) -> str:
    photometric = header.text("PhotometricInterpretation") or ""
    samples = header.whole("SamplesPerPixel", 0)
    if photometric not in _GREY + _COLOUR:
        raise UnreadableImageError("the photometric interpretation is none that medino knows (grey, palette, RGB, YBR)")
    if samples != (1 if photometric in (*_GREY, "PALETTE COLOR") else 3):
        raise UnreadableImageError(f"{photometric} does not go with {samples} samples a pixel")
    return photometric


def _physical(stored: np.ndarray, header: DicomHeader, frame: int) -> tuple[np.ndarray, tuple[float, float]]:
    """Grey values after the modality transformation, (1, H, W), and the range that the stored bits can express."""
    macro = header.macro("PixelValueTransformationSequence", frame)
    transform = Dataset()
    if "ModalityLUTSequence" in header.dataset and header.dataset.ModalityLUTSequence:
        transform.ModalityLUTSequence = header.dataset.ModalityLUTSequence
    else:
        slope, intercept = first_number(macro, "RescaleSlope"), first_number(macro, "RescaleIntercept")
        # A slope of zero would wipe the image out; such files mean that there is no transformation.
        transform.RescaleSlope = slope or 1.0
        transform.RescaleIntercept = intercept or 0.0
    if stored.dtype.kind == "f":
        ends = np.array([stored.min(), stored.max()], dtype=np.float64)
    else:
        bits = header.whole("BitsStored", header.whole("BitsAllocated", 16))
        signed = header.whole("PixelRepresentation", 0) == 1
        ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1], dtype=np.float64)
    values = _transform(stored, transform)
    if "ModalityLUTSequence" in transform:
        bits = int(transform.ModalityLUTSequence[0].LUTDescriptor[2])
        ends = np.array([0.0, 2.0**bits - 1])
    else:
        ends = _transform(ends, transform)
    return values[None], (float(ends.min()), float(ends.max()))


def _transform(values: np.ndarray, transform: Dataset) -> np.ndarray:
    if "ModalityLUTSequence" in transform:
        return apply_modality_lut(values, transform)
    return values.astype(np.float64) * float(transform.RescaleSlope) + float(transform.RescaleIntercept)


def _rgb(stored: np.ndarray, header: DicomHeader) -> tuple[np.ndarray, tuple[float, float]]:
    """Colour values, (3, H, W), and the range of their code values."""
    bits = header.whole("BitsStored", header.whole("BitsAllocated", 8))
    if stored.ndim == 2:
        stored = apply_color_lut(stored, _little_endian_palette(header))
        bits = stored.dtype.itemsize * 8
    return stored.transpose(2, 0, 1), (0.0, 2.0**bits - 1)


def _little_endian_palette(header: DicomHeader) -> Dataset:
    """The palette as `apply_color_lut` expects it: pydicom 3.0 takes the words of a big endian file as they lie."""
    if header.dataset.original_encoding[1]:
        return header.dataset
    palette = copy.deepcopy(header.dataset)
    for name in (
        "RedPaletteColorLookupTableData",
        "GreenPaletteColorLookupTableData",
        "BluePaletteColorLookupTableData",
    ):
        if name in palette and palette[name].VR == "OW":
            palette[name].value = np.frombuffer(palette[name].value, np.uint16).byteswap().tobytes()
    return palette


def _valid_box(stored: np.ndarray, header: DicomHeader) -> tuple[int, int, int, int] | None:
    """The smallest box around what is not padding; None where that is all of the image, or none of it."""
    padding = header.number("PixelPaddingValue")
    if padding is None:
        return None
    limit = header.number("PixelPaddingRangeLimit")
    low, high = sorted((padding, padding if limit is None else limit))
    valid = (stored < low) | (stored > high)
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    if len(rows) == 0:
        return None
    box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    return None if box == (0, 0, *stored.shape) else box


def _windows(header: DicomHeader, frame: int) -> tuple[Window, ...]:
    """The file's windows, as exact linear ones.

    The standard's LINEAR function maps `center - 0.5 ± (width - 1) / 2` to the ends (PS3.3 C.11.2.1.2.1); LINEAR_EXACT
    maps `center ± width / 2`; a SIGMOID is taken as the line that touches it at its centre, which is the exact one.
    """
    macro = header.macro("FrameVOILUTSequence", frame)
    centers, widths = numbers(macro, "WindowCenter"), numbers(macro, "WindowWidth")
    linear = str(macro.get("VOILUTFunction") or "LINEAR") == "LINEAR"
    return tuple(
        Window(center - 0.5, width - 1) if linear else Window(center, width)
        for center, width in zip(centers, widths, strict=False)
        if (width >= 1 if linear else width > 0)
    )
