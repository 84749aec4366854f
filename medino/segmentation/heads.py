"""From patch tokens to class scores: a linear head, a small one that looks at four layers, and a UNETR-style decoder.

All normalise the tokens of the backbone (BatchNorm) and drop whole channels in training, as the linear evaluation of
DINOv2 does (Oquab et al. 2023, section 7.4). Dropout is drawn outside and passed in as a factor for each channel, so
that it comes from an addressed generator.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from monai.networks.blocks import UnetrBasicBlock, UnetrPrUpBlock, UnetrUpBlock
from torch import nn

from medino.core import InputError

HeadName = Literal["linear", "multilayer", "unetr"]

LAYERS_OF_HEAD: dict[HeadName, int] = {"linear": 1, "multilayer": 4, "unetr": 4}
"""How many blocks a head looks at, where nothing else is said: the last ones, or for "unetr" evenly spaced ones."""

HIDDEN_DIM = 64
"""Channels inside the multi-layer head."""

UNETR_WIDTHS = (128, 64, 32, 16)
"""Channels of the UNETR-style decoder from coarse to fine (feature_size 16 of Hatamizadeh et al. 2021)."""


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

    def forward(
        self,
        maps: torch.Tensor,
        channel_factors: torch.Tensor | None = None,
        images: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Scores on the patch grid.

        Args:
            maps: (B, D, h, w) tokens of all layers.
            channel_factors: (B, D) dropout: 0 or 1 / (1 - rate) for each channel; None drops nothing.
            images: not looked at.

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

    def forward(
        self,
        maps: torch.Tensor,
        channel_factors: torch.Tensor | None = None,
        images: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Scores on a grid four times as fine as the patches; arguments as `LinearHead.forward`.

        Returns:
            (B, C, 4h, 4w) logits.
        """
        x = F.gelu(self.mix(drop_channels(self.norm(maps), channel_factors)))
        for convolution in self.refine:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = F.gelu(convolution(x))
        return self.classify(x)


class UnetrHead(nn.Module):
    """A UNETR-style decoder over four layers and the image (Hatamizadeh et al. 2021, 2103.10504), of MONAI's blocks.

    The deepest layer is upsampled step by step; after each step a shallower layer, brought to that grid, is joined, and
    after the last one the image. The steps double the grid as often as brings it nearest to the image's pixels, four
    times at most: 3 times for patches of 8, 4 times for 14 and 16. Where the grid then is not the image's (patches of
    14: 16 / 14 as fine), the image is resized to it (bilinear). Departs from the paper in its two dimensions, the
    BatchNorm on the tokens, and the number of doublings.

    Args:
        in_dim: channels of all four layers together.
        classes: number of classes C.
        patch_size: of the backbone, pixels.
    """

    def __init__(self, in_dim: int, classes: int, patch_size: int) -> None:
        super().__init__()
        dim, doublings = in_dim // 4, min(round(math.log2(patch_size)), len(UNETR_WIDTHS))
        self.fineness = 2**doublings
        self.norm = nn.BatchNorm2d(in_dim)
        steps = [2 if step < doublings else 1 for step in range(len(UNETR_WIDTHS))]
        common: dict[str, Any] = {"kernel_size": 3, "norm_name": "instance", "res_block": True}
        *of_tokens, of_image = UNETR_WIDTHS
        self.join_tokens = nn.ModuleList(
            UnetrPrUpBlock(
                2,
                dim,
                width,
                num_layer=max(min(step, doublings) - 1, 0),
                stride=1,
                upsample_kernel_size=2 if doublings else 1,
                conv_block=True,
                **common,
            )
            for step, width in enumerate(of_tokens, start=1)
        )
        self.join_image = UnetrBasicBlock(2, 3, of_image, stride=1, **common)
        self.up = nn.ModuleList(
            UnetrUpBlock(2, before, width, upsample_kernel_size=factor, **common)
            for before, width, factor in zip((dim, *of_tokens), UNETR_WIDTHS, steps, strict=True)
        )
        self.classify = nn.Conv2d(of_image, classes, kernel_size=1)

    def forward(
        self,
        maps: torch.Tensor,
        channel_factors: torch.Tensor | None = None,
        images: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Scores on a grid 2^doublings times as fine as the patches.

        Args:
            maps: (B, 4 D, h, w) tokens of four layers, shallow ones first.
            channel_factors: as `LinearHead.forward`.
            images: (B, 3, H, W).

        Raises:
            InputError: the images are not given.
        """
        if images is None:
            raise InputError("the head 'unetr' looks at the images, too: token maps alone are not enough")
        *shallow, x = drop_channels(self.norm(maps), channel_factors).chunk(4, dim=1)
        for up, join, tokens in zip(self.up[:-1], self.join_tokens, reversed(shallow), strict=True):
            x = up(x, join(tokens))
        grid = [side * self.fineness for side in maps.shape[-2:]]
        resized = F.interpolate(images, size=grid, mode="bilinear", align_corners=False, antialias=True)
        return self.classify(self.up[-1](x, self.join_image(resized)))


Head = LinearHead | MultiLayerHead | UnetrHead


def build_head(name: HeadName, in_dim: int, classes: int, seed: int, patch_size: int = 16) -> Head:
    """Make a head whose initial weights depend on `seed` alone; only "unetr" asks for the patch size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "unetr":
            return UnetrHead(in_dim, classes, patch_size)
        return LinearHead(in_dim, classes) if name == "linear" else MultiLayerHead(in_dim, classes)


def layers_of_head(name: HeadName, layers: list[int] | None, depth: int) -> int | list[int]:
    """The blocks that a head looks at, counted from 0; or how many of the last ones.

    Args:
        name: of the head.
        layers: those asked for; None leaves it to the head.
        depth: blocks of the backbone.

    Raises:
        InputError: a head that takes four layers is given others.
    """
    if name != "unetr":
        return LAYERS_OF_HEAD[name] if layers is None else layers
    # Of 12 blocks the third, sixth, ninth and twelfth, as in the paper.
    chosen = [depth * quarter // 4 - 1 for quarter in range(1, 5)] if layers is None else layers
    if len(set(chosen)) != LAYERS_OF_HEAD[name] or min(chosen) < 0:
        raise InputError(f"the head 'unetr' takes four layers, not {layers or chosen}; name four blocks in `layers`")
    return chosen


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
