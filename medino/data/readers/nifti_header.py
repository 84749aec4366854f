"""The header of a NIfTI file: how large its volumes are and where they lie, and its voxels still to be read.

NIfTI-1 and NIfTI-2 are read, in one file or as a pair of .hdr and .img, compressed by gzip or not: the bytes tell, not
the names. Where a volume lies is what nibabel takes from the header: the sform where its code is above zero, else the
qform where its code is; with neither, the first axis runs to the patient's left. A slope of zero or NaN means unscaled.
"""

import gzip
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import IOBase
from typing import cast

import numpy as np
from nibabel.fileholders import FileHolder
from nibabel.nifti1 import Nifti1Image, Nifti1Pair
from nibabel.nifti2 import Nifti2Image, Nifti2Pair
from nibabel.orientations import inv_ornt_aff, io_orientation

from medino.core import UnreadableImageError
from medino.data.readers.failures import decoding
from medino.data.source import Source

MAX_VOXELS = 2**29
"""Most voxels of a volume that is read: two gigabytes of float32, 2000 slices of 512 x 512."""
_GZIP_RATIO = 1032
"""Most times that gzip can shrink (zlib's technical notes): a file shorter than that can't hold what it claims."""
_TO_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}


@dataclass(frozen=True)
class Placement:
    """A NIfTI header in canonical orientation.

    Attributes:
        shape: voxels along x, y, z.
        volumes: how many the file holds.
        affine: (4, 4) from voxels to mm, x to the right, y to the front, z to the head.
        dtype: of the stored voxels.
        orientation: what turns stored axes into the canonical ones (nibabel).
        scale: slope and intercept.
    """

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


def read_placement(source: Source) -> Placement:
    """How large a volume is and where it lies, read from its header now.

    Raises:
        UnreadableImageError: the header can't be read.
    """
    with decoding("the NIfTI header"), opened(source) as image:
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
        if int(np.prod(canonical)) > MAX_VOXELS:
            raise UnreadableImageError("the volume has more voxels than can be read at once")
        if _least_bytes(image) > voxels_of(source).size():
            raise UnreadableImageError("the file is shorter than its header says: truncated or damaged")
        slope, intercept = getattr(image.dataobj, "slope", 1.0), getattr(image.dataobj, "inter", 0.0)
        return Placement(
            shape=(int(canonical[0]), int(canonical[1]), int(canonical[2])),
            volumes=int(shape[3]) if len(shape) == 4 else 1,
            affine=affine,
            dtype=dtype,
            orientation=orientation,
            scale=(float(slope), float(intercept)),
        )


def placement(source: Source) -> Placement:
    """The same, kept from the last time where the file has not changed.

    Raises:
        UnreadableImageError: the header can't be read.
    """
    with decoding("the file"):
        stamp = source.stamp
    return _kept_placement(source, stamp)


@lru_cache(maxsize=1024)
def _kept_placement(source: Source, stamp: tuple[int, int]) -> Placement:
    return read_placement(source)


@contextmanager
def opened(source: Source) -> Iterator[Nifti1Pair]:
    """The image with its header read and its voxels still in the file."""
    with ExitStack() as stack:
        header = _unpacked(source, stack)
        start = bytes(header.read(540))
        header.seek(0)
        two = start[:4] in (b"\x1c\2\0\0", b"\0\0\2\x1c")
        magic = start[4:8] if two else start[344:348]
        kind: type[Nifti1Pair]
        if magic[:3] in (b"n+1", b"n+2"):
            kind, voxels = (Nifti2Image if two else Nifti1Image), header
        elif magic[:3] in (b"ni1", b"ni2"):
            kind, voxels = (Nifti2Pair if two else Nifti1Pair), _unpacked(voxels_of(source, paired=True), stack)
        else:
            raise UnreadableImageError("the file is no NIfTI image")
        holders = {"header": FileHolder(fileobj=header), "image": FileHolder(fileobj=voxels)}
        yield cast(Nifti1Pair, kind.from_file_map(holders))


def _unpacked(source: Source, stack: ExitStack) -> IOBase:
    """The file, through gzip where its bytes say so."""
    file = stack.enter_context(source.open())
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast(IOBase, stack.enter_context(gzip.GzipFile(fileobj=file)) if packed else file)


def voxels_of(source: Source, paired: bool = False) -> Source:
    """The file with the voxels: the .img beside a .hdr, else the file itself.

    Raises:
        UnreadableImageError: the file must be one of a pair, and the other is not there.
    """
    name = source.name
    if ".hdr" not in name.lower():
        if paired:
            raise UnreadableImageError("the header of a pair of files whose name does not end in .hdr: rename it")
        return source
    stem = name[: name.lower().rindex(".hdr")]
    for ending in (".img", ".img.gz", ".IMG"):
        beside = source.beside(stem + ending)
        try:
            beside.size()
        except (OSError, UnreadableImageError):
            continue
        return beside
    if paired:
        raise UnreadableImageError("the .img file with the voxels is not beside the .hdr file")
    return source


def _least_bytes(image: Nifti1Pair) -> int:
    """How long a file must be to hold the voxels."""
    plain = int(getattr(image.dataobj, "offset", 0)) + math.prod(image.shape) * image.get_data_dtype().itemsize
    return plain // _GZIP_RATIO if isinstance(image.file_map["image"].fileobj, gzip.GzipFile) else plain
