"""Images and masks with a shorter short side: the aspect is kept, values stay in physical units, nothing is enlarged."""

import dataclasses
import math

import torch
import torch.nn.functional as F

from medino.data.pixels import Pixels


def shrunk_size(rows: int, columns: int, short_side: int | None) -> tuple[int, int]:
    """Rows and columns of an image whose shorter side becomes `short_side` pixels; smaller images stay as they are."""
    shorter = min(rows, columns)
    if short_side is None or shorter <= short_side:
        return rows, columns
    return max(1, round(rows * short_side / shorter)), max(1, round(columns * short_side / shorter))


def shrink(pixels: Pixels, short_side: int | None) -> Pixels:
    """Resize an image, antialiased.

    The filter is the bicubic one of the views. Its overshoot at edges is cut to the image's own range, so that no value
    appears that the image does not have room for. Padding outside of the valid box does not bleed into it.

    Args:
        pixels: the image.
        short_side: of the result, pixels; an image with a shorter one, or None, is returned as it is.
    """
    height, width = pixels.values.shape[-2:]
    size = shrunk_size(height, width, short_side)
    if size == (height, width):
        return pixels
    if pixels.box is None:
        values, box = _bicubic(pixels.values, size), None
    else:
        box = _shrunk_box(pixels.box, (height, width), size)
        values = _nearest(pixels.values, size)
        top, left, bottom, right = box
        values[:, top:bottom, left:right] = _bicubic(_spread(pixels), size)[:, top:bottom, left:right]
    spacing = pixels.spacing and (pixels.spacing[0] * height / size[0], pixels.spacing[1] * width / size[1])
    return dataclasses.replace(pixels, values=values, box=None if box == (0, 0, *size) else box, spacing=spacing)


def shrink_mask(mask: torch.Tensor, short_side: int | None) -> torch.Tensor:
    """Resize a mask (H, W) as `shrink` does its image, by the nearest pixel."""
    size = shrunk_size(mask.shape[0], mask.shape[1], short_side)
    # float64 holds every label up to 2^53.
    return mask if size == tuple(mask.shape) else _nearest(mask[None].double(), size)[0].to(mask.dtype)


def _bicubic(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    resized = F.interpolate(values[None], size=size, mode="bicubic", align_corners=False, antialias=True)[0]
    return resized.clamp(values.min(), values.max())


def _nearest(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(values[None], size=size, mode="nearest-exact")[0]


def _spread(pixels: Pixels) -> torch.Tensor:
    """The values with the valid part's outermost ones in place of all that lies outside of it."""
    height, width = pixels.values.shape[-2:]
    top, left, bottom, right = pixels.box or (0, 0, height, width)
    inside = pixels.values[:, top:bottom, left:right]
    return F.pad(inside[None], (left, width - right, top, height - bottom), mode="replicate")[0]


def _shrunk_box(
    box: tuple[int, int, int, int], before: tuple[int, int], after: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The pixels of the result that lie in the valid box with all of their area; one at least."""
    ends = []
    for start, end, old, new in zip(box[:2], box[2:], before, after, strict=True):
        first = min(math.ceil(start * new / old), new - 1)
        ends.append((first, max(math.floor(end * new / old), first + 1)))
    (top, bottom), (left, right) = ends
    return top, left, bottom, right
