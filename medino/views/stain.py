"""Stains of histology: colour as the optical density of haematoxylin and eosin, jittered stain by stain.

Light that passes a stained section is absorbed exponentially (Beer-Lambert), so that stains add up in optical density,
not in RGB. Separation by the stains' colours: Ruifrok and Johnston, Anal Quant Cytol Histol 23 (2001) 291. Jitter of
the separated stains by a factor and a shift: Tellez et al., IEEE Trans Med Imaging 37 (2018) 2126.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from medino.core import to_device
from medino.views.photometry import LOG2_E, log_

HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)
"""Optical density of the two stains in red, green and blue (Ruifrok and Johnston), normalised below."""

DARKEST = 1 / 255
"""Intensities below one grey level of 8 bits are raised to it: the density of black is infinite."""

SCALE_REACH = 0.2
"""Each stain's amount is multiplied by a factor within 1 -+ this; chosen here, not a published value."""

SHIFT_REACH = 0.05
"""Each stain's amount is shifted by at most this, in natural optical density; a shift stains the empty slide too, so
that it stays small."""


def _stain_matrix() -> torch.Tensor:
    """(3, 3): a stain each row (haematoxylin, eosin, what is at right angles to both), length one."""
    two = np.array([HAEMATOXYLIN, EOSIN])
    two /= np.linalg.norm(two, axis=1, keepdims=True)
    residual = np.cross(*two)
    return torch.from_numpy(np.vstack([two, residual / np.linalg.norm(residual)]))


STAINS = _stain_matrix()
"""(3, 3) float64: optical density in red, green and blue (columns) of a unit of each stain (rows)."""

UNMIXING = torch.linalg.inv(STAINS)
"""(3, 3) float64: stains (columns) in a unit of optical density of red, green and blue (rows)."""

STEPS = torch.einsum("so,is->soi", STAINS, UNMIXING).flatten(1).numpy()
"""(3, 9): what a unit of each stain's factor adds to the product (3, 3) of `log_mixing`."""


class StainJitter(NamedTuple):
    """A factor and a shift for each of haematoxylin, eosin and residual."""

    scales: tuple[float, float, float]
    shifts: tuple[float, float, float]


def draw_stain_jitter(
    generator: np.random.Generator, scale_reach: float = SCALE_REACH, shift_reach: float = SHIFT_REACH
) -> StainJitter:
    """Draw factors uniform over 1 -+ scale_reach and shifts uniform over 0 -+ shift_reach, each stain on its own."""
    draws = generator.uniform(-1, 1, 6)
    scales, shifts = 1 + scale_reach * draws[:3], shift_reach * draws[3:]
    return StainJitter(
        (float(scales[0]), float(scales[1]), float(scales[2])), (float(shifts[0]), float(shifts[1]), float(shifts[2]))
    )


def separate_stains(image: torch.Tensor) -> torch.Tensor:
    """The amounts (3, H, W) of haematoxylin, eosin and residual in an image (3, H, W) in [0, 1]."""
    return _mix(UNMIXING, _density(image))


def merge_stains(amounts: torch.Tensor) -> torch.Tensor:
    """The image (3, H, W) in [0, 1] that amounts (3, H, W) of the three stains make."""
    return _mix(STAINS, amounts).neg_().exp_().clamp_(0, 1)


def jitter_stains(images: torch.Tensor, jitters: Sequence[StainJitter]) -> torch.Tensor:
    """Separate the stains of images (n, 3, H, W) in [0, 1], scale and shift each, and put them together again.

    `images` is used up.
    """
    mixing = to_device(torch.from_numpy(log_mixing(jitters)).to(images.dtype), images.device)
    logs = log_(images.clamp_min_(DARKEST)).flatten(2)
    return torch.baddbmm(mixing[..., 3:], mixing[..., :3], logs).view_as(images).exp2_().clamp_max_(1)


def log_mixing(jitters: Sequence[StainJitter], white: float = 1.0) -> np.ndarray:
    """A jitter's three steps, which are linear in optical density, as one product for each of n images.

    Args:
        jitters: n.
        white: what the images have where no light is absorbed.

    Returns:
        (n, 3, 4) float32, which make the base-2 logarithms of a result in which white is 1 of the natural ones of an
        image's red, green and blue, and of 1.
    """
    scales, shifts = np.array(jitters).swapaxes(0, 1)
    mixing = (scales @ STEPS).reshape(-1, 3, 3)
    # exp(-(mixing @ density + offset)), where the density is -log(image / white).
    offsets = (shifts @ STAINS.numpy())[..., None] + math.log(white) * mixing.sum(axis=2, keepdims=True)
    return (LOG2_E * np.concatenate((mixing, -offsets), axis=2)).astype(np.float32)


def _density(image: torch.Tensor) -> torch.Tensor:
    """Natural optical density of an image."""
    return image.clamp_min(DARKEST).log_().neg_()


def _mix(matrix: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    """Multiply the channel vector of each pixel, as a row, by a (3, 3) matrix."""
    return (matrix.T.to(channels.dtype) @ channels.flatten(1)).view_as(channels)
