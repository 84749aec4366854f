"""Gaussian blur: a separable kernel of nine, mirrored at the border."""

import math

import numpy as np
import torch
import torch.nn.functional as F

KERNEL_RADIUS = 4
"""The kernel has 2 x 4 + 1 = 9 taps (RECIPE: "kernel 9")."""

BLUR_SIGMAS = (0.1, 2.0)
"""Lowest and highest standard deviation, in pixels (RECIPE: "sigma .1..2")."""

SMALLEST_BLURRED_SIDE = KERNEL_RADIUS + 1
"""A mirrored border of `KERNEL_RADIUS` pixels needs at least one pixel more than that."""


def draw_blur_sigma(generator: np.random.Generator, sigmas: tuple[float, float] = BLUR_SIGMAS) -> float:
    """Draw the standard deviation of a blur, uniform over `sigmas`, in pixels."""
    return float(generator.uniform(*sigmas))


def gaussian_blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur an image.

    Written as sums of shifted images, first down, then across: faster on a CPU than a grouped convolution, and unlike a
    matrix product the same to the last bit for any number of threads.

    Args:
        image: (C, H, W), sides of at least five pixels.
        sigma: standard deviation, in pixels; the kernel is cut after four pixels and sums to one.

    Returns:
        (C, H, W).
    """
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(KERNEL_RADIUS + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    result = F.pad(image, (KERNEL_RADIUS,) * 4, mode="reflect")
    for axis in (-2, -1):
        padded, size = result, image.shape[axis]
        result = padded.narrow(axis, KERNEL_RADIUS, size) * (weights[0] / total)
        for offset, weight in enumerate(weights[1:], start=1):
            result.add_(padded.narrow(axis, KERNEL_RADIUS - offset, size), alpha=weight / total)
            result.add_(padded.narrow(axis, KERNEL_RADIUS + offset, size), alpha=weight / total)
    return result
