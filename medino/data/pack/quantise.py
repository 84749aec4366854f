"""Physical values as whole numbers of 8 or 16 bits: value = slope * stored + intercept."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

LEVELS = 2**16 - 1
"""The largest number that is stored."""


@dataclass(frozen=True)
class Grid:
    """Equally spaced values, of which an image's own are some: `slope * stored + intercept`, physical units."""

    slope: float
    intercept: float

    def physical(self, stored: np.ndarray) -> np.ndarray:
        """The values, float32, as a reader computes them: in double precision, rounded once."""
        if self.slope == 1 and self.intercept.is_integer() and abs(self.intercept) < 2**23:
            # Whole numbers below 2^24, which float32 holds as they are, in half the time.
            values = stored.astype(np.float32)
            return np.add(values, np.float32(self.intercept), out=values) if self.intercept else values
        return (stored.astype(np.float64) * self.slope + self.intercept).astype(np.float32)

    def stored(self, values: np.ndarray) -> np.ndarray:
        """The nearest points of the grid, in the fewest bytes."""
        nearest = np.rint((values.astype(np.float64) - self.intercept) / self.slope).clip(0, LEVELS)
        return nearest.astype(np.uint8 if nearest.max(initial=0) <= 255 else np.uint16)


def own_grid(values: np.ndarray) -> Grid | None:
    """The grid that an image's values lie on: that of its stored whole numbers, where there are at most 2^16.

    Whole numbers are found as such. Else the step is looked for in the differences of neighbouring values: what a
    reader has scaled by a slope and an intercept is equally spaced up to the rounding of float32. Files give the two as
    decimal numbers; with the shortest ones that fit, the values mostly come back to the last bit, and else within two
    units in the last place of the largest.
    """
    low, high = float(values.min()), float(values.max())
    if high == low:
        return Grid(1.0, low)
    if high - low <= LEVELS and np.array_equal(np.rint(values), values):
        return Grid(1.0, low)
    distinct = np.unique(values).astype(np.float64)
    if len(distinct) > LEVELS + 1:
        return None
    gaps = np.diff(distinct)
    step = float(gaps.min())
    for _ in range(3):
        # The smallest gap is rounded; the mean of all, once it is known how many steps each has, hardly is.
        if (high - low) / step > 2 * LEVELS:
            return None
        step = (high - low) / float(np.rint(gaps / step).sum())
    if (high - low) / step > LEVELS + 0.5:
        return None
    tolerance = 2 * float(np.spacing(np.float32(max(abs(low), abs(high)))))
    best, least = None, tolerance
    for grid in _simple_grids(step, low):
        error = _error(grid, distinct)
        if error <= least:
            best, least = grid, error
        if error == 0:
            break
    return best


def _simple_grids(step: float, low: float) -> Iterator[Grid]:
    """Grids of about this step from this value on: of the shorter decimal numbers first, of the step as it is last."""
    decimals = [float(f"{step:.{digits}g}") for digits in range(1, 9)]
    near = [slope for slope in dict.fromkeys(decimals) if abs(slope / step - 1) < 1e-5]
    # Some programs compute in single precision, and NIfTI keeps its slope so.
    for slope in (*near, *(float(np.float32(slope)) for slope in near), step):
        # A grid through zero, where there is no intercept, or else one from the lowest value on.
        yield Grid(slope, round(low / slope) * slope)
        yield Grid(slope, float(str(np.float32(low))))
        yield Grid(slope, low)


def _error(grid: Grid, values: np.ndarray) -> float:
    """The largest difference between values and the points of the grid that stand for them."""
    return float(np.abs(grid.physical(grid.stored(values)) - values).max())


def finest_grid(values: np.ndarray) -> Grid:
    """The grid of 2^16 values over an image's own range: no value is further from it than half of its slope."""
    low, high = float(values.min()), float(values.max())
    return Grid((high - low) / LEVELS if high > low else 1.0, low)
