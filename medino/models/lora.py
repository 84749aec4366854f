"""Low-rank adapters: a frozen linear layer learns through two thin matrices beside it (Hu et al. 2021, 2106.09685)."""

import copy
import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import nn

from medino.core import InputError
from medino.models.vision_transformer import VisionTransformer

TARGETS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "mlp.w12", "mlp.w3")
"""The linear layers of a block, by their names in it; a network has fc1 and fc2, or w12 and w3."""

ADAPTER = "lora_"
"""What the names of an adapter's parameters begin with."""


class LoRALinear(nn.Linear):
    """A linear layer with weight W + alpha / rank * B A; W keeps its name, so that a file of weights still fits.

    B starts at zero: the layer does at first what it did without the adapter.

    Args:
        base: the layer; its parameters are taken over, not copied, and frozen.
        rank: rows of A and columns of B.
        alpha: the adapter's scale is alpha / rank, so that another rank needs no other learning rate.
        generator: draws A; the global generator if None.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, generator: torch.Generator | None = None) -> None:
        super().__init__(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                parameter.requires_grad_(False)
        self.scale = alpha / rank
        bound = 1 / math.sqrt(base.in_features)
        # Drawn on the CPU, so that a seed means the same weights on every device.
        drawn = torch.empty(rank, base.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_a = nn.Parameter(drawn.to(base.weight))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank).to(base.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        return super().forward(x) + self.adapter(x)

    def adapter(self, x: torch.Tensor) -> torch.Tensor:
        """What the adapter adds."""
        return self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)

    def base(self) -> nn.Linear:
        """The layer without its adapter; its parameters are this one's."""
        layer = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        layer.weight, layer.bias = self.weight, self.bias
        return layer

    def merged(self) -> nn.Linear:
        """One linear layer that computes the same."""
        layer = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        layer.weight = nn.Parameter((self.weight + self.scale * self.lora_b @ self.lora_a).detach())
        layer.bias = nn.Parameter(self.bias.detach().clone()) if self.bias is not None else None
        return layer


def add_lora(
    backbone: VisionTransformer,
    rank: int,
    alpha: float,
    targets: Iterable[str],
    blocks: Iterable[int] | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Give linear layers of a backbone adapters, in place.

    Args:
        backbone: only the layers that get an adapter are frozen here.
        rank: of the adapters.
        alpha: see `LoRALinear`.
        targets: names in `TARGETS`; those that the network's blocks don't have are passed over.
        blocks: numbers of the blocks; None: all.
        generator: draws the adapters.

    Raises:
        InputError: the rank is out of range, a target is unknown, or the network has none of them.
    """
    targets = list(targets)
    unknown = [name for name in targets if name not in TARGETS]
    if unknown or not targets:
        raise InputError(f"LoRA can't adapt {', '.join(unknown) or 'nothing'}; choose among {', '.join(TARGETS)}")
    if not 1 <= rank <= backbone.config.embed_dim:
        raise InputError(f"LoRA's rank is {rank}; give 1 to the token width {backbone.config.embed_dim}")
    adapted = 0
    for number in range(len(backbone.blocks)) if blocks is None else blocks:
        for name in targets:
            branch, _, layer = name.partition(".")
            module = getattr(backbone.blocks[number], branch)
            if isinstance(getattr(module, layer, None), nn.Linear):
                setattr(module, layer, LoRALinear(getattr(module, layer), rank, alpha, generator))
                adapted += 1
    if not adapted:
        raise InputError(f"the backbone '{backbone.config.name}' has none of the layers {', '.join(targets)}")


def merge_lora(backbone: VisionTransformer) -> VisionTransformer:
    """The same network without adapters: a copy in which each is added to its layer."""
    merged = copy.deepcopy(backbone)
    for module in list(merged.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, LoRALinear):
                setattr(module, name, layer.merged())
    return merged


def without_adapters(backbone: VisionTransformer) -> VisionTransformer:
    """The network as it was before `add_lora`, in place: adapters are taken off, layers keep their parameters."""
    for module in list(backbone.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, LoRALinear):
                setattr(module, name, layer.base())
    return backbone
