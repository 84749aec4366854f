"""The backbone as a source of token maps with low-rank adapters that learn beside it."""

from collections.abc import Sequence

import torch
from torch import nn

from medino.features import patch_tokens
from medino.models import VisionTransformer, add_lora, merge_lora
from medino.segmentation.frozen import FrozenFeatures
from medino.ssl import LoRA

ADAPTERS = LoRA()
"""Scale and places of the adapters: those that pretraining uses."""


class AdaptedFeatures(FrozenFeatures):
    """Images to the patch tokens of some layers, by a frozen backbone and adapters (Hu et al. 2021, 2106.09685).

    No drop path is drawn, as without adapters. Nothing is kept from step to step, since the maps change.

    Args:
        backbone: the network; its blocks up to the last one looked at get adapters, in place.
        layers: as of `FrozenFeatures`.
        rank: of the adapters.
        generator: draws them.

    Raises:
        InputError: the backbone has no such block, or the rank is out of range.
    """

    def __init__(
        self, backbone: VisionTransformer, layers: int | Sequence[int], rank: int, generator: torch.Generator
    ) -> None:
        super().__init__(backbone, layers, cache_mb=0)
        blocks = range(self.layers[-1] + 1)
        add_lora(self.backbone, rank, ADAPTERS.alpha, ADAPTERS.targets, blocks, generator)
        # In a tuple, so that it is no part of the module: neither saved nor moved nor optimised.
        self._merged: tuple[VisionTransformer, ...] = ()

    def adapters(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return [parameter for parameter in self.backbone.parameters() if parameter.requires_grad]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Token maps (B, channels, h, w) of images (B, 3, H, W); gradients flow to the adapters."""
        (backbone,) = self._merged or (self.backbone,)
        return patch_tokens(backbone, images, self.layers).permute(0, 3, 1, 2).contiguous()

    def merge(self) -> None:
        """From here on compute with a copy in which the adapters are added to their layers: the same, sooner."""
        self._merged = (merge_lora(self.backbone),)

    def part(self) -> None:
        """Compute with the adapters again."""
        self._merged = ()
