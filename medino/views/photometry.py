"""Colour of natural images: jitter of brightness, contrast, saturation and hue; greyscale; solarise.

Each operation is a pure function of an image (3, H, W) in [0, 1] and of its parameters, and gives an image in [0, 1];
what is random is drawn apart, so that its distribution can be tested. The definitions are those of Pillow, on floats.
"""

from dataclasses import dataclass

import numpy as np
import torch

GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Luma of red, green and blue (ITU-R BT.601), as Pillow's conversion to "L" has it."""

COLOUR_STRENGTHS = (0.4, 0.4, 0.2, 0.1)
"""Reach of brightness, contrast, saturation and hue (RECIPE: "colour jitter (.4, .4, .2, .1)")."""

SOLARISE_THRESHOLD = 128 / 255
"""Values from here on are inverted (RECIPE: "solarise (128)", of 255)."""


@dataclass(frozen=True)
class ColourJitter:
    """The drawn parameters of one colour jitter.

    Attributes:
        brightness: factor.
        contrast: factor.
        saturation: factor.
        hue: shift, in turns of the colour circle.
        order: in which the four are applied, as indices into (brightness, contrast, saturation, hue).
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    order: tuple[int, ...]


def draw_colour_jitter(
    generator: np.random.Generator, strengths: tuple[float, float, float, float] = COLOUR_STRENGTHS
) -> ColourJitter:
    """Draw a colour jitter: factors uniform over 1 -+ strength, hue uniform over 0 -+ strength, any order alike."""
    brightness, contrast, saturation, hue = (float(draw) for draw in generator.uniform(-1, 1, 4) * strengths)
    order = tuple(int(index) for index in generator.permutation(4))
    return ColourJitter(1 + brightness, 1 + contrast, 1 + saturation, hue, order)


def apply_colour_jitter(image: torch.Tensor, jitter: ColourJitter) -> torch.Tensor:
    """Apply the four operations of a colour jitter in its order."""
    steps = (
        (adjust_brightness, jitter.brightness),
        (adjust_contrast, jitter.contrast),
        (adjust_saturation, jitter.saturation),
        (adjust_hue, jitter.hue),
    )
    for index in jitter.order:
        operation, amount = steps[index]
        image = operation(image, amount)
    return image


def grey_of(image: torch.Tensor) -> torch.Tensor:
    """The luma (1, H, W) of an image (3, H, W)."""
    red, green, blue = GREY_WEIGHTS
    return (image[0] * red).add_(image[1], alpha=green).add_(image[2], alpha=blue)[None]


def adjust_brightness(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Multiply all values by `factor`."""
    return (image * factor).clamp_(0, 1)


def adjust_contrast(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Move all values away from (factor above 1) or towards (below 1) the image's mean luma."""
    # Row by row first: one long sum is split among threads, and its last bit would depend on how many there are.
    mean = grey_of(image).mean(dim=-1).mean()
    return (image * factor).add_(mean * (1 - factor)).clamp_(0, 1)


def adjust_saturation(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Move all colours away from (factor above 1) or towards (below 1) their luma."""
    return (image * factor).add_(grey_of(image), alpha=1 - factor).clamp_(0, 1)


def adjust_hue(image: torch.Tensor, turns: float) -> torch.Tensor:
    """Turn the hue of every pixel on the colour circle of HSV; value and saturation stay.

    Args:
        image: (3, H, W) in [0, 1].
        turns: shift, 1 is once round.
    """
    red, green, blue = image
    value, brightest = image.max(dim=0)
    chroma = value - image.amin(dim=0)
    # Hue in sixths of the circle: where the brightest channel stands, plus which of the others comes second.
    second = torch.stack((green - blue, blue - red, red - green)).gather(0, brightest[None])[0]
    sixths = (second / chroma.clamp_min(1e-12)).add_(brightest, alpha=2).add_(6 * turns)
    # Each channel falls from `value` by `chroma` in a trapezium over the circle, a third of it apart from the others.
    starts = torch.tensor((5.0, 3.0, 1.0))[:, None, None]
    places = (sixths + starts).remainder_(6)
    fall = torch.minimum(places, 4 - places).clamp_(0, 1)
    return (value - fall.mul_(chroma)).clamp_(0, 1)


def to_greyscale(image: torch.Tensor) -> torch.Tensor:
    """Replace all three channels by the luma."""
    return grey_of(image).repeat(3, 1, 1)


def solarise(image: torch.Tensor, threshold: float = SOLARISE_THRESHOLD) -> torch.Tensor:
    """Invert the values that are at or above `threshold`."""
    return torch.where(image < threshold, image, 1 - image)
