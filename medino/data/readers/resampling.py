"""Volumes in another voxel size, by MONAI's `Spacing`: linear between voxels, labels by the nearest.

The corner voxels keep their places. Nothing is smoothed before: at a third of the resolution and below, slices hold
noise that an average would not.
"""

from collections.abc import Sequence

import numpy as np

SAME = 1e-3
"""Up to this part of each other voxel sizes count as the same, and nothing is resampled: what headers round off."""


def is_same(spacing: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> bool:
    """Whether two voxel sizes are the same but for rounding."""
    return bool(np.allclose(spacing, other, rtol=SAME, atol=0))


def resampled_grid(
    shape: tuple[int, int, int], affine: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and affine that a volume will have, without its voxels.

    Args:
        shape: voxels along each axis.
        affine: (4, 4) from voxels to mm.
        spacing: the voxel size wanted along each axis, mm.
    """
    # Imported late: MONAI takes seconds.
    from monai.data.utils import compute_shape_offset, zoom_affine

    zoomed = zoom_affine(affine, spacing, diagonal=False)
    sizes, origin = compute_shape_offset(shape, affine, zoomed)
    zoomed = np.asarray(zoomed, dtype=np.float64).copy()
    zoomed[:3, 3] = origin
    return (int(sizes[0]), int(sizes[1]), int(sizes[2])), zoomed


def resample(
    voxels: np.ndarray, affine: np.ndarray, spacing: tuple[float, float, float], nearest: bool = False
) -> np.ndarray:
    """A volume in another voxel size.

    Args:
        voxels: (x, y, z).
        affine: (4, 4) from voxels to mm.
        spacing: the voxel size wanted along each axis, mm.
        nearest: take the nearest voxel's value instead of one between, as for labels.

    Returns:
        (x', y', z') float32; float64 of nearest values.
    """
    import torch
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.spatial.array import Spacing

    # Double precision holds the number of every instance.
    kind = np.float64 if nearest else np.float32
    change = Spacing(spacing, mode="nearest" if nearest else "bilinear", padding_mode="border", dtype=kind)
    image = MetaTensor(torch.from_numpy(np.array(voxels, dtype=kind))[None], affine=torch.from_numpy(affine))
    return np.asarray(change(image)[0])
