"""The slices of a volume, decoded and put together."""

from collections.abc import Iterable

import numpy as np

from medino.core import UnreadableImageError
from medino.data.manifest import Manifest
from medino.data.readers import read_pixels
from medino.data.schema import Sample
from medino.data.source import Source
from medino.data.volumes.find import Volume
from medino.data.volumes.grid import Grid, affine_of, on_even_grid, upright

MAX_VOXELS = 2**29
"""Most voxels of a volume: two gigabytes of float32, 2000 slices of 512 x 512."""


def why_not(manifest: Manifest, volume: Volume, resample: bool) -> str | None:
    """Why a volume can't be put together; None if it can.

    Args:
        manifest: where its rows are.
        volume: the volume.
        resample: uneven distances are no reason: they will be interpolated.
    """
    blocking = (problem for problem in volume.problems if problem.blocks)
    reasons = []
    for problem in blocking:
        if problem.kind != "gaps":
            reasons.append(problem.words)
        elif not resample:
            reasons.append(f"{problem.words} (--resample interpolates to an even grid)")
    first = manifest.sample(int(volume.rows[0]))
    if first.samples_per_pixel != 1:
        reasons.append("the images are in colour")
    if first.rows * first.columns * len(volume.rows) > MAX_VOXELS:
        reasons.append("it has more voxels than can be held at once")
    if first.spacing_row_mm is None or first.spacing_column_mm is None:
        reasons.append("the pixel spacing is not known")
    return "; ".join(reasons) or None


Slice = tuple[np.ndarray, tuple[float, float]]
"""The values of a slice, (H, W) float32, and the range of values that its stored bits can express."""


def decode_slice(task: tuple[Source, Sample]) -> Slice:
    """Decode one slice, by its file and its row of the manifest.

    Raises:
        UnreadableImageError: it can't be decoded, or is of another size than the manifest says.
    """
    source, sample = task
    pixels = read_pixels(source, sample)
    if tuple(pixels.values.shape) != (1, sample.rows, sample.columns):
        raise UnreadableImageError("a slice is not of the size that the manifest says")
    return pixels.values[0].numpy(), pixels.full_range


def assemble(
    manifest: Manifest, volume: Volume, slices: Iterable[Slice | str], *, resample: bool = False, deskew: bool = False
) -> tuple[Grid, tuple[float, float]]:
    """Put a volume's slices together.

    Args:
        manifest: where its rows are.
        volume: one for which `why_not` says nothing.
        slices: what became of `decode_slice` for each of its rows: a slice, or the reason why there is none.
        resample: interpolate slices of uneven distances to an even grid.
        deskew: undo the shear of a gantry tilt.

    Returns:
        The grid, and the range of values that the stored bits can express.

    Raises:
        UnreadableImageError: a slice could not be decoded.
        InputError: a gap is too wide to be filled.
    """
    found, first = volume.arrangement, manifest.sample(int(volume.rows[0]))
    if found is None or first.spacing_row_mm is None or first.spacing_column_mm is None or first.orientation is None:
        raise ValueError("only volumes that can be put together are decoded: ask why_not first")
    values = np.empty((first.columns, first.rows, len(volume.rows)), dtype=np.float32)
    low, high = np.inf, -np.inf
    for index, one in enumerate(slices):
        if isinstance(one, str):
            raise UnreadableImageError(f"slice {index + 1} of {len(volume.rows)}: {one}")
        values[..., index] = one[0].T
        low, high = min(low, one[1][0]), max(high, one[1][1])
    origin, step = found.origin, found.step
    if not found.even and resample:
        origin = found.first
        values, step = on_even_grid(values, found)
    spacing = (first.spacing_row_mm, first.spacing_column_mm)
    grid = Grid(values, affine_of(np.array(first.orientation), spacing, origin, step))
    return (upright(grid) if deskew and found.tilted else grid), (low, high)
