"""Slides that OpenSlide reads: SVS, NDPI, MRXS, SCN, BIF, Philips, Ventana, Zeiss and pyramids in plain tiled TIFF."""

import math
import struct

import numpy as np
import openslide
from PIL import Image

from medino.core import UnreadableImageError
from medino.data.readers.failures import MAX_VALUES
from medino.data.slides.pyramid import Level, Region
from medino.data.source import Source

SUFFIXES = (".svs", ".ndpi", ".scn", ".bif", ".mrxs", ".vms", ".vmu", ".svslide", ".czi")
"""Names of files that are slides whatever their first bytes say: an MRXS file starts as a JPEG."""

_TIFF_STARTS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
_TILE_WIDTH, _HAMAMATSU = 322, 65420
"""TIFF tags: of tiled images (TIFF 6.0, section 15), and of NDPI, which is in strips."""


class OpenSlideFile:
    """A slide by OpenSlide. Its associated images (label, macro, thumbnail) are never touched.

    Attributes: see `medino.data.slides.pyramid.Slide`.

    Raises:
        UnreadableImageError: OpenSlide can't read the file.
    """

    def __init__(self, source: Source) -> None:
        self._path = source.path
        self._file = self._open()
        full = self._file.level_dimensions[0]
        self.levels = tuple(Level.of(*size, *full) for size in self._file.level_dimensions)
        across, down = (self._number(openslide.PROPERTY_NAME_MPP_X), self._number(openslide.PROPERTY_NAME_MPP_Y))
        self.mpp = (down, across) if across and down else None
        self.power = self._number(openslide.PROPERTY_NAME_OBJECTIVE_POWER)
        background = self._file.properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, "ffffff")
        self._background = f"#{background}"

    def region(self, level: int, left: int, top: int, width: int, height: int) -> Region:
        """A part of one level; where the scanner saw nothing, the background.

        Raises:
            UnreadableImageError: it can't be decoded.
        """
        # OpenSlide takes corners in whole pixels of the full resolution, and divides by factors of its own: 2.0005,
        # say, where 4443 pixels became 2221. What comes back begins at a part of the level's pixel.
        factor = self._file.level_downsamples[level]
        corner = (round(left * factor), round(top * factor))
        try:
            pixels = self._file.read_region(corner, level, (width, height))
        except openslide.OpenSlideError as error:
            # From its first error on, a handle gives nothing but that error.
            self._file = self._open()
            raise UnreadableImageError("a part of the slide can't be decoded: damaged or truncated") from error
        if pixels.getchannel("A").getextrema() != (255, 255):
            pixels = Image.alpha_composite(Image.new("RGBA", pixels.size, self._background), pixels)
        return Region(np.asarray(pixels.convert("RGB")), corner[0] / factor, corner[1] / factor)

    def _open(self) -> openslide.OpenSlide:
        try:
            return openslide.OpenSlide(self._path)
        except (openslide.OpenSlideError, OSError) as error:
            # OpenSlide's own words can quote the file's name and its values.
            raise UnreadableImageError("the slide is damaged, or of a kind that OpenSlide does not read") from error

    def _number(self, name: str) -> float | None:
        try:
            value = float(self._file.properties.get(name, "nan"))
        except ValueError:
            return None
        return value if math.isfinite(value) and value > 0 else None


def is_slide(source: Source, start: bytes) -> bool:
    """Whether a file is a slide, by its name, its first bytes and what OpenSlide finds in it.

    A tiled TIFF of no vendor is one where it has several levels, or more pixels than are decoded at once; else it is an
    image like any other.

    Args:
        source: the file.
        start: its first bytes, at least 16.
    """
    if source.name.lower().endswith(SUFFIXES):
        return True
    if (
        source.member is not None
        or start[:4] not in _TIFF_STARTS
        or not _first_tags(source) & {_TILE_WIDTH, _HAMAMATSU}
    ):
        return False
    vendor = openslide.OpenSlide.detect_format(source.path)
    if vendor != "generic-tiff":
        return vendor is not None
    try:
        with openslide.OpenSlide(source.path) as file:
            width, height = file.dimensions
            return file.level_count > 1 or width * height * 3 > MAX_VALUES
    except openslide.OpenSlideError:
        return False


def _first_tags(source: Source) -> set[int]:
    """The tags of a TIFF's first page (TIFF 6.0 and BigTIFF); none where they can't be read."""
    with source.open() as file:
        start = file.read(16)
        order = _TIFF_STARTS[start[:4]]
        big = start[2:4] in (b"+\0", b"\0+")
        try:
            (first,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", start, 8 if big else 4)
            file.seek(first)
            (count,) = struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))
            size = 20 if big else 12
            entries = file.read(min(count, 4096) * size)
        except (struct.error, OSError, OverflowError, ValueError):
            return set()
    return {struct.unpack_from(f"{order}H", entries, place)[0] for place in range(0, len(entries) - size + 1, size)}
