"""Where a view is taken from and how it lies: random resized crop, flip, quarter turns."""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

ASPECT_RATIOS = (3 / 4, 4 / 3)
"""Width over height of a crop, lowest and highest (RECIPE: "ratio 3/4..4/3")."""

CROP_TRIES = 10
"""How many areas and ratios are drawn before the centre is taken, as in the common definition of the operation."""


class Crop(NamedTuple):
    """A rectangle in an image, in whole pixels."""

    top: int
    left: int
    height: int
    width: int


def draw_crop(
    height: int,
    width: int,
    scale: tuple[float, float],
    generator: np.random.Generator,
    aspect_ratios: tuple[float, float] = ASPECT_RATIOS,
) -> Crop:
    """Draw the rectangle of a random resized crop.

    The share of the image's area is uniform over `scale`, the aspect ratio log-uniform over `aspect_ratios`, the
    place uniform over all where the rectangle fits. A rectangle that doesn't fit is drawn anew, ten times at most;
    then the largest one in the centre whose ratio is allowed is taken.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        scale: lowest and highest share of the image's area.
        generator: where the randomness comes from.
        aspect_ratios: lowest and highest width over height.
    """
    area = height * width
    low, high = math.log(aspect_ratios[0]), math.log(aspect_ratios[1])
    for _ in range(CROP_TRIES):
        # Drawn together: a call of the generator costs more than the rest of a try.
        share, shape, down, across = generator.random(4).tolist()
        target = area * (scale[0] + (scale[1] - scale[0]) * share)
        aspect = math.exp(low + (high - low) * shape)
        crop_width = round(math.sqrt(target * aspect))
        crop_height = round(math.sqrt(target / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(down * (height - crop_height + 1))
            left = int(across * (width - crop_width + 1))
            return Crop(top, left, crop_height, crop_width)
    return central_crop(height, width, aspect_ratios)


def central_crop(height: int, width: int, aspect_ratios: tuple[float, float] = ASPECT_RATIOS) -> Crop:
    """The largest rectangle in the centre whose width over height lies within `aspect_ratios`."""
    crop_height, crop_width = height, width
    if width / height < aspect_ratios[0]:
        crop_height = max(round(width / aspect_ratios[0]), 1)
    elif width / height > aspect_ratios[1]:
        crop_width = max(round(height * aspect_ratios[1]), 1)
    return Crop((height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width)


def resize_crop(image: torch.Tensor, crop: Crop, size: int) -> torch.Tensor:
    """Cut `crop` out of an image and resize it, bicubic and antialiased, to a square.

    Only the crop is touched, so that the cost does not grow with the image. Bicubic weights overshoot at edges: the
    result may leave the range of the input, and whoever needs a range clamps.

    Args:
        image: (C, H, W).
        crop: the rectangle, inside the image.
        size: side of the result, in pixels.

    Returns:
        (C, size, size), contiguous.
    """
    top, left, height, width = crop
    part = image[None, :, top : top + height, left : left + width]
    if height == size and width == size:
        return part[0].contiguous()
    return F.interpolate(part, size=(size, size), mode="bicubic", align_corners=False, antialias=True)[0]


def lay(images: torch.Tensor, flip: bool, turns: int) -> torch.Tensor:
    """Swap left and right of images (..., H, W) if wanted, then turn them by `turns` quarter turns, anticlockwise."""
    flipped = images.flip(-1) if flip else images
    return torch.rot90(flipped, turns, (-2, -1)) if turns else flipped
