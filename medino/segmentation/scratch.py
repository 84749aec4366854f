"""A small U-Net trained from scratch on a few masks: what the labels are worth without any features.

MONAI's residual U-Net (Kerfoot et al. 2019) with four levels. Nothing of it is chosen on the images that are reported
on: network, rate and steps are fixed beforehand.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from monai.networks.nets import UNet
from torch import nn

from medino.core import derive_seed
from medino.features import VARIANTS
from medino.segmentation.fitting import Training, fit

CHANNELS = (16, 32, 64, 128)
"""Of the four levels, each half as fine as the one before: 0.4 M weights."""

DIVISOR = 2 ** (len(CHANNELS) - 1)
"""The side of an image must be a multiple of this, pixels."""

UNET_TRAINING = Training(steps=300, batch_size=8, learning_rate=1e-3, weight_decay=1e-2)

AT_ONCE = 32
"""Images that pass through the network together when masks are predicted."""


def small_unet(classes: int, seed: int) -> nn.Module:
    """The network, its initial weights from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "unet"))
        return UNet(
            spatial_dims=2,
            in_channels=3,
            out_channels=classes,
            channels=CHANNELS,
            strides=(2,) * (len(CHANNELS) - 1),
            num_res_units=2,
        )


def train_unet(
    images: torch.Tensor, masks: torch.Tensor, classes: int, variants: Sequence[str], training: Training, seed: int
) -> nn.Module:
    """Train it on (N, 3, S, S) images and their masks (N, S, S) of indices, mirrored and turned by `variants`."""
    network = small_unet(classes, seed)

    def example(step: int, places: np.ndarray, shown: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        ways = [VARIANTS[variants[variant]] for variant in shown]
        batch = torch.stack([way(images[place]) for way, place in zip(ways, places, strict=True)])
        truth = torch.stack([way(masks[place]) for way, place in zip(ways, places, strict=True)])
        return network(batch), F.one_hot(truth.long(), classes).permute(0, 3, 1, 2).float()

    return fit(network, example, training, len(images), len(variants), seed)


@torch.inference_mode()
def unet_masks(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """(N, S, S) uint8 indices of classes, of images (N, 3, S, S)."""
    return torch.cat([network(part).argmax(dim=1).to(torch.uint8) for part in images.split(AT_ONCE)])
