"""Voxels on a grid in the patient: affines, an even grid for uneven slices, an upright one for tilted slices."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medino.core import InputError
from medino.data.volumes.arrangement import Arrangement, normal_of

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's patient axes point left and back (PS3.3 C.7.6.2.1.1), NIfTI's right and forward."""

WIDEST_GAP_STEPS = 3.0
"""Gaps of more median steps than this are not filled: what lies in them nobody has seen."""


@dataclass(frozen=True)
class Grid:
    """A volume.

    Attributes:
        values: (columns, rows, slices) float32 in physical units.
        affine: voxel indices to mm in NIfTI's axes (RAS), (4, 4).
    """

    values: np.ndarray
    affine: np.ndarray

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along each axis, mm."""
        across, down, through = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(across), float(down), float(through)


def affine_of(
    orientation: np.ndarray, spacing: tuple[float, float], origin: np.ndarray, step: np.ndarray
) -> np.ndarray:
    """The affine of slices: a voxel (column, row, slice) to mm in NIfTI's axes, (4, 4).

    The equation of PS3.3 C.7.6.2.1.1 with the way to the next slice as third column: of tilted slices it is sheared,
    and exact.

    Args:
        orientation: cosines of a row and of a column, (6,).
        spacing: distance between rows and between columns, mm.
        origin: centre of the first voxel in DICOM's axes, (3,) mm.
        step: from a slice to the next, (3,) mm.
    """
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * spacing[1]
    affine[:3, 1] = orientation[3:] * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = origin
    return LPS_TO_RAS @ affine


def on_even_grid(values: np.ndarray, found: Arrangement) -> tuple[np.ndarray, np.ndarray]:
    """Put slices of uneven distances on an even grid from the first to the last, by linear interpolation.

    The grid's step is the median distance, changed so little that the last slice keeps its place.

    Args:
        values: (columns, rows, slices).
        found: how the slices lie; on one line.

    Returns:
        Values and the step in mm, (3,).

    Raises:
        InputError: a gap is too wide to be filled.
    """
    usual, widest = float(np.median(found.steps)), float(found.steps.max())
    if widest > WIDEST_GAP_STEPS * usual:
        raise InputError(
            f"a gap of {widest:.1f} mm is not filled where slices lie {usual:.1f} mm apart: nobody has seen what is in "
            "it"
        )
    places = np.concatenate([[0.0], np.cumsum(found.steps)])
    count = round(places[-1] / usual) + 1
    even = np.linspace(0.0, places[-1], count)
    lower = np.clip(np.searchsorted(places, even, side="right") - 1, 0, len(places) - 2)
    weight = ((even - places[lower]) / found.steps[lower]).astype(np.float32)
    between = values[..., lower] * (1 - weight) + values[..., lower + 1] * weight
    return between, found.line * even[1]


def upright(grid: Grid) -> Grid:
    """Undo the shear of a gantry tilt: shift each slice in its plane, by linear interpolation.

    The image grows, so that nothing is cut off; what no slice shows gets the volume's lowest value.
    """
    columns, rows, slices = grid.values.shape
    across, down, through = grid.affine[:3, 0], grid.affine[:3, 1], grid.affine[:3, 2]
    normal = normal_of(np.concatenate([across, down]))
    aside = np.linalg.solve(np.stack([across, down, normal], axis=1), through)
    shifts = np.outer(np.arange(slices), aside[:2])
    low, high = np.floor(shifts.min(axis=0)).astype(int), np.ceil(shifts.max(axis=0)).astype(int)
    lowest = grid.values.min()
    values = np.full((columns + high[0] - low[0], rows + high[1] - low[1], slices), lowest, dtype=np.float32)
    for index, shift in enumerate(shifts - low):
        values[:columns, :rows, index] = grid.values[..., index]
        values[..., index] = ndimage.shift(values[..., index], shift, order=1, cval=lowest)
    affine = grid.affine.copy()
    affine[:3, 2] = aside[2] * normal
    affine[:3, 3] += low[0] * across + low[1] * down
    return Grid(values, affine)
