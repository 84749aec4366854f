"""Intensity of radiological images: jitter of the grey window, gamma, noise.

A window is to a radiograph what brightness and contrast are to a photograph, with a meaning in physical units: it is
jittered before the values are cut to [0, 1], so that a view can show what another one has saturated.
"""

import math
from dataclasses import replace

import numpy as np
import torch

from medino.data import Window

CENTER_SHIFT = 0.15
"""The centre moves by at most this share of the window's width."""

WIDTH_FACTOR = 1.5
"""The width is multiplied by a factor between 1 / 1.5 and 1.5; like the others here, chosen and not measured."""

GAMMA_FACTOR = 1.5
"""The exponent lies between 1 / 1.5 and 1.5, for the curves that displays and post-processing add."""

NOISE_SIGMA = 0.05
"""Highest standard deviation of the noise, as a share of the window."""


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


def adjust_gamma(image: torch.Tensor, gamma: float) -> torch.Tensor:
    """Raise an image (C, H, W) in [0, 1] to the power `gamma`: black and white stay, the middle moves."""
    return image.pow(gamma)


def draw_noise(generator: np.random.Generator, height: int, width: int, sigma: float = NOISE_SIGMA) -> torch.Tensor:
    """Draw a field (1, height, width) of white noise whose standard deviation is uniform over 0 .. `sigma`.

    One field serves all channels: they show one acquisition, as copies or through different windows.
    """
    strength = generator.uniform(0, sigma)
    return torch.from_numpy(generator.standard_normal((1, height, width), dtype=np.float32)).mul_(strength)


def add_noise(image: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Add a field of noise (1, H, W) to an image (C, H, W) and cut to [0, 1]."""
    return (image + noise).clamp_(0, 1)
