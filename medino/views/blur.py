"""Gaussian blur: a separable kernel of nine, mirrored at the border."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch

from medino.views.resample import transpose_into, transposed, weighted_rows

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
    return blur_(images.clone(), dict(enumerate(sigmas)))


def blur_(images: torch.Tensor, sigmas: Mapping[int, float]) -> torch.Tensor:
    """`gaussian_blur` of some images, in place.

    Args:
        images: (n, C, H, W) float32.
        sigmas: standard deviations, in pixels, by the places of the images that are blurred.
    """
    if not sigmas:
        return images
    sigma = torch.tensor(list(sigmas.values()), dtype=torch.float32)[:, None]
    kernels = torch.softmax(-0.5 * (_offsets() / sigma) ** 2, dim=1).to(images.device)
    chosen = images.index_select(0, torch.tensor(list(sigmas), device=images.device))
    turned = _blurred_rows(transposed(_blurred_rows(chosen, kernels)), kernels)
    for place, blurred in zip(sigmas, turned, strict=True):
        transpose_into(images[place], blurred)
    return images


def _blurred_rows(images: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Blur n images (n, C, H, W) along the rows' axis, each by its kernel (n, 9)."""
    n, channels, height, width = images.shape
    weights = kernels[:, None].expand(n, channels * height, -1).reshape(-1, kernels.shape[1])
    index = _neighbours(n * channels, height, images.device)
    return weighted_rows(images.view(-1, width), index, weights).view(images.shape)


@lru_cache(maxsize=32)
def _neighbours(planes: int, height: int, device: torch.device) -> torch.Tensor:
    """For each row of each plane the nine rows around it, mirrored at the ends: (planes * height, 9) int32."""
    rows = torch.arange(height)[:, None] + _offsets()
    inside = (height - 1) - ((height - 1) - rows.abs()).abs()
    return (torch.arange(planes)[:, None, None] * height + inside).flatten(0, 1).to(device, torch.int32)


@lru_cache(maxsize=1)
def _offsets() -> torch.Tensor:
    return torch.arange(-KERNEL_RADIUS, KERNEL_RADIUS + 1)
