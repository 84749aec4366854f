"""A slide as a pyramid of levels: regions at any resolution, sampled without shift, and a thumbnail."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from medino.core import UnreadableImageError
from medino.data.workers.limits import next_frame

_BAND_PIXELS = 2**24
"""Pixels of a level that are decoded at once for the thumbnail."""

_SQUARE = 512
"""Side of the parts, in pixels, in which a damaged band is tried again."""

_FILTER_REACH = 2
"""How many output pixels Pillow's bicubic filter reaches to each side when it makes an image smaller."""


@dataclass(frozen=True)
class Level:
    """One resolution of a slide.

    Attributes:
        width, height: in its own pixels.
        across, down: width and height of one of its pixels in pixels of the full resolution.
    """

    width: int
    height: int
    across: float
    down: float

    @classmethod
    def of(cls, width: int, height: int, full_width: int, full_height: int) -> "Level":
        """The level of these sizes.

        Scanners make levels by whole factors and cut or fill the last, incomplete pixel: 4443 becomes 2221, which is a
        factor of 2 and not of 2.0005. Such factors are taken as the whole numbers that they are meant to be.
        """
        return cls(width, height, _factor(width, full_width), _factor(height, full_height))


@dataclass(frozen=True)
class Region:
    """Decoded pixels of one level.

    Attributes:
        values: (H, W, 3) uint8.
        left, top: where the first pixel's corner lies, pixels of the level. Where a library takes corners in whole
            pixels of the full resolution alone, these are up to half such a pixel beside what was asked for.
    """

    values: np.ndarray
    left: float
    top: float


class Slide(Protocol):
    """What each kind of slide file offers.

    Attributes:
        levels: from the finest, which is the full resolution, to the coarsest.
        mpp: micrometres per pixel of the full resolution, down a column and along a row; None where unknown.
        power: power of the objective; None where unknown.
    """

    levels: tuple[Level, ...]
    mpp: tuple[float, float] | None
    power: float | None

    def region(self, level: int, left: int, top: int, width: int, height: int) -> "Region":
        """A part of one level; it has to lie inside it."""
        ...


def _factor(side: int, full_side: int) -> float:
    exact = full_side / side
    whole = round(exact)
    return float(whole) if side in (full_side // whole, -(-full_side // whole)) else exact


def level_for(slide: Slide, factor: float) -> int:
    """The coarsest level that is still at least as fine as `factor` pixels of the full resolution per pixel.

    Where even the finest is coarser, that one. A per mille is not told apart.
    """
    fine_enough = [index for index, level in enumerate(slide.levels) if max(level.across, level.down) <= factor * 1.001]
    return max(fine_enough, key=lambda index: slide.levels[index].across, default=0)


def read_tile(slide: Slide, left: int, top: int, side: int, size: int) -> np.ndarray:
    """A square of the full resolution at another one, antialiased.

    Read from the nearest finer level and made smaller by Pillow's bicubic filter, whose support grows with the factor.
    The pixels around the square are read as well, so that neighbouring tiles fit together as if the whole slide had
    been made smaller at once. Pixels are areas: nothing is shifted by half a pixel.

    Args:
        slide: the slide.
        left, top, side: the square, pixels of the full resolution; it has to lie inside the slide.
        size: side of the result, pixels.

    Returns:
        (size, size, 3) uint8.
    """
    index = level_for(slide, side / size)
    level = slide.levels[index]
    box = (left / level.across, top / level.down, (left + side) / level.across, (top + side) / level.down)
    reach_x = math.ceil(_FILTER_REACH * max(1.0, (box[2] - box[0]) / size)) + 1
    reach_y = math.ceil(_FILTER_REACH * max(1.0, (box[3] - box[1]) / size)) + 1
    start_x, start_y = max(math.floor(box[0]) - reach_x, 0), max(math.floor(box[1]) - reach_y, 0)
    stop_x, stop_y = min(math.ceil(box[2]) + reach_x, level.width), min(math.ceil(box[3]) + reach_y, level.height)
    region = slide.region(index, start_x, start_y, stop_x - start_x, stop_y - start_y)
    inside = (box[0] - region.left, box[1] - region.top, box[2] - region.left, box[3] - region.top)
    # The incomplete last pixel of a coarser level is cut off: there, the one before stands in for it.
    rows, columns = region.values.shape[:2]
    missing = (0, max(0, math.ceil(inside[3] - rows))), (0, max(0, math.ceil(inside[2] - columns))), (0, 0)
    values = np.pad(region.values, missing, mode="edge")
    return np.asarray(Image.fromarray(values).resize((size, size), Image.Resampling.BICUBIC, box=inside))


@dataclass(frozen=True)
class Thumbnail:
    """A small image of a whole slide.

    Attributes:
        values: (H, W, 3) uint8.
        across, down: width and height of one of its pixels in pixels of the full resolution.
    """

    values: np.ndarray
    across: float
    down: float


def read_thumbnail(slide: Slide, factor: float) -> Thumbnail:
    """The whole slide, by the mean of blocks of the nearest finer level, read band by band; damaged parts are white.

    Made from the levels alone: a slide's own thumbnail can be cut differently, and label and macro images show names.

    Args:
        slide: the slide.
        factor: pixels of the full resolution per pixel of the thumbnail; what comes is between half of it and it.

    Raises:
        UnreadableImageError: no part of the slide can be decoded.
    """
    index = level_for(slide, max(factor, 1.0))
    level = slide.levels[index]
    block = max(1, int(factor / level.across))
    rows = max(1, _BAND_PIXELS // (level.width * block)) * block
    bands, undamaged = [], False
    for top in range(0, level.height, rows):
        next_frame()
        height = min(rows, level.height - top)
        try:
            band = slide.region(index, 0, top, level.width, height).values
            undamaged = True
        except UnreadableImageError:
            band, some = _undamaged_parts(slide, index, top, height)
            undamaged |= some
        bands.append(np.asarray(Image.fromarray(band).reduce(block)))
    if not undamaged:
        raise UnreadableImageError("no part of the slide can be decoded: damaged or truncated")
    return Thumbnail(np.concatenate(bands), level.across * block, level.down * block)


def _undamaged_parts(slide: Slide, index: int, top: int, height: int) -> tuple[np.ndarray, bool]:
    """What can be decoded of a band of a level, in squares; the rest is white. And whether any of it can."""
    width = slide.levels[index].width
    band, some = np.full((height, width, 3), 255, dtype=np.uint8), False
    for y in range(0, height, _SQUARE):
        for x in range(0, width, _SQUARE):
            part = band[y : y + _SQUARE, x : x + _SQUARE]
            next_frame()
            try:
                part[:] = slide.region(index, x, top + y, part.shape[1], part.shape[0]).values
            except UnreadableImageError:
                continue
            some = True
    return band, some
