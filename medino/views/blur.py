"""Gaussian blur: a separable kernel of nine, mirrored at the border."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from medino.views.resample import transposed, weighted_rows

KERNEL_RADIUS = 4
"""The kernel has 2 x 4 + 1 = 9 taps (RECIPE: "kernel 9")."""

BLUR_SIGMAS = (0.1, 2.0)
"""Lowest and highest standard deviation, in pixels (RECIPE: "sigma .1..2")."""

SMALLEST_BLURRED_SIDE = KERNEL_RADIUS + 1
"""A mirrored border of `KERNEL_RADIUS` pixels needs at least one pixel more than that."""


def draw_blur_sigma(generator: np.random.Generator, sigmas: tuple[float, float] = BLUR_SIGMAS) -> float:
    """Draw the standard deviation of a blur, uniform over `sigmas`, in pixels."""
    return sigmas[0] + (sigmas[1] - sigmas[0]) * generator.random()


def gaussian_blur(images: torch.Tensor, sigmas: Sequence[float]) -> torch.Tensor:
    """Blur images, each by its own kernel.

    Args:
        images: (n, C, H, W) float32, sides of at least five pixels.
        sigmas: n standard deviations, in pixels; the kernels are cut after four pixels and sum to one.

    Returns:
        (n, C, H, W).
    """
    sigma = torch.tensor(sigmas, dtype=torch.float32)[:, None]
    offsets = torch.arange(-KERNEL_RADIUS, KERNEL_RADIUS + 1)
    kernels = torch.softmax(-0.5 * (offsets / sigma) ** 2, dim=1).to(images.device)
    return _blurred_rows(_blurred_rows(images, kernels), kernels)


def _blurred_rows(images: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Blur along the rows' axis by kernels (n, 9), and transpose: (n, C, H, W) to (n, C, W, H)."""
    n, channels, height, width = images.shape
    index = _mirrored(n * channels, height, images.device)
    weights = kernels.repeat_interleave(channels * height, dim=0)
    return transposed(weighted_rows(images.reshape(-1, width), index, weights).view(images.shape))


@lru_cache(maxsize=32)
def _mirrored(planes: int, height: int, device: torch.device) -> torch.Tensor:
    """For each row of planes that lie one after the other, the nine rows around it: (planes * height, 9) int32."""
    rows = torch.arange(height)[:, None] + torch.arange(-KERNEL_RADIUS, KERNEL_RADIUS + 1)
    inside = (height - 1) - ((height - 1) - rows.abs()).abs()
    places = inside + height * torch.arange(planes)[:, None, None]
    return places.flatten(0, 1).to(device, torch.int32)
