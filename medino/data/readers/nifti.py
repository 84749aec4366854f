"""NIfTI: slices of a volume along a chosen plane, turned the way DICOM viewers show them.

A volume is brought to the nearest of the canonical orientations (x to the right, y to the front, z to the head of the
patient), then cut perpendicular to axis `plane`. In a slice both axes run backwards, so that an axial slice (plane 2)
has the front at its top and the patient's right at its left, and sagittal (0) and coronal (1) slices have the head at
their top. A 4-D file is a row of volumes (time points, channels): frame `v * slices + k` is slice k of volume v.
"""

import gzip
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from nibabel.orientations import apply_orientation

from medino.core import UnreadableImageError
from medino.data.cache import ByteCache
from medino.data.pixels import Pixels
from medino.data.readers.description import description
from medino.data.readers.failures import check_size, decoding
from medino.data.readers.nifti_header import MAX_VOXELS, Placement, opened, placement, read_placement, voxels_of
from medino.data.readers.resampling import is_same, resample, resampled_grid
from medino.data.readers.settings import PLANES, ReadSettings
from medino.data.schema import Sample
from medino.data.source import Source

if TYPE_CHECKING:
    import torch

_KEPT_BYTES = 2**29
"""Volumes that a process keeps, bytes: a compressed one can only be unpacked whole, and its slices are often read one
after the other. Of small ones, such as cut-outs of an organ, thousands stay."""


@dataclass(frozen=True)
class _Volume:
    """One volume in canonical orientation, (x, y, z), with its lowest and highest value."""

    voxels: np.ndarray
    low: float
    high: float


def describe(source: Source, settings: ReadSettings) -> list[dict[str, object]]:
    """The slices of a volume from its header alone; see `medino.data.readers.describe`."""
    plane = _checked(settings.plane)
    geometry = _in_spacing(read_placement(source), settings.spacing_mm)
    columns_axis, rows_axis = (axis for axis in range(3) if axis != plane)
    size = geometry.spacing
    normal = geometry.affine[:3, plane] / size[plane]
    positions = geometry.affine[:3, 3] @ normal + size[plane] * np.arange(geometry.shape[plane])
    check_size(geometry.shape[rows_axis], geometry.shape[columns_axis])
    return [
        description(
            format="nifti",
            frame=volume * geometry.shape[plane] + index,
            plane=plane,
            rows=geometry.shape[rows_axis],
            columns=geometry.shape[columns_axis],
            samples_per_pixel=1,
            bits_stored=geometry.dtype.itemsize * 8,
            spacing_row_mm=float(size[rows_axis]),
            spacing_column_mm=float(size[columns_axis]),
            slice_position_mm=float(positions[index]),
            slice_thickness_mm=float(size[plane]),
        )
        for volume in range(geometry.volumes)
        for index in range(geometry.shape[plane])
    ]


def read(source: Source, sample: Sample) -> Pixels:
    """One slice, in the units of the file after its slope and intercept.

    Where the row gives another voxel size than the file has, the volume is brought to the row's first.

    Raises:
        UnreadableImageError: the volume can't be read, or holds NaN or infinite values anywhere.
    """
    import torch

    plane = _checked(sample.plane)
    geometry = placement(source)
    wanted = _wanted(plane, (sample.spacing_row_mm, sample.spacing_column_mm, sample.slice_thickness_mm))
    values, volume = _slice(source, geometry, sample.frame, plane, wanted)
    geometry = _in_spacing(geometry, wanted)
    if geometry.dtype.kind in "iu" and geometry.dtype.itemsize <= 2:
        limits = np.iinfo(geometry.dtype)
        ends = np.array([limits.min, limits.max], dtype=np.float64) * geometry.scale[0] + geometry.scale[1]
        full_range = (float(ends.min()), float(ends.max()))
    else:
        # Numbers of 32 and more bits are of any scale: the volume's own range is taken.
        full_range = (volume.low, volume.high)
    columns_axis, rows_axis = (axis for axis in range(3) if axis != plane)
    return Pixels(
        values=torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None],
        full_range=full_range,
        spacing=(float(geometry.spacing[rows_axis]), float(geometry.spacing[columns_axis])),
    )


Spacing = tuple[float | None, float | None, float | None]
"""Distance of rows, of columns and of slices as a row of the manifest has them, mm."""

Role = Literal["image", "labels", "map"]
"""What a volume is read as: only labels must be whole numbers, and only maps may hold NaN."""


def read_mask(source: Source, frame: int, plane: int | None, spacing: Spacing = (None, None, None)) -> "torch.Tensor":
    """One slice of a label volume, turned like `read` turns the image: (H, W) int64.

    Args:
        source: the file.
        frame: the slice.
        plane: the axis that slices are perpendicular to.
        spacing: of the image, to whose voxel size the labels are brought.

    Raises:
        UnreadableImageError: the volume can't be read, or its values are no whole numbers.
    """
    import torch

    plane = _checked(plane)
    values, _ = _slice(source, placement(source), frame, plane, _wanted(plane, spacing), "labels")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))


def read_map(source: Source, frame: int, plane: int | None, spacing: Spacing = (None, None, None)) -> "torch.Tensor":
    """One slice of a volume of values, in the units of the file after its slope and intercept: (H, W) float32.

    NaN may be among them; to another voxel size they are brought by nearest neighbour, as labels are. For the arguments
    see `read_mask`.

    Raises:
        UnreadableImageError: the volume can't be read.
    """
    import torch

    plane = _checked(plane)
    values, _ = _slice(source, placement(source), frame, plane, _wanted(plane, spacing), "map")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _wanted(plane: int, spacing: Spacing) -> tuple[float, float, float] | None:
    """Voxel size along x, y, z."""
    row, column, slice_ = spacing
    if row is None or column is None or slice_ is None:
        return None
    columns_axis, rows_axis = (axis for axis in range(3) if axis != plane)
    by_axis = {rows_axis: row, columns_axis: column, plane: slice_}
    return by_axis[0], by_axis[1], by_axis[2]


def _in_spacing(geometry: Placement, wanted: tuple[float, float, float] | None) -> Placement:
    """The placement of a volume in the voxel size that is wanted.

    Raises:
        UnreadableImageError: it would have too many voxels.
    """
    if wanted is None or is_same(geometry.spacing, wanted):
        return geometry
    shape, affine = resampled_grid(geometry.shape, geometry.affine, wanted)
    if math.prod(shape) > MAX_VOXELS:
        raise UnreadableImageError("in the voxel size that is asked for, the volume has more voxels than can be read")
    return replace(geometry, shape=shape, affine=affine)


def _checked(plane: int | None) -> int:
    if plane is None:
        return 2
    if plane not in PLANES:
        raise ValueError(f"plane is the axis that slices are perpendicular to, 0, 1 or 2, not {plane}")
    return plane


def _slice(
    source: Source,
    geometry: Placement,
    frame: int,
    plane: int,
    wanted: tuple[float, float, float] | None,
    role: Role = "image",
) -> tuple[np.ndarray, _Volume]:
    """Slice `frame` as (rows, columns), and the volume that it is of."""
    placed = _in_spacing(geometry, wanted)
    slices = placed.shape[plane]
    if not 0 <= frame < slices * placed.volumes:
        raise UnreadableImageError(f"slice {frame} is asked for, and the file has {slices * placed.volumes}")
    other = wanted if placed is not geometry else None
    with decoding("the volume"):
        key = (source, source.stamp, voxels_of(source).stamp, frame // slices, other, role)
        volume = _KEPT.get(
            key, lambda: _volume(source, geometry, frame // slices, other, role), lambda made: made.voxels.nbytes
        )
    return np.take(volume.voxels, frame % slices, axis=plane)[::-1, ::-1].T, volume


_KEPT: ByteCache[_Volume] = ByteCache(_KEPT_BYTES)


def _volume(
    source: Source, geometry: Placement, index: int, wanted: tuple[float, float, float] | None, role: Role
) -> _Volume:
    """Volume `index` of a file, in the voxel size that is wanted (None: its own)."""
    with opened(source) as image:
        shape = image.shape[:3]
        if len(image.shape) > 3:
            data = np.asanyarray(image.dataobj[(slice(None),) * 3 + (index,)])
        else:
            data = np.asanyarray(image.dataobj)
        file = image.file_map["image"].fileobj
        if isinstance(file, gzip.GzipFile):
            # Behind the last byte gzip compares its checksum.
            file.read(1)
        if data.dtype.kind == "f":
            # Scaled values come as float64, twice the memory for nothing.
            data = np.asarray(data, dtype=np.float32)
            wrong = int(data.size - np.isfinite(data).sum())
            if wrong and role != "map":
                raise UnreadableImageError(f"the volume holds {wrong} voxels that are not numbers (NaN or infinite)")
        # A copy where the voxels were mapped into memory: the file is closed, and may be cut while they are used.
        data = np.array(apply_orientation(data.reshape(shape), geometry.orientation))
    if role == "labels":
        data = _whole(data)
    if wanted is not None:
        data = resample(data, geometry.affine, wanted, nearest=role != "image")
    return _Volume(data, float(data.min()), float(data.max()))


def _whole(data: np.ndarray) -> np.ndarray:
    whole = np.rint(data) if data.dtype.kind == "f" else data
    if not np.array_equal(whole, data) or whole.max() > np.iinfo(np.int64).max:
        raise UnreadableImageError("the mask holds values that are not whole numbers: it is no label volume")
    return data
