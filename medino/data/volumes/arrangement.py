"""How slices follow each other in space: their order along the normal, the line they lie on, tilt and gaps."""

from dataclasses import dataclass

import numpy as np

SAME_PLACE_MM = 0.01
"""Slices nearer to each other along the normal lie at one place: positions are written as rounded decimals."""

SAME_PLACE_PIXELS = 0.05
"""The same for microscopic images, as a part of their pixel spacing; the smaller of the two counts."""

TOLERANCE_MM = 0.1
"""How far a slice may lie from the place that an even grid gives it: many scanners round positions to a tenth."""

TOLERANCE_STEPS = 0.1
"""The same for finely spaced slices, as a part of their distance; the smaller of the two counts."""


@dataclass(frozen=True)
class Arrangement:
    """Slices of one orientation, sorted along their normal.

    Attributes:
        origin: centre of the first pixel of the first slice, on the grid fitted to all slices; (3,), mm in the patient.
        step: from a slice to the next on that grid, (3,), mm.
        first: centre of the first pixel of the first slice as the file gives it, (3,), mm.
        line: unit vector from there to the last slice, (3,).
        steps: what the distances between neighbours are, along the line on which the slices lie, (N - 1,), mm.
        tilt: angle between that line and the slices' normal, degrees: the gantry's tilt.
        drift: what the tilt moves the last slice sideways against the first, mm.
        off_line: largest distance of a slice from that line, mm.
        off_grid: largest distance of a slice from its place on the fitted grid, mm.
    """

    origin: np.ndarray
    step: np.ndarray
    first: np.ndarray
    line: np.ndarray
    steps: np.ndarray
    tilt: float
    drift: float
    off_line: float
    off_grid: float

    @property
    def tolerance(self) -> float:
        """How far a slice may lie from its place on the grid, mm."""
        return min(TOLERANCE_MM, TOLERANCE_STEPS * float(np.linalg.norm(self.step)))

    @property
    def straight(self) -> bool:
        """Whether all slices lie on one line."""
        return self.off_line <= self.tolerance

    @property
    def even(self) -> bool:
        """Whether one affine places all slices."""
        return self.off_grid <= self.tolerance

    @property
    def tilted(self) -> bool:
        """Whether the slices are sheared against each other by more than the tolerance."""
        return self.drift > TOLERANCE_MM


def normal_of(orientation: np.ndarray) -> np.ndarray:
    """The unit normal of each plane: row cosines x column cosines, (..., 6) to (..., 3)."""
    normal = np.cross(orientation[..., :3], orientation[..., 3:])
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def levels_of(along: np.ndarray, spacing: float = np.inf) -> np.ndarray:
    """Number the places that positions along a normal take, from the lowest.

    Args:
        along: (N,) mm.
        spacing: of the pixels, mm, where it is known.

    Returns:
        (N,) int64.
    """
    same = min(SAME_PLACE_MM, SAME_PLACE_PIXELS * spacing)
    order = np.argsort(along, kind="stable")
    levels = np.empty(len(along), dtype=np.int64)
    levels[order] = np.concatenate([[0], np.cumsum(np.diff(along[order]) > same)])
    return levels


def arrange(positions: np.ndarray, normal: np.ndarray) -> Arrangement:
    """Fit an even grid to slices.

    Args:
        positions: of two slices or more, sorted along the normal and none at one place with another, (N, 3) mm.
        normal: the unit normal of their planes, (3,).
    """
    count = np.arange(len(positions)) - (len(positions) - 1) / 2
    step = count @ positions / (count @ count)
    centre = positions.mean(axis=0)
    way = positions[-1] - positions[0]
    line = way / np.linalg.norm(way)
    along = (positions - positions[0]) @ line
    aside = positions - positions[0] - np.outer(along, line)
    return Arrangement(
        origin=centre + count[0] * step,
        step=step,
        first=positions[0],
        line=line,
        steps=np.diff(along),
        tilt=float(np.degrees(np.arccos(np.clip(line @ normal, -1.0, 1.0)))),
        drift=float(np.linalg.norm(way - (way @ normal) * normal)),
        off_line=float(np.linalg.norm(aside, axis=1).max()),
        off_grid=float(np.linalg.norm(positions - centre - np.outer(count, step), axis=1).max()),
    )
