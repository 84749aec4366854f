"""One reader for each format: a source and a row of the manifest in, pixels out."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from medino.core import UnreadableImageError
from medino.data.readers.failures import decoding
from medino.data.readers.settings import DEFAULT_SETTINGS, PLANES, ReadSettings
from medino.data.readers.sniffing import NOT_AN_IMAGE, sniff, why_no_image
from medino.data.schema import Sample
from medino.data.source import Source

if TYPE_CHECKING:
    import torch

    from medino.data.pixels import Pixels

__all__ = ["FORMATS", "PLANES", "ReadSettings", "describe", "load_readers", "read_mask", "read_pixels", "sniff"]


class _Reader(Protocol):
    """What each format's module offers."""

    def describe(self, source: Source, settings: ReadSettings) -> list[dict[str, object]]: ...

    def read(self, source: Source, sample: Sample) -> Pixels: ...

    def read_mask(self, source: Source, frame: int, plane: int | None) -> torch.Tensor: ...


FORMATS = ("dicom", "nifti", "raster", "npz", "packed", "slide")
"""The formats that can be read, as a manifest names them; each is a module of this folder.

They are imported late: a scan leaves reading to its workers, and does not need their torch itself.
"""


HEADER_FORMATS = ("dicom",)
"""Those that a process which reads headers loads at once; others it imports when it meets the first of them."""


def load_readers(formats: Iterable[str] = FORMATS) -> None:
    """Import readers, for a process that is about to read or to be copied."""
    for format in formats:
        _reader(format)


def describe(file: Source | Path, settings: ReadSettings = DEFAULT_SETTINGS) -> list[dict[str, object]]:
    """What the headers of a file say: one dict for each frame, slice or page. No pixel is decoded but those of slides.

    Args:
        file: the file, or the member of an archive.
        settings: how to look at volumes and slides.

    Returns:
        Dicts with the fields of `Sample` that the file itself tells (`FACTS` in `medino.data.readers.description`) and
        with raw identifiers (`IDENTIFIERS` there), None where absent or blank. These identify people: they are to be
        hashed and thrown away, never stored.

    Raises:
        UnreadableImageError: the file is no image, or its header can't be right; the text is the reason, without any
            value out of the file.
    """
    # Silent from here on: to silence decoders at each step would cost as much as a small header.
    with decoding("the file"):
        return _described(Source.of(file), settings)


def _described(source: Source, settings: ReadSettings) -> list[dict[str, object]]:
    format = sniff(source)
    if format is None:
        raise UnreadableImageError(why_no_image(source))
    if format == "dicom" and _is_slide(source):
        format = "slide"
    return _reader(format).describe(source, settings)


def read_pixels(file: Source | Path, sample: Sample) -> Pixels:
    """Decode the frame, slice or page that a row of a manifest stands for.

    Raises:
        UnreadableImageError: it can't be decoded; the text is the reason.
    """
    return _reader(sample.format).read(Source.of(file), sample)


def read_mask(
    file: Source | Path,
    frame: int = 0,
    plane: int | None = None,
    format: str | None = None,
    spacing: tuple[float | None, float | None, float | None] | None = None,
) -> torch.Tensor:
    """Decode a mask: the numbers of classes or instances as they are stored, (H, W) int64.

    Args:
        file: the mask's file.
        frame: frame, slice or page.
        plane: the axis that slices of a label volume are perpendicular to (2 where None).
        format: one of `FORMATS`; found out from the file where None.
        spacing: distance of rows, columns and slices of the image, mm, to which NIfTI labels are brought; None: their
            own.

    Raises:
        UnreadableImageError: it can't be decoded, is in colour, or holds values that are no whole numbers.
    """
    source = Source.of(file)
    format = format or sniff(source)
    if format == "nifti" and spacing is not None:
        from medino.data.readers import nifti

        return nifti.read_mask(source, frame, plane, spacing)
    return _reader(format).read_mask(source, frame, plane)


def read_map(
    file: Source | Path,
    frame: int = 0,
    plane: int | None = None,
    spacing: tuple[float | None, float | None, float | None] = (None, None, None),
) -> torch.Tensor:
    """Decode a map of values (a depth, a parameter), (H, W) float32, NaN where the file says so.

    Args:
        file: the map's file: NIfTI, or a grey TIFF or PNG; its format is found out from the file.
        frame: frame, slice or page.
        plane: the axis that slices of a volume are perpendicular to (2 where None).
        spacing: distance of rows, columns and slices of the image, mm, to which NIfTI maps are brought.

    Raises:
        UnreadableImageError: it can't be decoded, is in colour, or of another format.
    """
    from medino.data.readers import nifti, raster

    source = Source.of(file)
    format = sniff(source)
    if format == "nifti":
        return nifti.read_map(source, frame, plane, spacing)
    if format != "raster":
        raise UnreadableImageError("maps of values are read from NIfTI, TIFF and PNG files")
    return raster.read_map(source, frame)


def _is_slide(source: Source) -> bool:
    from medino.data.readers.dicom_header import read_header
    from medino.data.slides.dicom_slide import SOP_CLASS

    header = read_header(source)
    if "slide" not in header.alike:
        with decoding("the header"):
            header.alike["slide"] = header.code("SOPClassUID") == SOP_CLASS
    return bool(header.alike["slide"])


def _reader(format: str | None) -> _Reader:
    if format not in FORMATS:
        raise UnreadableImageError(NOT_AN_IMAGE)
    return cast(_Reader, import_module(f"medino.data.readers.{format}"))
