"""DICOM grey values: from stored to physical units, and which pixels are padding (PS3.3 C.11.1, C.7.5.1.1.2)."""

import numpy as np

from medino.data.readers.dicom_header import DicomHeader
from medino.data.readers.dicom_tables import lookup_table
from medino.data.readers.dicom_values import first_number

_PADDING = (
    ("PixelPaddingValue", "PixelPaddingRangeLimit"),
    ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"),
    ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"),
)


def physical_values(stored: np.ndarray, header: DicomHeader, frame: int) -> tuple[np.ndarray, tuple[float, float]]:
    """Grey values after the modality transformation of their frame.

    A modality LUT, or else slope and intercept (the frame's own in an enhanced image), or else a dose grid's scaling.
    Real world value maps are not applied: they say what else the numbers could mean, several of them often, and the
    windows of the file are meant for the numbers without them.

    Returns:
        (H, W) float32 where that is exact, else float64; and the lowest and highest value that the stored bits can
        express in these units.
    """
    ends = stored_range(stored, header)
    sequence = header.dataset.get("ModalityLUTSequence")
    if sequence:
        table = lookup_table(sequence[0], header, ends[1])
        return table.look_up(stored), (0.0, 2.0**table.bits - 1)
    macro = header.macro("PixelValueTransformationSequence", frame)
    slope, intercept = first_number(macro, "RescaleSlope"), first_number(macro, "RescaleIntercept") or 0.0
    if slope is None:
        slope = header.number("DoseGridScaling")
    # A slope of zero would wipe the image out; such files mean that there is no transformation.
    slope = slope or 1.0
    limits = sorted(end * slope + intercept for end in ends)
    # 16 bits and a whole number fit into the 24 bits of float32, which is half the work.
    plain = slope == 1 and intercept.is_integer() and abs(intercept) < 2**23 and stored.dtype.itemsize <= 2
    values: np.ndarray = stored.astype(np.float32 if plain else np.float64)
    if slope != 1:
        values *= slope
    values += intercept
    return values, (limits[0], limits[1])


def stored_range(stored: np.ndarray, header: DicomHeader) -> tuple[float, float]:
    """The lowest and the highest value that the stored bits can express; of floating point values what is there."""
    if stored.dtype.kind == "f":
        return float(stored.min()), float(stored.max())
    bits = header.whole("BitsStored", header.whole("BitsAllocated", 16))
    signed = header.whole("PixelRepresentation", 0) == 1
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)


def valid_mask(stored: np.ndarray, header: DicomHeader) -> np.ndarray | None:
    """Which pixels of a grey image are not padding, (H, W) bool; None where all are, or none.

    An image of nothing but padding is left as it is: there is no valid value to fill it with.
    """
    for name, limit_name in _PADDING:
        value, limit = header.number(name), header.number(limit_name)
        if value is None:
            continue
        ends = stored_range(stored, header)
        first = _with_its_sign(value, ends)
        second = first if limit is None else _with_its_sign(limit, ends)
        valid = (stored < min(first, second)) | (stored > max(first, second))
        if valid.any() and not valid.all():
            return valid
    return None


def fill_padding(values: np.ndarray, valid: np.ndarray, inverted: bool) -> np.ndarray:
    """Give padding the valid value that is shown darkest: the lowest, or the highest of a MONOCHROME1 image.

    Left as it is, padding (often -2000 in CT, or the highest value) is an edge stronger than any in the patient, rings
    when the image is resized, and shifts every statistic.
    """
    inside = values[valid]
    return np.where(valid, values, inside.max() if inverted else inside.min())


def _with_its_sign(value: float, ends: tuple[float, float]) -> float:
    """A padding value of 16 bits, whose VR is ambiguous, as the signed or unsigned number that the pixels have."""
    if ends[0] < 0 and 2**15 <= value < 2**16:
        return value - 2**16
    if ends[0] == 0 and -(2**15) <= value < 0:
        return value + 2**16
    return value
