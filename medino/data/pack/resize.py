"""Images and masks with a shorter short side: aspect and physical units are kept, and nothing is enlarged."""

import dataclasses

import torch
import torch.nn.functional as F

from medino.data.pixels import Pixels, box_around


def shrunk_size(rows: int, columns: int, short_side: int | None) -> tuple[int, int]:
    """Rows and columns of an image whose shorter side becomes `short_side` pixels; smaller images stay as they are."""
    shorter = min(rows, columns)
    if short_side is None or shorter <= short_side:
        return rows, columns
    return max(1, round(rows * short_side / shorter)), max(1, round(columns * short_side / shorter))


def shrink(pixels: Pixels, short_side: int | None) -> Pixels:
    """Resize an image, antialiased.

    The filter is the bicubic one of the views. Its overshoot at edges is cut to the image's own range, so that no value
    appears that the image had no room for. A pixel of the result is valid where at least half of its area was.

    Args:
        pixels: the image.
        short_side: of the result, pixels; an image with a shorter one, or None, is returned as it is.
    """
    height, width = pixels.values.shape[-2:]
    size = shrunk_size(height, width, short_side)
    if size == (height, width):
        return pixels
    source = pixels.values.float()
    resized = F.interpolate(source[None], size=size, mode="bicubic", align_corners=False, antialias=True)[0]
    lowest, highest = source.min(), source.max()
    values = resized.clamp(lowest, highest)
    valid, box = None, pixels.box
    if pixels.valid is not None:
        valid = F.interpolate(pixels.valid[None, None].float(), size=size, mode="area")[0, 0] >= 0.5
        # Padding stays what the readers fill it with: the darkest value.
        values = torch.where(valid, values, highest if pixels.inverted else lowest)
        box = box_around(valid)
    spacing = pixels.spacing and (pixels.spacing[0] * height / size[0], pixels.spacing[1] * width / size[1])
    return dataclasses.replace(pixels, values=values, valid=valid, box=box, spacing=spacing)


def shrink_mask(mask: torch.Tensor, short_side: int | None) -> torch.Tensor:
    """Resize a mask (H, W) as `shrink` does its image, by the nearest pixel."""
    size = shrunk_size(mask.shape[0], mask.shape[1], short_side)
    if size == tuple(mask.shape):
        return mask
    # float64 holds every label up to 2^53.
    return F.interpolate(mask[None, None].double(), size=size, mode="nearest-exact")[0, 0].to(mask.dtype)
