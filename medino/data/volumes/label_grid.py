"""A label volume on the slices of another volume: which of its voxels lies where each pixel does."""

import numpy as np

from medino.core import InputError
from medino.data.readers.nifti import read_mask
from medino.data.readers.nifti_header import placement
from medino.data.source import Source
from medino.data.volumes.stacks import SliceStack, affine_of_slices

TOLERANCE = 0.1
"""How far a pixel may lie from the voxel that it gets its label from, in voxels: what headers round off is far below,
and a shift by half a voxel far above."""

AXIAL = 2


def labels_on_slices(source: Source, stack: SliceStack, rows: int, columns: int) -> np.ndarray:
    """The labels of a NIfTI file on the pixels of a volume's slices, whatever the order and direction of its axes.

    Args:
        source: the label volume; it may show less than all of the slices.
        stack: the slices, which an affine places.
        rows: height of a slice, pixels.
        columns: width of a slice.

    Returns:
        (slices, rows, columns) int64, 0 where the label volume has no voxel.

    Raises:
        InputError: voxels and pixels lie beside each other, or nowhere at one place.
        UnreadableImageError: the file can't be read, or its values are no whole numbers.
    """
    if stack.affine is None:
        raise ValueError("only slices that an affine places can be labelled by a volume: ask for the reason first")
    placed = placement(source)
    slices = range(placed.shape[AXIAL])
    labels = np.stack([read_mask(source, index, AXIAL).numpy() for index in slices], axis=-1).swapaxes(0, 1)
    onto = np.linalg.solve(affine_of_slices(placed, AXIAL), stack.affine)
    shape = (columns, rows, len(stack.rows))
    corners = np.stack(np.meshgrid(*((0, size - 1) for size in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    exact = corners @ onto[:3, :3].T + onto[:3, 3]
    turn = np.rint(onto)
    whole = corners @ turn[:3, :3].T + turn[:3, 3]
    apart = float(abs(exact - whole).max())
    if apart > TOLERANCE or abs(abs(np.linalg.det(turn[:3, :3])) - 1) > TOLERANCE:
        raise InputError(
            f"the mask's voxels lie beside the volume's pixels (by up to {apart:.2g} voxels); bring the mask to the "
            "volume's grid"
        )
    index = np.indices(shape).reshape(3, -1)
    at = (turn[:3, :3] @ index + turn[:3, 3:]).astype(np.int64)
    inside = ((at >= 0) & (at < np.array(labels.shape)[:, None])).all(axis=0)
    if not inside.any():
        raise InputError("the mask lies beside the volume: no voxel of the one is in the other; give the mask of it")
    found = np.zeros(at.shape[1], dtype=np.int64)
    found[inside] = labels[tuple(at[:, inside])]
    return found.reshape(shape).transpose(2, 1, 0)
