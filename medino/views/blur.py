"""Gaussian blur: a separable kernel of nine, mirrored at the border."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch

from medino.views.resample import transposed, weighted_rows

KERNEL_RADIUS = 4
"""The kernel has 2 x 4 + 1 = 9 taps (RECIPE: "kernel 9")."""

BLUR_SIGMAS = (0.1, 2.0)
"""Lowest and highest standard deviation, in pixels (RECIPE: "sigma .1..2")."""

OFFSETS = tuple(range(-KERNEL_RADIUS, KERNEL_RADIUS + 1))
"""Where the taps lie, in pixels from the middle."""

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
    channels = images.shape[1]
    planes = images.clone().flatten(0, 1)
    blur_planes_(planes, {place: sigmas[place // channels] for place in range(len(planes))})
    return planes.view_as(images)


def blur_planes_(planes: torch.Tensor, sigmas: Mapping[int, float]) -> None:
    """Blur some of the planes (P, H, W) in place.

    Args:
        planes: contiguous float32.
        sigmas: standard deviations, in pixels, by the places of the planes that are blurred.
    """
    if not sigmas:
        return
    _, height, width = planes.shape
    places, device = list(sigmas), planes.device
    different = {sigma: _kernel(sigma) for sigma in set(sigmas.values())}
    # By way of NumPy, which reads lists faster.
    kernels = torch.from_numpy(np.array([different[sigma] for sigma in sigmas.values()], np.float32)).to(device)
    down = _blurred_rows(planes, torch.tensor(places, dtype=torch.int32, device=device), kernels)
    turned = transposed(down.view(-1, height, width))
    everywhere = torch.arange(len(places), dtype=torch.int32, device=device)
    across = _blurred_rows(turned, everywhere, kernels).view(-1, width, height)
    if device.type == "cpu":
        results, turned_back = planes.numpy(), across.numpy().swapaxes(1, 2)
        start = 0
        for end in range(1, len(places) + 1):
            # Planes that lie one after the other, as those of a view do, in one call.
            if end == len(places) or places[end] != places[end - 1] + 1:
                np.copyto(results[places[start] : places[end - 1] + 1], turned_back[start:end])
                start = end
    else:
        planes.index_copy_(0, torch.tensor(places, device=device), across.mT)


def _kernel(sigma: float) -> list[float]:
    """The nine weights."""
    side = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(1, KERNEL_RADIUS + 1)]
    total = 1 + 2 * sum(side)
    return [weight / total for weight in (*side[::-1], 1, *side)]


def _blurred_rows(planes: torch.Tensor, places: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Blur some planes (P, H, W) along the rows' axis, each by its kernel (R, 9): (R * H, W)."""
    height = planes.shape[1]
    index = _neighbours(height, planes.device) + (places * height)[:, None, None]
    weights = kernels[:, None].expand(-1, height, -1)
    return weighted_rows(planes.flatten(0, 1), index.flatten(0, 1), weights.reshape(-1, kernels.shape[1]))


@lru_cache(maxsize=32)
def _neighbours(height: int, device: torch.device) -> torch.Tensor:
    """For each row of a plane the nine rows around it, mirrored at the ends: (height, 9) int32."""
    rows = torch.arange(height)[:, None] + torch.tensor(OFFSETS)
    inside = (height - 1) - ((height - 1) - rows.abs()).abs()
    return inside.to(device, torch.int32)
