"""Gaussian blur: a separable kernel of nine, mirrored at the border."""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch

from medino.core import to_device
from medino.views import resample
from medino.views.resample import transposed, weighted_rows

KERNEL_RADIUS = 4
"""The kernel has 2 x 4 + 1 = 9 taps (RECIPE: "kernel 9")."""

BLUR_SIGMAS = (0.1, 2.0)
"""Lowest and highest standard deviation, in pixels (RECIPE: "sigma .1..2")."""

BAND = 16
"""Pixels that are blurred by one product, at least."""

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
    if resample.one_by_one(images.device):
        blurred = images.clone(memory_format=torch.contiguous_format)
        for image, sigma in zip(blurred.numpy(), sigmas, strict=True):
            blur_(image, sigma, np.empty_like(image))
        return blurred
    channels, height, width = images.shape[1:]
    kernels = to_device(torch.tensor([_kernel(sigma) for sigma in sigmas]), images.device)
    weights = {side: kernels[:, None].expand(-1, channels * side, -1).flatten(0, 1) for side in {height, width}}
    turned = transposed(_blurred_rows(images, weights[height]))
    return transposed(_blurred_rows(turned, weights[width]))


def blur_(image: np.ndarray, sigma: float, spare: np.ndarray, transpose: bool = False) -> None:
    """Blur an image (C, H, W) float32 on a CPU, in place.

    A blur is a product with a matrix that is zero but for a band: a few columns at a time, for which few rows are not
    zero, it takes less time than weighted sums and transposed images, and few calls.

    Args:
        image: sides of at least five pixels.
        sigma: standard deviation, in pixels.
        spare: memory, like the image.
        transpose: swap rows and columns of a square image as well, which costs nothing here.
    """
    height, width = image.shape[1:]
    kernel = _kernel(sigma)
    across = _bands(kernel, width)
    down = across if height == width else _bands(kernel, height)
    for places, inputs, band in across:
        np.matmul(image[:, :, inputs], band, out=spare[:, :, places])
    for places, inputs, band in down:
        if transpose:
            np.matmul(spare[:, inputs].swapaxes(1, 2), band, out=image[:, :, places])
        else:
            np.matmul(band.T, spare[:, inputs], out=image[:, places])


def _bands(kernel: Sequence[float], length: int) -> list[tuple[slice, slice, np.ndarray]]:
    """The blur along an axis, mirrored at its ends: places, what they are made from, and by which (inputs, places)."""
    parts = max(length // BAND, 1)
    edges = [length * part // parts for part in range(parts + 1)]
    whole = np.array((*kernel, 0), np.float32)[_taps(-(-length // parts))]
    bands = []
    for start, end in pairwise(edges):
        size = end - start
        band = whole[: size + 2 * KERNEL_RADIUS, :size]
        before, after = band[:KERNEL_RADIUS], band[-KERNEL_RADIUS:]
        first, last = max(start - KERNEL_RADIUS, 0), min(end + KERNEL_RADIUS, length)
        if start == 0 or end == length:
            band = band[first - start + KERNEL_RADIUS : last - start + KERNEL_RADIUS].copy()
        if start == 0:
            band[1 : KERNEL_RADIUS + 1] += before[::-1]
        if end == length:
            band[-KERNEL_RADIUS - 1 : -1] += after[::-1]
        bands.append((slice(start, end), slice(first, last), band))
    return bands


@lru_cache(maxsize=8)
def _taps(places: int) -> np.ndarray:
    """Which weight of the kernel each of some places has in each place of its neighbourhood, the tenth where none."""
    taps = np.arange(places + 2 * KERNEL_RADIUS)[:, None] - np.arange(places)
    return np.where((taps >= 0) & (taps <= 2 * KERNEL_RADIUS), taps, 2 * KERNEL_RADIUS + 1)


def _kernel(sigma: float) -> list[float]:
    """The nine weights."""
    side = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(1, KERNEL_RADIUS + 1)]
    total = 1 + 2 * sum(side)
    return [weight / total for weight in (*side[::-1], 1, *side)]


def _blurred_rows(images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Blur images (n, C, H, W) along the rows' axis by a kernel for each row (n * C * H, 9)."""
    index = _neighbours(images.shape[0] * images.shape[1], images.shape[2], images.device)
    return weighted_rows(images.flatten(0, 2), index, weights).view(images.shape)


def _neighbours(planes: int, height: int, device: torch.device) -> torch.Tensor:
    """For each row of each plane the nine rows around it, mirrored at the ends: (planes * height, 9) int32."""
    taps = torch.arange(-KERNEL_RADIUS, KERNEL_RADIUS + 1, device=device)
    rows = torch.arange(height, device=device)[:, None] + taps
    inside = (height - 1) - ((height - 1) - rows.abs()).abs()
    starts = torch.arange(planes, device=device) * height
    return (inside + starts[:, None, None]).flatten(0, 1).int()
