"""Colour of natural images: jitter of brightness, contrast, saturation and hue; greyscale; solarise.

Each operation is a function of images (..., C, H, W) in [0, 1] and of its amount, and gives images in [0, 1]; what is
random is drawn apart, so that its distribution can be tested. The definitions are those of Pillow, on floats. C is 3,
or 1 for grey images, whose three channels would be alike: their luma is the image, and neither saturation nor hue
changes them. A name with a trailing underscore works in place, as in torch. An amount is a number, or a tensor
(n, 1, 1, 1) with one for each of n images; both give the same.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from medino.core import to_device

GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Luma of red, green and blue (ITU-R BT.601), as Pillow's conversion to "L" has it."""

COLOUR_STRENGTHS = (0.4, 0.4, 0.2, 0.1)
"""Reach of brightness, contrast, saturation and hue (RECIPE: "colour jitter (.4, .4, .2, .1)")."""

SOLARISE_THRESHOLD = 128 / 255
"""Values from here on are inverted (RECIPE: "solarise (128)", of 255)."""

ORDERS = tuple((a, b, c, 6 - a - b - c) for a in range(4) for b in range(4) for c in range(4) if len({a, b, c}) == 3)
"""All orders of the four operations."""

LOG2_E = math.log2(math.e)
"""What a natural logarithm is multiplied by to be one of base 2: torch takes a third of the time for powers of 2."""

Amount = float | torch.Tensor


def amount_of(numbers: Sequence[float], device: torch.device) -> Amount:
    """A number for each of n images, (n, 1, 1, 1); a plain one for one image, which is faster."""
    return numbers[0] if len(numbers) == 1 else to_device(torch.tensor(numbers), device).view(-1, 1, 1, 1)


class ColourJitter(NamedTuple):
    """The drawn parameters of one colour jitter.

    Attributes:
        brightness: factor.
        contrast: factor.
        saturation: factor.
        hue: shift, in turns of the colour circle, less than a sixth.
        order: in which they are applied, as indices into (brightness, contrast, saturation, hue).
    """

    brightness: float
    contrast: float
    saturation: float = 1.0
    hue: float = 0.0
    order: tuple[int, ...] = (0, 1)

    @property
    def amounts(self) -> tuple[float, float, float, float]:
        """The four by their numbers."""
        return self[:4]


def draw_colour_jitter(
    generator: np.random.Generator, strengths: tuple[float, float, float, float] = COLOUR_STRENGTHS
) -> ColourJitter:
    """Draw a colour jitter: factors uniform over 1 -+ strength, hue uniform over 0 -+ strength, any order alike."""
    *draws, order = generator.random(5).tolist()
    brightness, contrast, saturation, hue = (
        strength * (2 * draw - 1) for draw, strength in zip(draws, strengths, strict=True)
    )
    return ColourJitter(1 + brightness, 1 + contrast, 1 + saturation, hue, ORDERS[int(order * len(ORDERS))])


def grey_of(images: torch.Tensor) -> torch.Tensor:
    """The luma (..., 1, H, W) of images (..., C, H, W); of grey images themselves."""
    if images.shape[-3] == 1:
        return images
    if images.ndim == 3:
        # One image's in one call.
        return (_grey_weights(images.device) @ images.flatten(1)).view(1, *images.shape[1:])
    red, green, blue = images.unbind(-3)
    luma = red * GREY_WEIGHTS[0]
    return luma.add_(green, alpha=GREY_WEIGHTS[1]).add_(blue, alpha=GREY_WEIGHTS[2]).unsqueeze(-3)


def adjust_brightness_(images: torch.Tensor, factor: Amount) -> torch.Tensor:
    """Multiply all values by `factor`."""
    images.mul_(factor)
    return images.clamp_max_(1) if _may_exceed(factor) else images


def adjust_contrast_(images: torch.Tensor, factor: Amount) -> torch.Tensor:
    """Move all values away from (factor above 1) or towards (below 1) each image's mean luma."""
    # Row by row first: one long sum is split among threads, and its last bit would depend on how many there are.
    means = images.mean(dim=-1).mean(dim=-1)
    if means.shape[-1] == 3:
        means = (means * _grey_weights(means.device)).sum(dim=-1, keepdim=True)
    images.lerp_(means[..., None, None], 1 - factor)
    return images.clamp_(0, 1) if _may_exceed(factor) else images


def adjust_saturation_(images: torch.Tensor, factor: Amount) -> torch.Tensor:
    """Move all colours away from (factor above 1) or towards (below 1) their luma."""
    if images.shape[-3] == 1:
        return images
    images.lerp_(grey_of(images), 1 - factor)
    return images.clamp_(0, 1) if _may_exceed(factor) else images


def adjust_hue_(images: torch.Tensor, turns: Amount) -> torch.Tensor:
    """Turn the hue of every pixel on the colour circle of HSV; value and saturation stay.

    On the circle each channel is a trapezium, cut off at the pixel's darkest and brightest value. Whole it would be a
    triangle, `2 red - median`, whose falling side (green over blue) a turn by t sixths lowers by t of the chroma, and
    whose rising side it lifts. Where the result is not cut off, that is
    `(2 - |t|) red - (1 - |t|) median - t (green - blue)` on both sides, and elsewhere both are beyond what is cut off.
    So no hue is computed, nothing divided by chroma and no side chosen.

    Args:
        images: (..., C, H, W) in [0, 1].
        turns: shift, 1 is once round; between -1/6 and 1/6, both excluded.
    """
    if images.shape[-3] == 1:
        return images
    darkest, median, brightest = torch.empty_like(images).unbind(-3)
    order_channels(images.unbind(-3), darkest, median, brightest)
    # Green - blue, blue - red, red - green.
    differences = images.roll(-1, -3) - images.roll(1, -3)
    sixths = 6 * turns
    torch.lerp(median.unsqueeze(-3), images, 2 - sixths.__abs__(), out=images)
    images.sub_(differences.mul_(sixths))
    return torch.clamp(images, darkest.unsqueeze(-3), brightest.unsqueeze(-3), out=images)


def order_channels(colours: Sequence[Any], darkest: Any, median: Any, brightest: Any, library: Any = torch) -> None:
    """Write the darkest, middle and brightest value of each pixel.

    Args:
        colours: red, green and blue, each (..., H, W).
        darkest: where to, like the others; tensors, or arrays where the library is NumPy.
        median: where to.
        brightest: where to.
        library: torch, or NumPy, a call of which costs half as much.
    """
    red, green, blue = colours
    library.maximum(red, green, out=brightest)
    library.minimum(red, green, out=darkest)
    library.minimum(brightest, blue, out=median)
    library.maximum(median, darkest, out=median)
    library.maximum(brightest, blue, out=brightest)
    library.minimum(darkest, blue, out=darkest)


def hue_mixing(turns: float) -> np.ndarray:
    """`adjust_hue_`, before it cuts off, as a product of (3, 4) float32 and red, green, blue and median."""
    sixths = 6 * turns
    own, middle = 2 - abs(sixths), abs(sixths) - 1
    rows = ((own, -sixths, sixths, middle), (sixths, own, -sixths, middle), (-sixths, sixths, own, middle))
    return np.array(rows, np.float32)


def saturation_mixing(factor: float) -> np.ndarray:
    """`adjust_saturation_`, before it cuts off, as a product of (3, 3) float32 and red, green and blue."""
    own, (red, green, blue) = factor, ((1 - factor) * weight for weight in GREY_WEIGHTS)
    return np.array(((own + red, green, blue), (red, own + green, blue), (red, green, own + blue)), np.float32)


OPERATIONS = (adjust_brightness_, adjust_contrast_, adjust_saturation_, adjust_hue_)
"""The four operations of a colour jitter, as `ColourJitter.order` counts them."""


def to_greyscale_(images: torch.Tensor) -> torch.Tensor:
    """Replace all channels by the luma."""
    return images.copy_(grey_of(images))


def solarise_(images: torch.Tensor, threshold: float = SOLARISE_THRESHOLD, white: float = 1.0) -> torch.Tensor:
    """Invert the values that are at or above `threshold`; what is 0 becomes `white`."""
    return torch.where(images < threshold, images, white - images, out=images)


def log_(images: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """The natural logarithm, in place or written to `out`."""
    out = images if out is None else out
    if images.device.type != "cpu":
        return torch.log(images, out=out)
    # NumPy's takes less than half of the time of torch's.
    with np.errstate(divide="ignore"):
        np.log(images.numpy(), out=out.numpy())
    return out


@lru_cache(maxsize=4)
def _grey_weights(device: torch.device) -> torch.Tensor:
    return torch.tensor(GREY_WEIGHTS, device=device)


def _may_exceed(factor: Amount) -> bool:
    """Whether the result can leave [0, 1]: a factor below 1 mixes values that are inside."""
    return isinstance(factor, torch.Tensor) or factor > 1
