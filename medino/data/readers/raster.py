"""PNG, JPEG, TIFF, BMP, GIF and WebP: 1, 8, 16 and 32 bits, grey, palette and colour.

The frames of a file are the pages of a TIFF, or the pictures of an animated GIF or WebP as they are shown; of an
animated PNG its first picture is read, as by programs that know no animation. Resolution tags are no spacing: they tell
how large a picture is to be printed, or how a film was scanned, not what a pixel measures in the patient.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from medino.core import UnreadableImageError
from medino.data.pixels import Pixels
from medino.data.readers.description import description
from medino.data.readers.failures import check_size, decoding
from medino.data.readers.settings import ReadSettings
from medino.data.schema import Sample
from medino.data.source import Source

if TYPE_CHECKING:
    import torch

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
_PAGED = ("TIFF", "GIF", "WEBP")
_ALWAYS_COLOUR = ("GIF", "WEBP")
"""Formats whose frames may differ in whether they are grey: all are read as colour."""
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_PHOTOMETRIC = 262
"""TIFF's tag for what zero means: 0 is white, 1 is black."""
_BITS, _PLANES, _SAMPLE_FORMAT = 258, 284, 339
"""TIFF's tags for the bits of each sample, for colours that lie apart (2), and for numbers with a sign (2)."""


def describe(source: Source, settings: ReadSettings) -> list[dict[str, object]]:
    """The pages of an image file from their headers alone; see `medino.data.readers.describe`."""
    described = []
    with decoding("the image file"), _opened(source) as image:
        for frame in range(_pages(image)):
            image.seek(frame)
            columns, rows = image.size
            if _orientation(source, image) >= 5:
                rows, columns = columns, rows
            check_size(rows, columns, len(image.getbands()))
            described.append(
                description(
                    format="raster",
                    frame=frame,
                    photometric=image.mode,
                    rows=rows,
                    columns=columns,
                    samples_per_pixel=1 if _is_grey(image) else 3,
                    bits_stored=_bits(image),
                )
            )
    return described


def read(source: Source, sample: Sample) -> Pixels:
    """One page. A palette becomes colour, alpha is dropped, the camera's rotation (EXIF) is applied.

    Raises:
        UnreadableImageError: the page can't be decoded.
    """
    import torch

    with decoding("the image file"), _opened(source) as image:
        _seek(image, sample.frame)
        bits, turn = _bits(image), _orientation(source, image)
        colour, signed = not _is_grey(image), _is_signed(image)
        # Pillow inverts white-is-zero TIFFs of up to 8 bits itself.
        inverted = not colour and bits > 8 and _tiff_tag(image, _PHOTOMETRIC) == 0
        values = _oriented(_colour(source, image, sample.frame) if colour else _grey(image), turn)
    if signed and values.dtype == np.uint8:  # Pillow has no signed numbers of 8 bits
        values = values.view(np.int8)
    if colour and values.dtype == np.uint8:
        # As they lie in the file: views are cut out of them as they are.
        return Pixels(torch.from_numpy(np.array(values, order="C")).permute(2, 0, 1), (0.0, 255.0))
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise UnreadableImageError("the image holds values that are not numbers (NaN or infinite)")
    # 32 bits are whole or floating point numbers of any scale: the page's own range is taken.
    full_range = (float(values.min()), float(values.max())) if bits == 32 or signed else (0.0, 2.0**bits - 1)
    stacked = values.transpose(2, 0, 1) if colour else values[None]
    return Pixels(torch.from_numpy(np.ascontiguousarray(stacked)), full_range, inverted=inverted)


def read_mask(source: Source, frame: int, plane: int | None) -> "torch.Tensor":
    """One page as class or instance numbers, (H, W) int64: values as stored, palette indices, 0 and 1 for one bit.

    Raises:
        UnreadableImageError: the page can't be decoded, is in colour, or its values are no whole numbers.
    """
    import torch

    values = _placed_values(source, frame)
    whole = np.rint(values)
    if not np.array_equal(whole, values):
        raise UnreadableImageError("the mask holds values that are not whole numbers")
    return torch.from_numpy(np.ascontiguousarray(whole, dtype=np.int64))


def read_map(source: Source, frame: int) -> "torch.Tensor":
    """One page as values, (H, W) float32, as they are stored: NaN may be among them.

    Raises:
        UnreadableImageError: the page can't be decoded, or is in colour.
    """
    import torch

    return torch.from_numpy(np.array(_placed_values(source, frame), dtype=np.float32))


def _placed_values(source: Source, frame: int) -> np.ndarray:
    """The values of a mask or map, turned as its image is."""
    with decoding("the mask file"), _opened(source) as image:
        _seek(image, frame)
        turn = _orientation(source, image)
        return _oriented(_mask_values(source, image, frame), turn)


@contextmanager
def _opened(source: Source) -> Iterator[Image.Image]:
    # Given a path, Pillow 13 maps uncompressed TIFFs into memory, and shows those with an EXIF rotation torn.
    with source.open() as file, Image.open(file, formats=_FORMATS) as image:
        yield image


def _mask_values(source: Source, image: Image.Image, frame: int) -> np.ndarray:
    if image.mode in _GREY_MODES:
        # Asked first: Pillow forgets the layout as it decodes.
        spread = _spread(image)
        return _grey(image) // spread if spread > 1 else _grey(image)
    if image.mode == "P":
        return np.asarray(image)
    colours = _colour(source, image, frame)
    if (colours != colours[..., :1]).any():
        raise UnreadableImageError("a mask needs one value a pixel, and this image is in colour")
    return colours[..., 0]


def _spread(image: Image.Image) -> int:
    """By what Pillow multiplies grey values of 2 and of 4 bits, so that they fill 8; 1 for all others."""
    layout = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    return 85 if "L;2" in layout else 17 if "L;4" in layout else 1


def _grey(image: Image.Image) -> np.ndarray:
    return np.asarray(image.getchannel("L") if image.mode == "LA" else image)


def _colour(source: Source, image: Image.Image, frame: int) -> np.ndarray:
    """(H, W, 3) code values. Pillow cuts 16-bit colour down to 8 bits; imagecodecs keeps them."""
    if _bits(image) == 16:
        data = source.read_bytes()
        values = imagecodecs.png_decode(data) if image.format == "PNG" else imagecodecs.tiff_decode(data, index=frame)
        if values.ndim == 3 and _tiff_tag(image, _PLANES) == 2:
            values = values.transpose(1, 2, 0)
        # Grey with alpha comes as two channels; Pillow calls it colour.
        values = values[..., :3] if values.shape[-1] > 2 else values[..., [0, 0, 0]]
        return _oriented(values, _tiff_tag(image, ExifTags.Base.Orientation) or 1)
    return np.asarray(image.convert("RGB"))


def _pages(image: Image.Image) -> int:
    return getattr(image, "n_frames", 1) if image.format in _PAGED else 1


def _is_grey(image: Image.Image) -> bool:
    return image.mode in _GREY_MODES and image.format not in _ALWAYS_COLOUR


def _is_signed(image: Image.Image) -> bool:
    """Whether the numbers of a TIFF have a sign."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(_SAMPLE_FORMAT, (1,))[0] == 2


def _seek(image: Image.Image, frame: int) -> None:
    if not 0 <= frame < _pages(image):
        raise UnreadableImageError(f"page {frame} is asked for, and the file has {_pages(image)}")
    image.seek(frame)
    check_size(image.height, image.width, len(image.getbands()))


def _bits(image: Image.Image) -> int:
    """Bits of each stored sample; 8 for palettes, whose colours have 8."""
    if image.mode == "1":
        return 1
    if image.mode in ("RGB", "RGBA") and isinstance(image, TiffImageFile) and 16 in image.tag_v2.get(_BITS, ()):
        return 16
    # Pillow's name for how the samples lie in the file, "RGB;16B" say; the mode alone does not tell.
    if image.mode.startswith("I;16") or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())):
        return 16
    return 32 if image.mode in ("I", "F") else 8


def _tiff_tag(image: Image.Image, tag: int) -> int | None:
    return image.tag_v2.get(tag) if isinstance(image, TiffImageFile) else None


def _orientation(source: Source, image: Image.Image) -> int:
    """The EXIF orientation (1 to 8) that is still to be applied: Pillow turns TIFFs itself."""
    if image.format == "TIFF":
        return 1
    exif = image.getexif() if image.format != "PNG" or "exif" in image.info else _exif_at_end(source)
    return int(exif.get(ExifTags.Base.Orientation, 1))


def _exif_at_end(source: Source) -> Image.Exif:
    """The EXIF of a PNG whose chunk lies behind the pixels, which Pillow would have to decode to come to it."""
    exif = Image.Exif()
    with source.open() as file:
        file.seek(max(source.size() - _TAIL, 0))
        tail = file.read()
    start = tail.rfind(b"eXIf")
    if start >= 4:
        end = start + 4 + int.from_bytes(tail[start - 4 : start], "big")
        if zlib.crc32(tail[start:end]) == int.from_bytes(tail[end : end + 4], "big"):
            exif.load(b"Exif\0\0" + tail[start + 4 : end])
    return exif


_TAIL = 2**16 + 64
"""Bytes at the end of a PNG that are looked at: the longest EXIF that cameras write, and the file's last chunk."""


def _oriented(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (H, W, ...) values upright; the eight cases of the EXIF standard."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
