"""Where a resized image lies: its size, its spacing and the place of its first pixel in the patient."""

from typing import Any

import numpy as np

from medino.data.manifest import Manifest


def resized_geometry(manifest: Manifest, sizes: np.ndarray) -> dict[str, Any]:
    """Columns of a manifest for images of other sizes that show the same part of the patient.

    Args:
        manifest: the images as they are.
        sizes: their new rows and columns, (N, 2).

    Returns:
        `rows`, `columns`, the two spacings in mm, and `position_mm`: the centre of the first pixel moves when the pixel
        grows, its outer corner stays.
    """
    old = np.stack([manifest.table[name].to_numpy() for name in ("rows", "columns")], axis=1)
    before = np.stack([_numbers(manifest, name) for name in ("spacing_row_mm", "spacing_column_mm")], axis=1)
    after = before * old / sizes
    position, orientation = manifest.column("position_mm"), manifest.column("orientation")
    shifts = (after - before) / 2
    for row in np.flatnonzero(np.nan_to_num(shifts).any(axis=1)):
        if position[row] is not None and orientation[row] is not None and np.isfinite(shifts[row]).all():
            along_row, along_column = np.reshape(orientation[row], (2, 3))
            moved = np.asarray(position[row]) + shifts[row, 1] * along_row + shifts[row, 0] * along_column
            position[row] = moved.tolist()
    return {
        "rows": sizes[:, 0],
        "columns": sizes[:, 1],
        "spacing_row_mm": [None if np.isnan(value) else value for value in after[:, 0]],
        "spacing_column_mm": [None if np.isnan(value) else value for value in after[:, 1]],
        "position_mm": position,
    }


def _numbers(manifest: Manifest, name: str) -> np.ndarray:
    """A column as float64, NaN where it is null."""
    return np.array([np.nan if value is None else value for value in manifest.column(name)], dtype=np.float64)
