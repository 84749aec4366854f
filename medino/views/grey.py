"""Intensity of radiological images: jitter of the grey window, gamma, noise.

A window is to a radiograph what brightness and contrast are to a photograph, with a meaning in physical units: it is
jittered before the values are cut to [0, 1], so that a view can show what another one has saturated.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from medino.core import torch_generator
from medino.data import Pixels, Window
from medino.data.intensity import Intensity
from medino.views.photometry import LOG2_E, Amount, amount_of, log_

CENTER_SHIFT = 0.15
"""The centre moves by at most this share of the window's width."""

WIDTH_FACTOR = 1.5
"""The width is multiplied by a factor between 1 / 1.5 and 1.5; like the others here, chosen and not measured."""

GAMMA_FACTOR = 1.5
"""The exponent lies between 1 / 1.5 and 1.5, for the curves that displays and post-processing add."""

NOISE_SIGMA = 0.05
"""Highest standard deviation of the noise, as a share of the window."""

NOISE_POOL = 1 << 20
"""Normal numbers that fields of noise are cut out of: to draw each field anew took longer than the rest of a view, and
on a GPU would need other numbers than on a CPU."""


class Noise(NamedTuple):
    """A field of white noise: a stretch of the pool (`NOISE_POOL`), multiplied.

    Attributes:
        start: where the stretch begins, as a share of the places where it can.
        sigma: standard deviation.
    """

    start: float
    sigma: float


def draw_window_jitter(
    generator: np.random.Generator, center_shift: float = CENTER_SHIFT, width_factor: float = WIDTH_FACTOR
) -> tuple[float, float]:
    """Draw the shift of a window's centre (share of the width, uniform) and the factor of its width (log-uniform)."""
    shift = float(generator.uniform(-center_shift, center_shift))
    reach = math.log(width_factor)
    return shift, math.exp(generator.uniform(-reach, reach))


def jitter_window(window: Window, shift: float, factor: float) -> Window:
    """Move a window's centre by `shift` of its width and multiply its width by `factor`; its curve is kept."""
    return replace(window, center=window.center + shift * window.width, width=window.width * factor)


def draw_gamma(generator: np.random.Generator, gamma_factor: float = GAMMA_FACTOR) -> float:
    """Draw the exponent of a gamma curve, log-uniform over 1 / gamma_factor .. gamma_factor."""
    reach = math.log(gamma_factor)
    return math.exp(generator.uniform(-reach, reach))


def adjust_gamma_(images: torch.Tensor, gamma: Amount) -> torch.Tensor:
    """Raise images (..., C, H, W) in [0, 1] to the power `gamma`: black and white stay, the middle moves. In place."""
    # A logarithm and an exponential take a third of the time of a power.
    return log_(images).mul_(gamma * LOG2_E).exp2_()


def draw_noise(generator: np.random.Generator, sigma: float = NOISE_SIGMA) -> Noise:
    """Draw a field of white noise whose standard deviation is uniform over 0 .. `sigma`."""
    start, strength = generator.random(2).tolist()
    return Noise(start, sigma * strength)


def add_noises_(images: torch.Tensor, noises: Sequence[Noise]) -> torch.Tensor:
    """Add a field of noise to each image (n, C, H, W) in [0, 1] and cut to [0, 1], in place.

    One field serves all channels: they show one acquisition, as copies or through different windows.
    """
    for image, noise in zip(images, noises, strict=True):
        add_noise_(image, noise)
    return images.clamp_(0, 1)


def add_noise_(image: torch.Tensor, noise: Noise, white: float = 1.0) -> torch.Tensor:
    """Add a field of noise to an image (C, H, W) in [0, white], in place; what leaves the range is not cut off."""
    height, width = image.shape[-2:]
    start = int(noise.start * (NOISE_POOL - height * width + 1))
    field = _noise_pool(image.device)[start : start + height * width].view(height, width)
    return image.add_(field, alpha=noise.sigma * white)


@lru_cache(maxsize=4)
def _noise_pool(device: torch.device) -> torch.Tensor:
    return torch.randn(NOISE_POOL, generator=torch_generator(0, "noise pool")).to(device)


def look_through(
    values: torch.Tensor, windows: Sequence[tuple[Window, ...]], inverted: Sequence[bool], intensity: Intensity
) -> torch.Tensor:
    """Window views of grey images: `Intensity.apply`, for many at once and without copies of a channel.

    Args:
        values: (n, C, S, S) in physical units, used up; three channels are adjacent slices.
        windows: n times one window for all channels, or three of the image itself.
        inverted: n times whether low values are to be shown bright.
        intensity: what a window that is no straight line is left to.

    Returns:
        (n, C, S, S) in [0, 1], or (n, 3, S, S) where an image has three windows.
    """
    if all(len(some) == 1 and some[0].shape == "linear" and some[0].width > 0 for some in windows):
        lows, widths = ([getattr(some[0], name) for some in windows] for name in ("low", "width"))
        shown = values.sub_(amount_of(lows, values.device)).div_(amount_of(widths, values.device)).clamp_(0, 1)
        for view, turned in zip(shown, inverted, strict=True):
            if turned:
                view.neg_().add_(1)
        return shown
    each = [
        intensity.apply(Pixels(view, (0.0, 1.0), inverted=turned, stacked=True), some)
        for view, some, turned in zip(values, windows, inverted, strict=True)
    ]
    return torch.stack(each)
