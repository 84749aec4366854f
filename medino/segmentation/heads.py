"""From patch tokens to class scores: a linear head, and a small one that looks at four layers.

Both normalise the tokens of the frozen backbone (BatchNorm), drop whole channels in training, and map them by 1x1
convolutions, as the linear evaluation of DINOv2 does (Oquab et al. 2023, section 7.4). Dropout is drawn outside and
passed in as a factor for each channel, so that it comes from an addressed generator.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

HeadName = Literal["linear", "multilayer"]

LAYERS_OF_HEAD: dict[HeadName, int] = {"linear": 1, "multilayer": 4}
"""How many of the last blocks a head looks at, where nothing else is said."""

HIDDEN_DIM = 64
"""Channels inside the multi-layer head."""


class LinearHead(nn.Module):
    """BatchNorm and a 1x1 convolution.

    Args:
        in_dim: channels of all layers together.
        classes: number of classes C.
    """

    def __init__(self, in_dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_dim)
        self.classify = nn.Conv2d(in_dim, classes, kernel_size=1)
        nn.init.normal_(self.classify.weight, std=0.01)
        self.classify.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, maps: torch.Tensor, channel_factors: torch.Tensor | None = None) -> torch.Tensor:
        """Scores on the patch grid.

        Args:
            maps: (B, D, h, w) tokens of all layers.
            channel_factors: (B, D) dropout: 0 or 1 / (1 - rate) for each channel; None drops nothing.

        Returns:
            (B, C, h, w) logits.
        """
        return self.classify(drop_channels(self.norm(maps), channel_factors))


class MultiLayerHead(nn.Module):
    """BatchNorm, a 1x1 convolution that mixes the layers, and two 3x3 convolutions on a grid four times as fine.

    Args:
        in_dim: channels of all layers together.
        classes: number of classes C.
    """

    def __init__(self, in_dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_dim)
        self.mix = nn.Conv2d(in_dim, HIDDEN_DIM, kernel_size=1)
        self.refine = nn.ModuleList(nn.Conv2d(HIDDEN_DIM, HIDDEN_DIM, kernel_size=3, padding=1) for _ in range(2))
        self.classify = nn.Conv2d(HIDDEN_DIM, classes, kernel_size=1)

    def forward(self, maps: torch.Tensor, channel_factors: torch.Tensor | None = None) -> torch.Tensor:
        """Scores on a grid four times as fine as the patches; arguments as `LinearHead.forward`.

        Returns:
            (B, C, 4h, 4w) logits.
        """
        x = F.gelu(self.mix(drop_channels(self.norm(maps), channel_factors)))
        for convolution in self.refine:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = F.gelu(convolution(x))
        return self.classify(x)


def build_head(name: HeadName, in_dim: int, classes: int, seed: int) -> LinearHead | MultiLayerHead:
    """Make a head whose initial weights depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LinearHead(in_dim, classes) if name == "linear" else MultiLayerHead(in_dim, classes)


def drop_channels(maps: torch.Tensor, channel_factors: torch.Tensor | None) -> torch.Tensor:
    """Multiply each channel of (B, D, h, w) by its factor (B, D)."""
    return maps if channel_factors is None else maps * channel_factors[:, :, None, None]


def draw_channel_factors(channels: int, rate: float, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """Dropout of whole channels, one generator an image.

    Args:
        channels: number of channels D.
        rate: probability that a channel is dropped.
        generators: B generators on the CPU.

    Returns:
        (B, D) float32 on the CPU: 0 for a dropped channel, 1 / (1 - rate) for the others.
    """
    kept = [torch.rand(channels, generator=generator) >= rate for generator in generators]
    return torch.stack(kept).float() / (1 - rate)
