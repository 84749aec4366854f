"""One reader for each format: a path and a frame in, pixels out."""

from pathlib import Path
from typing import Protocol

import torch

from medino.core import UnreadableImageError
from medino.data.pixels import Pixels
from medino.data.readers import dicom, nifti, raster
from medino.data.readers.failures import decoding
from medino.data.readers.nifti import PLANES
from medino.data.schema import Sample

__all__ = ["FORMATS", "PLANES", "describe", "read_mask", "read_pixels", "sniff"]


class _Reader(Protocol):
    """What each format's module offers."""

    def describe(self, path: Path, plane: int | None = ...) -> list[dict[str, object]]: ...

    def read(self, path: Path, frame: int, plane: int | None = ...) -> Pixels: ...

    def read_mask(self, path: Path, frame: int, plane: int | None = ...) -> torch.Tensor: ...


_READERS: dict[str, _Reader] = {"dicom": dicom, "nifti": nifti, "raster": raster}

FORMATS = tuple(_READERS)
"""The formats that can be read, as a manifest names them."""

_SUFFIXES = {
    "dicom": (".dcm", ".dicom", ".ima", ".dc3"),
    "nifti": (".nii", ".nii.gz"),
    "raster": (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".svs", ".ndpi", ".scn", ".bif", ".mrxs", ".vms"),
}
_RASTER_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def sniff(path: Path) -> str | None:
    """The format of a file, by its first bytes and, where these don't tell, by its name.

    Returns:
        One of `FORMATS`; None for what is no image file that medino knows.

    Raises:
        UnreadableImageError: the file can't be opened.
    """
    with decoding("the file"), path.open("rb") as file:
        start = file.read(348)
    name = path.name.lower()
    if start[128:132] == b"DICM" or _is_bare_dicom(start):
        return "dicom"
    if start.startswith(_RASTER_STARTS):
        return "raster"
    if start[344:347] in (b"n+1", b"n+2"):
        return "nifti"
    return next((format for format, suffixes in _SUFFIXES.items() if name.endswith(suffixes)), None)


def _is_bare_dicom(start: bytes) -> bool:
    """Whether the bytes are an element of the groups 0002 or 0008, with which a data set without preamble starts."""
    if start[:2] in (b"\x02\0", b"\x08\0"):
        group_then_element, length = start[3:4] == b"\0", start[6:8]
    elif start[:2] in (b"\0\x02", b"\0\x08"):
        group_then_element, length = start[2:3] == b"\0", start[4:6]
    else:
        return False
    return group_then_element and (length == b"\0\0" or start[4:6].isalpha())


def describe(path: Path, plane: int = 2) -> list[dict[str, object]]:
    """What the headers of a file say: one dict for each frame, slice or page. No pixel is decoded.

    Args:
        path: the file.
        plane: the axis that slices of a volume are perpendicular to; without effect on other formats.

    Returns:
        Dicts with the fields of `Sample` that the file itself tells (`format`, `frame`, `plane`, `modality`,
        `sop_class`, `transfer_syntax`, `photometric`, `rows`, `columns`, `samples_per_pixel`, `bits_stored`,
        `spacing_row_mm`, `spacing_column_mm`, `slice_position_mm`, `slice_thickness_mm`, `manufacturer`,
        `manufacturer_model`, `body_part`) and with the raw identifiers `patient_id`, `study_uid`, `series_uid`,
        `sop_instance_uid` and `accession_number`, None where absent or blank. These five identify people: they are
        to be hashed and thrown away, never stored.

    Raises:
        UnreadableImageError: the file is no image, or its header can't be right; the text is the reason, without any
            value out of the file.
    """
    return _reader(sniff(path)).describe(path, plane)


def read_pixels(path: Path, sample: Sample) -> Pixels:
    """Decode the frame, slice or page that a row of a manifest stands for.

    Raises:
        UnreadableImageError: it can't be decoded; the text is the reason.
    """
    return _reader(sample.format).read(path, sample.frame, sample.plane)


def read_mask(path: Path, frame: int = 0, plane: int | None = None, format: str | None = None) -> torch.Tensor:
    """Decode a mask: the numbers of classes or instances as they are stored, (H, W) int64.

    Args:
        path: the mask's file.
        frame: frame, slice or page.
        plane: the axis that slices of a label volume are perpendicular to (2 where None).
        format: one of `FORMATS`; found out from the file where None.

    Raises:
        UnreadableImageError: it can't be decoded, is in colour, or holds values that are no whole numbers.
    """
    return _reader(format or sniff(path)).read_mask(path, frame, plane)


def _reader(format: str | None) -> _Reader:
    if format not in _READERS:
        raise UnreadableImageError("the file is no DICOM, NIfTI, PNG, JPEG or TIFF image")
    return _READERS[format]
