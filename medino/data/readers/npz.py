"""NPZ files in MedMNIST's layout: `train_images`, `val_images`, `test_images`, and `train_labels` ... beside them.

One row is an image. (N, H, W) is grey, (N, H, W, 3) colour, and (N, D, H, W) volumes, whose slices are the images:
frame `n * D + d` is slice d of volume n. Nothing is unpickled. An array that is stored as it is (`numpy.savez`) is read
image by image; one that is compressed (`savez_compressed`, as MedMNIST is) can only be unpacked whole, and each process
keeps it as long as others don't push it out: pack large ones (`medino pack`).
"""

import io
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from medino.core import UnreadableImageError
from medino.data.pixels import Pixels
from medino.data.readers.description import description
from medino.data.readers.failures import check_size, decoding
from medino.data.readers.settings import ReadSettings
from medino.data.schema import Sample
from medino.data.source import Source

if TYPE_CHECKING:
    import torch

SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}
"""What MedMNIST (Yang et al. 2023, doi 10.1038/s41597-022-01721-8) calls the splits of a manifest."""

_HEADER_BYTES = 2**16
"""Most bytes of an array's header that are looked at; numpy itself takes 10 000."""


@dataclass(frozen=True)
class _Layout:
    """An array's header: (N, D, H, W, C) with 1 for what it does not have; the bytes before its first value."""

    shape: tuple[int, int, int, int, int]
    dtype: np.dtype
    fortran: bool
    start: int


def describe(source: Source, settings: ReadSettings) -> list[dict[str, object]]:
    """The images of one array from its header alone, with their labels; see `medino.data.readers.describe`."""
    layout = _layout(source)
    count, depth, rows, columns, channels = layout.shape
    name = source.name.removesuffix("images").removesuffix("_")
    labels = _labels(source, count)
    return [
        description(
            format="npz",
            frame=index * depth + slice_,
            rows=rows,
            columns=columns,
            samples_per_pixel=channels,
            bits_stored=1 if layout.dtype.kind == "b" else layout.dtype.itemsize * 8,
            label=labels[index],
            split=SPLIT_NAMES.get(name),
            stack=None if depth == 1 else f"volume {index}",
        )
        for index in range(count)
        for slice_ in range(depth)
    ]


def read(source: Source, sample: Sample) -> Pixels:
    """One image, in the values of the array.

    Raises:
        UnreadableImageError: it can't be read, or holds NaN or infinite values.
    """
    import torch

    values = _image(source, sample.frame)
    with np.errstate(over="ignore"):
        plain = values.astype(np.float32)
    if not np.isfinite(plain).all():
        raise UnreadableImageError("the image holds values that are not numbers (NaN or infinite)")
    if values.dtype.kind == "b":
        full_range = (0.0, 1.0)
    elif values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        limits = np.iinfo(values.dtype)
        full_range = (float(limits.min), float(limits.max))
    else:
        # As with other formats: numbers of 32 and more bits are of any scale, and the image's own is taken.
        full_range = (float(plain.min()), float(plain.max()))
    return Pixels(torch.from_numpy(np.ascontiguousarray(plain.transpose(2, 0, 1))), full_range)


def read_mask(source: Source, frame: int, plane: int | None) -> "torch.Tensor":
    """One image of an array of masks as its numbers; see `medino.data.readers.read_mask`."""
    import torch

    values = _image(source, frame)
    if values.shape[-1] != 1:
        raise UnreadableImageError("a mask needs one value a pixel, and this image is in colour")
    if values.dtype.kind not in "biu":
        raise UnreadableImageError("the mask holds values that are not whole numbers")
    return torch.from_numpy(np.ascontiguousarray(values[..., 0], dtype=np.int64))


def _layout(source: Source) -> _Layout:
    """The header of an array of images.

    Raises:
        UnreadableImageError: it is damaged, or the array does not hold images.
    """
    if source.member is None:
        raise UnreadableImageError("a NumPy array by itself: put it into an NPZ file")
    if not source.name.endswith("images"):
        raise UnreadableImageError("an array whose name does not end in `images`, as in MedMNIST's layout")
    with decoding("the array"), source.open() as file:
        shape, dtype, fortran, start = _header(file.read(_HEADER_BYTES))
        size = start + math.prod(shape) * dtype.itemsize
        if source.size() < size:
            raise UnreadableImageError("the array is truncated or damaged")
    if dtype.kind not in "biuf":
        kind = "Python objects, which are never unpickled" if dtype.hasobject else "no numbers"
        raise UnreadableImageError(f"the array holds {kind}")
    full = _full_shape(shape)
    if full is None or min(full) < 1:
        raise UnreadableImageError(f"an array of {len(shape)} axes is not (N, H, W), (N, H, W, 3) or (N, D, H, W)")
    check_size(*full[2:])
    return _Layout(full, dtype, fortran, start)


def _full_shape(shape: tuple[int, ...]) -> tuple[int, int, int, int, int] | None:
    """(N, D, H, W, C) of the shape of an array; a last axis of three is colour, one of one is nothing."""
    if len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 3:
        return shape[0], 1, shape[1], shape[2], 1
    if len(shape) == 4 and shape[-1] == 3:
        return shape[0], 1, shape[1], shape[2], 3
    return (*shape, 1) if len(shape) == 4 else None


def _header(data: bytes) -> tuple[tuple[int, ...], np.dtype, bool, int]:
    """Shape, type, whether the first axis runs fastest, and length of the header (NEP 1)."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return tuple(int(size) for size in shape), dtype, bool(fortran), file.tell()


def _image(source: Source, frame: int) -> np.ndarray:
    """Image `frame` of the array: (H, W, C)."""
    layout = _known_layout(source, source.stamp)
    count, depth, *size = layout.shape
    if not 0 <= frame < count * depth:
        raise UnreadableImageError(f"image {frame} is asked for, and the array has {count * depth}")
    with decoding("the array"):
        values = math.prod(size)
        if layout.fortran:
            whole = np.frombuffer(source.read_bytes(), layout.dtype, count * depth * values, offset=layout.start)
            return whole.reshape(layout.shape, order="F")[frame // depth, frame % depth]
        # Not mapped into memory: a file that is cut meanwhile would take the process with it.
        with source.open() as file:
            file.seek(layout.start + frame * values * layout.dtype.itemsize)
            data = file.read(values * layout.dtype.itemsize)
        return np.frombuffer(data, layout.dtype, values).reshape(size)


@lru_cache(maxsize=64)
def _known_layout(source: Source, stamp: tuple[int, int]) -> _Layout:
    return _layout(source)


def _labels(source: Source, count: int) -> list[str | None]:
    """The label of each image: whole numbers as text. None without labels, and where an image has several."""
    if source.name == "images":
        beside = source.beside("labels")
    else:
        beside = source.beside(f"{source.name.removesuffix('_images')}_labels")
    try:
        with decoding("the labels"):
            data = beside.read_bytes()
            shape, dtype, _, start = _header(data)
    except UnreadableImageError:
        return [None] * count
    if dtype.kind not in "biu" or math.prod(shape) != count or shape[:1] != (count,):
        return [None] * count
    values = np.frombuffer(data, dtype, count, offset=start)
    return [str(int(value)) for value in values]
