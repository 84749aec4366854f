"""NIfTI: slices of a volume along a chosen plane, turned the way DICOM viewers show them.

A volume is brought to the nearest of the canonical orientations (x to the right, y to the front, z to the head of the
patient), then cut perpendicular to axis `plane`. In a slice both axes run backwards, so that an axial slice (plane 2)
has the front at its top and the patient's right at its left, and sagittal (0) and coronal (1) slices have the head at
their top. A 4-D file is a row of volumes: frame `v * slices + k` is slice k of volume v.
"""

import gzip
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import nibabel
import numpy as np
import torch
from nibabel.nifti1 import Nifti1Image, Nifti1Pair
from nibabel.nifti2 import Nifti2Image
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from medino.core import UnreadableImageError
from medino.data.pixels import Pixels
from medino.data.readers.description import description
from medino.data.readers.failures import check_size, decoding
from medino.data.readers.settings import PLANES, ReadSettings
from medino.data.schema import Sample
from medino.data.source import Source

_MAX_VOXELS = 2**29
"""Most voxels of a volume that is read: two gigabytes of float32, 2000 slices of 512 x 512."""
_TO_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}


@dataclass(frozen=True)
class _Geometry:
    """A NIfTI header in canonical orientation: voxels along x, y, z, number of volumes, affine to mm."""

    shape: tuple[int, int, int]
    volumes: int
    affine: np.ndarray
    dtype: np.dtype
    orientation: np.ndarray
    scale: tuple[float, float]

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size along each canonical axis, mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


@dataclass(frozen=True)
class _Volume:
    """One volume in canonical orientation, (x, y, z), with its lowest and highest value."""

    voxels: np.ndarray
    low: float
    high: float


def describe(source: Source, settings: ReadSettings) -> list[dict[str, object]]:
    """The slices of a volume from its header alone; see `medino.data.readers.describe`."""
    plane = _checked(settings.plane)
    geometry = _geometry(source)
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

    Raises:
        UnreadableImageError: the volume can't be read, or holds NaN or infinite values anywhere.
    """
    plane = _checked(sample.plane)
    geometry = _geometry(source)
    values, volume = _slice(source, geometry, sample.frame, plane)
    if geometry.dtype.kind in "iu":
        limits = np.iinfo(geometry.dtype)
        ends = np.array([limits.min, limits.max], dtype=np.float64) * geometry.scale[0] + geometry.scale[1]
        full_range = (float(ends.min()), float(ends.max()))
    else:
        # Floating point values have no range of their own: the volume's is taken.
        full_range = (volume.low, volume.high)
    columns_axis, rows_axis = (axis for axis in range(3) if axis != plane)
    return Pixels(
        values=torch.from_numpy(np.ascontiguousarray(values))[None],
        full_range=full_range,
        spacing=(float(geometry.spacing[rows_axis]), float(geometry.spacing[columns_axis])),
    )


def read_mask(source: Source, frame: int, plane: int | None) -> torch.Tensor:
    """One slice of a label volume, turned like `read` turns the image: (H, W) int64.

    Raises:
        UnreadableImageError: the volume can't be read, or its values are no whole numbers.
    """
    values, _ = _slice(source, _geometry(source), frame, _checked(plane))
    whole = np.rint(values)
    if not np.array_equal(whole, values):
        raise UnreadableImageError("the mask holds values that are not whole numbers: it is no label volume")
    return torch.from_numpy(np.ascontiguousarray(whole, dtype=np.int64))


def _checked(plane: int | None) -> int:
    if plane is None:
        return 2
    if plane not in PLANES:
        raise ValueError(f"plane is the axis that slices are perpendicular to, 0, 1 or 2, not {plane}")
    return plane


def _geometry(source: Source) -> _Geometry:
    with decoding("the NIfTI header"):
        image = _load(source)
        shape, dtype = tuple(image.shape), image.get_data_dtype()
        # A last axis of one value is how some tools write a 3-D volume.
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) not in (3, 4) or min(shape) < 1:
            raise UnreadableImageError(f"a NIfTI file of {len(shape)} axes is neither a volume nor a row of volumes")
        if dtype.kind not in "iuf":
            raise UnreadableImageError("the voxels are neither whole nor real numbers (colour or complex NIfTI)")
        orientation = io_orientation(image.affine)
        if not np.isfinite(image.affine).all() or np.isnan(orientation).any():
            raise UnreadableImageError("the affine of the NIfTI header does not place the three axes in space")
        affine = image.affine @ inv_ornt_aff(orientation, shape[:3])
        affine[:3] *= _TO_MM.get(image.header.get_xyzt_units()[0], 1.0)
        canonical = np.empty(3, dtype=int)
        canonical[orientation[:, 0].astype(int)] = shape[:3]
        if int(np.prod(canonical)) > _MAX_VOXELS:
            raise UnreadableImageError("the volume has more voxels than can be read at once")
        slope, intercept = getattr(image.dataobj, "slope", 1.0), getattr(image.dataobj, "inter", 0.0)
        return _Geometry(
            shape=(int(canonical[0]), int(canonical[1]), int(canonical[2])),
            volumes=int(shape[3]) if len(shape) == 4 else 1,
            affine=affine,
            dtype=dtype,
            orientation=orientation,
            scale=(float(slope), float(intercept)),
        )


def _load(source: Source) -> Nifti1Pair:
    if source.member is not None:
        data = source.read_bytes()
        data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        two = int.from_bytes(data[:4], "little") == 540 or int.from_bytes(data[:4], "big") == 540
        return cast(Nifti1Pair, (Nifti2Image if two else Nifti1Image).from_bytes(data))
    image = nibabel.load(source.path)
    if not isinstance(image, Nifti1Pair):
        raise UnreadableImageError("the file is no NIfTI image")
    return image


def _slice(source: Source, geometry: _Geometry, frame: int, plane: int) -> tuple[np.ndarray, _Volume]:
    """Slice `frame` as (rows, columns) float32, and the volume that it is of."""
    slices = geometry.shape[plane]
    if not 0 <= frame < slices * geometry.volumes:
        raise UnreadableImageError(f"slice {frame} is asked for, and the file has {slices * geometry.volumes}")
    with decoding("the volume"):
        volume = _volume(source, source.stamp, frame // slices)
    return np.take(volume.voxels, frame % slices, axis=plane)[::-1, ::-1].T.astype(np.float32), volume


# Slices of one volume are often read one after the other, and a compressed volume can only be unpacked whole. Two are
# kept, for an image and its labels.
@lru_cache(maxsize=2)
def _volume(source: Source, stamp: tuple[int, int], index: int) -> _Volume:
    """Volume `index` of a file; `stamp` keeps a rewritten file from the cache."""
    image = _load(source)
    geometry = _geometry(source)
    data = image.dataobj[(slice(None),) * 3 + (index,)] if len(image.shape) > 3 else np.asanyarray(image.dataobj)
    if data.dtype.kind == "f":
        # Scaled values come as float64, twice the memory for nothing.
        data = np.asarray(data, dtype=np.float32)
        wrong = int(data.size - np.isfinite(data).sum())
        if wrong:
            raise UnreadableImageError(f"the volume holds {wrong} voxels that are not numbers (NaN or infinite)")
    data = apply_orientation(data.reshape(image.shape[:3]), geometry.orientation)
    return _Volume(data, float(data.min()), float(data.max()))
