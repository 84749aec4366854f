"""Where a resized image lies: its size, its spacing and the place of its first pixel in the patient."""

import numpy as np
import pyarrow as pa

from medino.data.manifest import Manifest


def resized_geometry(manifest: Manifest, sizes: np.ndarray) -> dict[str, pa.Array]:
    """Columns of a manifest for images of other sizes that show the same part of the patient.

    Args:
        manifest: the images as they are.
        sizes: their new rows and columns, (N, 2).

    Returns:
        `rows`, `columns`, the two spacings in mm, and `position_mm`: the centre of the first pixel moves when the pixel
        grows, its outer corner stays.
    """
    table = manifest.table
    old = np.stack([table[name].to_numpy() for name in ("rows", "columns")], axis=1)
    # Null becomes NaN, and comes back as null.
    before = np.stack([table[name].to_numpy() for name in ("spacing_row_mm", "spacing_column_mm")], axis=1)
    after = before.astype(np.float64) * (old / sizes)
    return {
        "rows": pa.array(sizes[:, 0]),
        "columns": pa.array(sizes[:, 1]),
        "spacing_row_mm": pa.array(after[:, 0], from_pandas=True),
        "spacing_column_mm": pa.array(after[:, 1], from_pandas=True),
        "position_mm": _moved(manifest, (after - before.astype(np.float64)) / 2),
    }


def _moved(manifest: Manifest, shifts: np.ndarray) -> pa.Array:
    """The column `position_mm` after the first pixels' centres moved.

    Args:
        manifest: the images as they were.
        shifts: how far along a column and along a row, mm, (N, 2); NaN where nobody knows.
    """
    position, orientation = (manifest.table[name].combine_chunks() for name in ("position_mm", "orientation"))
    placed, turned = (column.is_valid().to_numpy(zero_copy_only=False) for column in (position, orientation))
    rows = np.flatnonzero(placed & turned & np.isfinite(shifts).all(axis=1) & shifts.any(axis=1))
    if len(rows) == 0:
        return position
    points = position.flatten().to_numpy().reshape(-1, 3).astype(np.float64)
    axes = orientation.take(pa.array(rows)).flatten().to_numpy().reshape(-1, 2, 3)
    along_row, along_column = axes[:, 0], axes[:, 1]
    places = (np.cumsum(placed) - 1)[rows]
    points[places] += shifts[rows, 1:] * along_row + shifts[rows, :1] * along_column
    ends = pa.array(np.concatenate([[0], 3 * np.cumsum(placed)]), pa.int32())
    values = pa.array(points.astype(np.float32).ravel())
    return pa.ListArray.from_arrays(ends, values, mask=pa.array(~placed)).cast(position.type)
