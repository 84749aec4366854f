"""DICOM: frames in physical units, with their windows and their valid part."""

from typing import TYPE_CHECKING

import numpy as np

from medino.core import UnreadableImageError
from medino.data.pixels import Pixels, box_around
from medino.data.readers.dicom_geometry import spacing
from medino.data.readers.dicom_header import DicomHeader, describe_header, read_header
from medino.data.readers.dicom_pixels import stored_values
from medino.data.readers.dicom_segmentation import is_segmentation
from medino.data.readers.dicom_segmentation import read_mask as read_segments
from medino.data.readers.dicom_tables import palette_colours
from medino.data.readers.dicom_units import fill_padding, physical_values, valid_mask
from medino.data.readers.dicom_windows import windows_of
from medino.data.readers.failures import decoding
from medino.data.readers.settings import ReadSettings
from medino.data.schema import Sample
from medino.data.source import Source

if TYPE_CHECKING:
    import torch

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def describe(source: Source, settings: ReadSettings) -> list[dict[str, object]]:
    """The frames of a DICOM file from its header alone; see `medino.data.readers.describe`."""
    header = read_header(source)
    if "description" not in header.alike:
        _check_photometric(header)
    with decoding("the header"):
        return describe_header(header)


def read(source: Source, sample: Sample) -> Pixels:
    """Decode one frame.

    Grey values pass the modality transformation (LUT or slope and intercept; the frame's own in enhanced images), and
    padding is filled; palette and YBR become RGB. MONOCHROME1 is flagged, not inverted. Overlays and shutters are not
    burned in, and the palette that a grey image may have beside it (a supplemental one, for a map of flow, say) is not
    applied: it is a way to show some of the values, not what was measured.

    Raises:
        UnreadableImageError: the frame can't be decoded.
    """
    header = read_header(source)
    frame, photometric = sample.frame, _check_photometric(header)
    stored = stored_values(source, header, frame)
    with decoding("the header"):
        return _grey(stored, header, frame) if photometric in _GREY else _colour(stored, header, frame)


def _grey(stored: np.ndarray, header: DicomHeader, frame: int) -> Pixels:
    import torch

    inverted = header.text("PhotometricInterpretation") == "MONOCHROME1"
    values, full_range = physical_values(stored, header, frame)
    valid = valid_mask(stored, header)
    if valid is not None:
        values = fill_padding(values, valid, inverted)
    mask = None if valid is None else torch.from_numpy(valid)
    return Pixels(
        values=torch.from_numpy(values[None].astype(np.float32, copy=False)),
        full_range=full_range,
        spacing=spacing(header, frame),
        valid=mask,
        box=None if mask is None else box_around(mask),
        windows=windows_of(header, frame, full_range),
        inverted=inverted,
        modality=header.code("Modality"),
        body_part=header.code("BodyPartExamined"),
    )


def _colour(stored: np.ndarray, header: DicomHeader, frame: int) -> Pixels:
    import torch

    values, full_range = _rgb(stored, header)
    return Pixels(
        values=torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)),
        full_range=full_range,
        spacing=spacing(header, frame),
        modality=header.code("Modality"),
        body_part=header.code("BodyPartExamined"),
    )


def read_mask(source: Source, frame: int, plane: int | None) -> "torch.Tensor":
    """The stored values of one frame as class or instance numbers, (H, W) int64.

    Of a segmentation, `frame` counts the source images that it shows: see `medino.data.readers.dicom_segmentation`.

    Raises:
        UnreadableImageError: the frame can't be decoded, or is in colour.
    """
    import torch

    header = read_header(source)
    if is_segmentation(header):
        return read_segments(source, frame)
    stored = stored_values(source, header, frame)
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


def _rgb(stored: np.ndarray, header: DicomHeader) -> tuple[np.ndarray, tuple[float, float]]:
    """Colour values, (3, H, W), and the range of their code values."""
    bits = header.whole("BitsStored", header.whole("BitsAllocated", 8))
    if stored.ndim == 2:
        stored, bits = palette_colours(stored, header)
    return stored.transpose(2, 0, 1), (0.0, 2.0**bits - 1)
