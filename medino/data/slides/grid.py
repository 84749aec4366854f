"""A grid of tiles over a slide: at which resolution, where each lies, and how much tissue it holds."""

from dataclasses import dataclass

import numpy as np

from medino.core import UnreadableImageError
from medino.data.slides.pyramid import Slide, Thumbnail
from medino.data.slides.settings import COARSEST_RATIO, MICRONS_AT_ONE_POWER, Tiles


@dataclass(frozen=True)
class Grid:
    """Where tiles lie on one slide, in pixels of its full resolution.

    Row by row from the upper left corner. Only whole tiles: a strip at the right and at the lower edge, narrower than a
    tile, belongs to none.

    Attributes:
        side: of a tile.
        step: from one tile to the next; smaller than `side` where tiles overlap.
        across, down: tiles along a row and along a column.
        size: of a tile in its own pixels.
        mpp: micrometres per pixel of the tiles, down and along; None where nobody knows.
    """

    side: int
    step: int
    across: int
    down: int
    size: int
    mpp: tuple[float, float] | None

    def __len__(self) -> int:
        return self.across * self.down

    def corner(self, index: int) -> tuple[int, int]:
        """Left and top of a tile."""
        return index % self.across * self.step, index // self.across * self.step

    def shares(self, mask: np.ndarray, thumbnail: Thumbnail) -> np.ndarray:
        """The share of each tile's pixels that a mask on the thumbnail covers, (across * down,) float64 in [0, 1]."""
        sums = np.pad(mask, ((1, 0), (1, 0))).cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
        top, bottom = self._edges(self.down, thumbnail.down, mask.shape[0])
        left, right = self._edges(self.across, thumbnail.across, mask.shape[1])
        covered = sums[bottom][:, right] - sums[top][:, right] - sums[bottom][:, left] + sums[top][:, left]
        return (covered / np.outer(bottom - top, right - left)).ravel()

    def _edges(self, count: int, pixel: float, length: int) -> tuple[np.ndarray, np.ndarray]:
        """First and last pixel of the thumbnail (half open) that each row or column of tiles touches most of."""
        starts = np.arange(count) * self.step
        first = np.clip(np.rint(starts / pixel).astype(np.int64), 0, length - 1)
        last = np.clip(np.rint((starts + self.side) / pixel).astype(np.int64), first + 1, length)
        return first, last


def grid_on(slide: Slide, tiles: Tiles) -> Grid:
    """The grid that was asked for, on one slide.

    The side of a tile is rounded to whole pixels of the full resolution; `Grid.mpp` is the resolution that comes of it,
    at most a part in some hundred beside what was asked for.

    Raises:
        UnreadableImageError: nothing was asked for, the slide does not say how large its pixels are, its finest level
            is too coarse, it lacks the level, or it is smaller than a tile. The text says which option helps.
    """
    full = slide.levels[0]
    mpp = slide.mpp or (tiles.assumed_mpp and (tiles.assumed_mpp, tiles.assumed_mpp)) or None
    side = round(tiles.size * _factor(slide, tiles, mpp))
    step = max(1, round(side * (tiles.size - tiles.overlap) / tiles.size))
    if min(full.width, full.height) < side:
        raise UnreadableImageError(
            f"the slide is smaller than one tile ({full.width} x {full.height} pixels of the full resolution, a tile "
            f"has {side}): ask for a finer --tiles.mpp or a smaller --tiles.size"
        )
    across, down = (full.width - side) // step + 1, (full.height - side) // step + 1
    scale = side / tiles.size
    return Grid(side, step, across, down, tiles.size, mpp and (mpp[0] * scale, mpp[1] * scale))


def _factor(slide: Slide, tiles: Tiles, mpp: tuple[float, float] | None) -> float:
    """Pixels of the full resolution for each pixel of a tile."""
    if not tiles.asked:
        raise UnreadableImageError(
            "a slide, which is read in tiles: say at which resolution by --tiles.mpp 0.5, --tiles.magnification 20 or "
            "--tiles.level 0"
        )
    if tiles.level is not None:
        if tiles.level >= len(slide.levels):
            raise UnreadableImageError(f"the slide has {len(slide.levels)} levels: give a smaller --tiles.level")
        level = slide.levels[tiles.level]
        return (level.across + level.down) / 2
    if tiles.magnification is not None and mpp is None and slide.power is not None:
        asked, finest, unit = MICRONS_AT_ONE_POWER / tiles.magnification, MICRONS_AT_ONE_POWER / slide.power, "assumed"
    else:
        if mpp is None:
            raise UnreadableImageError(
                "the header of the slide says no mpp (micrometres per pixel): give --tiles.assumed_mpp, or ask by "
                "--tiles.level"
            )
        asked = tiles.mpp or MICRONS_AT_ONE_POWER / (tiles.magnification or 1)
        finest, unit = (mpp[0] + mpp[1]) / 2, "of its finest level"
    if finest > asked * COARSEST_RATIO:
        raise UnreadableImageError(
            f"the slide has {finest:.3g} micrometres per pixel ({unit}), too coarse for the {asked:.3g} asked for: "
            "ask for a larger --tiles.mpp or a smaller --tiles.magnification"
        )
    return asked / finest
