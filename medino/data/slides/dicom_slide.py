"""DICOM slides (VL Whole Slide Microscopy): the tiled instances of one series as one pyramid, decoded tile by tile."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydicom.filereader import read_file_meta_info
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from medino.core import UnreadableImageError
from medino.data.cache import ByteCache
from medino.data.readers.dicom_header import read_header
from medino.data.readers.dicom_pixels import stored_values
from medino.data.readers.failures import decoding
from medino.data.slides.dicom_instance import Instance, in_rows, read_instance
from medino.data.slides.pyramid import Level, Region
from medino.data.source import Source
from medino.data.workers.limits import next_frame

SOP_CLASS = str(VLWholeSlideMicroscopyImageStorage)

_SEAMS = 32
"""Pairs of neighbouring tiles that are looked at where a header does not say how the tiles follow each other."""

_DECODED: ByteCache[np.ndarray] = ByteCache(2**28)
"""Decoded tiles of all open slides: a tile of the grid often needs parts of the same ones as its neighbours."""


class DicomSlide:
    """The pyramid that an instance belongs to; its other levels are looked for in its folder.

    Attributes: see `medino.data.slides.pyramid.Slide`; `base` is the file of the finest level.

    Raises:
        UnreadableImageError: the instance shows a label or an overview, or is of a kind that is not read.
    """

    def __init__(self, source: Source) -> None:
        own = read_instance(source.path)
        others = [instance for instance in _volumes_in(source.path.parent) if instance.group == own.group]
        found = {instance.path: instance for instance in (*others, own)}
        # Two instances of one size are a slide sent twice: the first by its UID stands for both.
        ordered = sorted(found.values(), key=lambda each: (-each.width * each.height, each.uid, str(each.path)))
        kept = [each for place, each in enumerate(ordered) if place == 0 or each.width < ordered[place - 1].width]
        self.base = kept[0].path
        self._instances = kept
        self._tiles = [_Tiles(instance) for instance in kept]
        self.levels = tuple(Level.of(each.width, each.height, kept[0].width, kept[0].height) for each in kept)
        self.mpp, self.power = kept[0].mpp, kept[0].power

    def region(self, level: int, left: int, top: int, width: int, height: int) -> Region:
        """A part of one level; white where the slide has no tile.

        Raises:
            UnreadableImageError: a tile can't be decoded.
        """
        instance, tiles = self._instances[level], self._tiles[level]
        values = np.full((height, width, 3), 255, dtype=np.uint8)
        for frame, (at_x, at_y) in tiles.touching(left, top, width, height):
            pixels = tiles.decode(frame)
            x0, x1 = max(at_x, left), min(at_x + instance.tile_width, left + width)
            y0, y1 = max(at_y, top), min(at_y + instance.tile_height, top + height)
            values[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0 - at_y : y1 - at_y, x0 - at_x : x1 - at_x]
        return Region(values, left, top)


def _volumes_in(folder: Path) -> tuple[Instance, ...]:
    """The levels of slides in a folder; what can't be read is none of them."""
    return _listed(folder, folder.stat().st_mtime_ns)


# Every instance of a slide asks for its folder.
@lru_cache(maxsize=4)
def _listed(folder: Path, changed: int) -> tuple[Instance, ...]:
    """`changed` keeps a folder with new files from the cache."""
    found = []
    for path in sorted(folder.iterdir()):
        next_frame()
        try:
            if path.is_file() and _declares_slide(path):
                found.append(read_instance(path))
        except (UnreadableImageError, OSError):
            continue
    return tuple(found)


def _declares_slide(path: Path) -> bool:
    """Whether the file's meta information, which is all that is read here, calls it a slide."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return False
    with decoding("the header"):
        return read_file_meta_info(path).get("MediaStorageSOPClassUID") == SOP_CLASS


class _Tiles:
    """The tiles of one level: where they lie, and the last ones decoded."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._source = Source(instance.path)
        self._stamp = self._source.stamp
        self._at: dict[tuple[int, int], list[int]] | None = None
        self._places: tuple[tuple[int, int], ...] = instance.places or ()

    def touching(self, left: int, top: int, width: int, height: int) -> list[tuple[int, tuple[int, int]]]:
        """Index, left and top of the tiles that a part of the level needs."""
        instance = self._instance
        if self._at is None:
            self._places = self._places or _guessed_places(instance, self.decode)
            self._at = {}
            for frame, (x, y) in enumerate(self._places):
                # A tile of a sparse level need not lie on the grid: it is listed in each cell that it meets.
                for cell_x in {x // instance.tile_width, (x + instance.tile_width - 1) // instance.tile_width}:
                    for cell_y in {y // instance.tile_height, (y + instance.tile_height - 1) // instance.tile_height}:
                        self._at.setdefault((cell_x, cell_y), []).append(frame)
        frames = {
            frame
            for cell_x in range(left // instance.tile_width, (left + width - 1) // instance.tile_width + 1)
            for cell_y in range(top // instance.tile_height, (top + height - 1) // instance.tile_height + 1)
            for frame in self._at.get((cell_x, cell_y), ())
        }
        places = ((frame, self._places[frame]) for frame in sorted(frames))
        return [
            (frame, (x, y))
            for frame, (x, y) in places
            if left - instance.tile_width < x < left + width and top - instance.tile_height < y < top + height
        ]

    def decode(self, frame: int) -> np.ndarray:
        """One tile, (H, W, 3) uint8."""
        key = (self._instance.path, self._stamp, frame)
        return _DECODED.get(key, lambda: self._decode(frame), lambda values: values.nbytes)

    def _decode(self, frame: int) -> np.ndarray:
        values = stored_values(self._source, read_header(self._source), frame)
        if values.ndim != 3 or values.dtype != np.uint8:
            raise UnreadableImageError("a tile of the slide is not in colour with 8 bits")
        return values


def _guessed_places(instance: Instance, decode: Callable[[int], np.ndarray]) -> tuple[tuple[int, int], ...]:
    """Places where the header neither gives them nor says in which order the tiles come.

    The standard's order is along the rows, but some converters went down the columns. A tile's successor lies beside it
    in the first case and below it in the second: the case whose edges fit better is taken.
    """
    across, down = instance.grid
    along = in_rows(instance.width, instance.tile_width, instance.tile_height, instance.frames)
    pairs = [tile for tile in range(instance.frames - 1) if (tile + 1) % across and (tile + 1) % down]
    if min(across, down) == 1 or not pairs:
        return along
    beside = below = 0.0
    for place in sorted({int(at) for at in np.linspace(0, len(pairs) - 1, _SEAMS)}):
        first, second = (decode(pairs[place] + step).astype(np.float32) for step in (0, 1))
        beside += float(np.abs(first[:, -1] - second[:, 0]).mean())
        below += float(np.abs(first[-1] - second[0]).mean())
    if beside <= below:
        return along
    return tuple(
        (frame // down * instance.tile_width, frame % down * instance.tile_height) for frame in range(instance.frames)
    )
