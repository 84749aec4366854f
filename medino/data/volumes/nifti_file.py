"""A volume to a NIfTI file: int16 where that loses nothing, the affine as it is."""

import gzip
from pathlib import Path

import nibabel
import numpy as np

from medino.core import whole_file
from medino.data.volumes.grid import Grid

_INT16 = np.iinfo(np.int16)


def write_nifti(path: Path, grid: Grid, full_range: tuple[float, float], bits: int | None) -> str:
    """Write a compressed NIfTI-1 file, whole or not at all.

    The affine is the sform. The qform is left unset where the affine is sheared, which it can't express.

    Args:
        path: where to, ending in .nii.gz.
        grid: the volume.
        full_range: the range of values that the stored bits can express.
        bits: how many these are, where that is known.

    Returns:
        The type that the voxels were written as, "int16" or "float32".
    """
    stored, slope, intercept = compact(grid.values, full_range, bits)
    image = nibabel.Nifti1Image(stored, grid.affine)
    image.header.set_slope_inter(slope, intercept)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine, code=1)
    axes = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    if np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        image.set_qform(grid.affine, code=1)
    else:
        image.set_qform(None, code=0)
    with (
        whole_file(path) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
    ):
        image.to_stream(packed)
    return str(stored.dtype)


def compact(values: np.ndarray, full_range: tuple[float, float], bits: int | None) -> tuple[np.ndarray, float, float]:
    """Values as int16 with slope and intercept where each comes back the same, else as they are.

    Slope and intercept are those of whole numbers, or those by which the range of the stored bits was scaled; then
    values come back the same up to the rounding of float32, in which NIfTI-1 keeps slope and intercept.

    Returns:
        Stored values, slope, intercept.
    """
    low, high = full_range
    scales = [(1.0, 0.0, 0.0)]
    if bits is not None and 1 < bits <= 16 and high > low:
        slope = (high - low) / (2**bits - 1)
        rounding = 2 * float(np.finfo(np.float32).eps) * max(abs(low), abs(high))
        scales += [(slope, low, rounding), (slope, low + 2 ** (bits - 1) * slope, rounding)]
    for slope, intercept, rounding in scales:
        slope, intercept = float(np.float32(slope)), float(np.float32(intercept))
        stored = _stored(values, slope, intercept, rounding)
        if stored is not None:
            return stored, slope, intercept
    return values, 1.0, 0.0


def _stored(values: np.ndarray, slope: float, intercept: float, rounding: float) -> np.ndarray | None:
    """The int16 numbers that stand for values; None where one of them would come back changed."""
    stored = np.empty(values.shape, dtype=np.int16)
    # Slice by slice: in double precision, all of a large volume would take much memory.
    for index in range(values.shape[2]):
        exact = values[..., index].astype(np.float64)
        whole = np.rint((exact - intercept) / slope)
        if whole.min() < _INT16.min or whole.max() > _INT16.max:
            return None
        if abs(whole * slope + intercept - exact).max() > rounding:
            return None
        stored[..., index] = whole
    return stored
