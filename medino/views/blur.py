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


def gaussian_blur(images: torch.Tensor, sigmas: Sequence[float], places: Sequence[int] | None = None) -> torch.Tensor:
    """Blur images, each by its own kernel.

    Args:
        images: (n, C, H, W) float32, sides of at least five pixels.
        sigmas: k standard deviations, in pixels; the kernels are cut after four pixels and sum to one.
        places: which k of the images are blurred; None: all.

    Returns:
        (k, C, H, W).
    """
    sigma = torch.tensor(sigmas, dtype=torch.float32)[:, None]
    offsets = torch.arange(-KERNEL_RADIUS, KERNEL_RADIUS + 1)
    kernels = torch.softmax(-0.5 * (offsets / sigma) ** 2, dim=1).to(images.device)
    down = _blurred_rows(images, kernels, range(len(images)) if places is None else places)
    return _blurred_rows(down, kernels, range(len(down)))


def _blurred_rows(images: torch.Tensor, kernels: torch.Tensor, places: Sequence[int]) -> torch.Tensor:
    """Blur k of n images along the rows' axis by kernels (k, 9), and transpose: (n, C, H, W) to (k, C, W, H)."""
    _, channels, height, width = images.shape
    chosen = torch.tensor(places, dtype=torch.int32, device=images.device)
    channel = torch.arange(channels, dtype=torch.int32, device=images.device)
    first_rows = (chosen[:, None] * channels + channel).mul_(height)
    index = (first_rows[..., None, None] + _mirrored(height, images.device)).flatten(0, 2)
    weights = kernels.repeat_interleave(channels * height, dim=0)
    blurred = weighted_rows(images.reshape(-1, width), index, weights)
    return transposed(blurred.view(len(places), channels, height, width))


@lru_cache(maxsize=8)
def _mirrored(height: int, device: torch.device) -> torch.Tensor:
    """For each row of a plane the nine rows around it: (height, 9) int32."""
    rows = torch.arange(height)[:, None] + torch.arange(-KERNEL_RADIUS, KERNEL_RADIUS + 1)
    inside = (height - 1) - ((height - 1) - rows.abs()).abs()
    return inside.to(device, torch.int32)
