"""PNG, JPEG and TIFF: 1, 8, 16 and 32 bits, grey, palette and colour, the pages of a TIFF as frames."""

from collections.abc import Iterator
from contextlib import contextmanager

import imagecodecs
import numpy as np
import torch
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from medino.core import UnreadableImageError
from medino.data.pixels import Pixels
from medino.data.readers.description import description
from medino.data.readers.failures import check_size, decoding
from medino.data.readers.settings import ReadSettings
from medino.data.schema import Sample
from medino.data.source import Source

_FORMATS = ("PNG", "JPEG", "TIFF")
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_PHOTOMETRIC = 262
"""TIFF's tag for what zero means: 0 is white, 1 is black."""


def describe(source: Source, settings: ReadSettings) -> list[dict[str, object]]:
    """The pages of an image file from their headers alone; see `medino.data.readers.describe`."""
    described = []
    with decoding("the image file"), _opened(source) as image:
        for frame in range(_pages(image)):
            image.seek(frame)
            columns, rows = image.size
            if _orientation(image) >= 5:
                rows, columns = columns, rows
            check_size(rows, columns, len(image.getbands()))
            described.append(
                description(
                    format="raster",
                    frame=frame,
                    photometric=image.mode,
                    rows=rows,
                    columns=columns,
                    samples_per_pixel=1 if image.mode in _GREY_MODES else 3,
                    bits_stored=_bits(image),
                )
            )
    return described


def read(source: Source, sample: Sample) -> Pixels:
    """One page. A palette becomes colour, alpha is dropped, the camera's rotation (EXIF) is applied.

    Raises:
        UnreadableImageError: the page can't be decoded.
    """
    with decoding("the image file"), _opened(source) as image:
        _seek(image, sample.frame)
        bits, turn = _bits(image), _orientation(image)
        colour = image.mode not in _GREY_MODES
        # Pillow inverts white-is-zero TIFFs of up to 8 bits itself.
        inverted = not colour and bits > 8 and _tiff_tag(image, _PHOTOMETRIC) == 0
        values = _oriented(_colour(source, image, sample.frame) if colour else _grey(image), turn)
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise UnreadableImageError("the image holds values that are not numbers (NaN or infinite)")
    # 32 bits are whole or floating point numbers of any scale: the page's own range is taken.
    full_range = (float(values.min()), float(values.max())) if bits == 32 else (0.0, 2.0**bits - 1)
    stacked = values.transpose(2, 0, 1) if colour else values[None]
    return Pixels(torch.from_numpy(np.ascontiguousarray(stacked)), full_range, inverted=inverted)


def read_mask(source: Source, frame: int, plane: int | None) -> torch.Tensor:
    """One page as class or instance numbers, (H, W) int64: values as stored, palette indices, 0 and 1 for one bit.

    Raises:
        UnreadableImageError: the page can't be decoded, is in colour, or its values are no whole numbers.
    """
    with decoding("the mask file"), _opened(source) as image:
        _seek(image, frame)
        turn = _orientation(image)
        values = _oriented(_mask_values(source, image, frame), turn)
    whole = np.rint(values)
    if not np.array_equal(whole, values):
        raise UnreadableImageError("the mask holds values that are not whole numbers")
    return torch.from_numpy(np.ascontiguousarray(whole, dtype=np.int64))


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
        # Grey with alpha comes as two channels; Pillow calls it colour.
        values = values[..., :3] if values.shape[-1] > 2 else values[..., [0, 0, 0]]
        return _oriented(values, _tiff_tag(image, ExifTags.Base.Orientation) or 1)
    return np.asarray(image.convert("RGB"))


def _pages(image: Image.Image) -> int:
    return getattr(image, "n_frames", 1) if image.format == "TIFF" else 1


def _seek(image: Image.Image, frame: int) -> None:
    if not 0 <= frame < _pages(image):
        raise UnreadableImageError(f"page {frame} is asked for, and the file has {_pages(image)}")
    image.seek(frame)
    check_size(image.height, image.width, len(image.getbands()))


def _bits(image: Image.Image) -> int:
    """Bits of each stored sample; 8 for palettes, whose colours have 8."""
    if image.mode == "1":
        return 1
    # Pillow's name for how the samples lie in the file, "RGB;16B" say; the mode alone does not tell.
    if image.mode.startswith("I;16") or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())):
        return 16
    return 32 if image.mode in ("I", "F") else 8


def _tiff_tag(image: Image.Image, tag: int) -> int | None:
    return image.tag_v2.get(tag) if isinstance(image, TiffImageFile) else None


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation (1 to 8) that is still to be applied: Pillow turns TIFFs itself.

    In a PNG it counts where it comes before the pixels: to look behind them, all would have to be decoded.
    """
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def _oriented(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (H, W, ...) values upright; the eight cases of the EXIF standard."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
