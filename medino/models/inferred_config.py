"""A published backbone's settings, inferred from the names and shapes of its weights."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from medino.core import InputError
from medino.models.config import BackboneConfig

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1536: 24}
"""Attention heads of the published networks by token width; the weights' shapes don't say."""

HEAD_DIM = 64
"""Width of one head in all of them, taken for other token widths."""


def config_from_weights(state: Mapping[str, torch.Tensor], path: Path) -> BackboneConfig:
    """The settings of the network that a bare state dict in Meta's names belongs to.

    Networks with registers resize their position embedding by size and antialiased, those without by scale factor with
    offset 0.1: so they were trained by Meta. Networks without a mask token are taken for DINO v1.

    Raises:
        InputError: these are not a vision transformer's weights.
    """
    for key, dimensions in (("pos_embed", 3), ("patch_embed.proj.weight", 4), ("blocks.0.norm1.weight", 1)):
        if key not in state or state[key].ndim != dimensions:
            problem = "is missing" if key not in state else f"has shape {tuple(state[key].shape)}"
            raise InputError(
                f"{path} does not hold a vision transformer in Meta's parameter names: '{key}' {problem} "
                f"(found {', '.join(sorted(state)[:3])}, ...); give the backbone's bare state dict"
            )
    positions, embed_dim = state["pos_embed"].shape[1:]
    side = math.isqrt(max(positions - 1, 0))
    if side < 1 or side * side + 1 != positions:
        raise InputError(
            f"{path} has a position embedding for {positions} tokens, which is not the class token and a square grid; "
            "give weights of a square grid"
        )
    patch_size = state["patch_embed.proj.weight"].shape[-1]
    numbers = [int(match[1]) for match in (re.match(r"blocks\.(\d+)\.", key) for key in state) if match]
    registers = state["register_tokens"].shape[1] if "register_tokens" in state else 0
    gated = "blocks.0.mlp.w12.weight" in state
    hidden = state.get("blocks.0.mlp.fc1.weight")
    depth, num_heads = max(numbers) + 1, HEADS.get(embed_dim, max(embed_dim // HEAD_DIM, 1))
    return BackboneConfig(
        # Not the file's name: a run keeps this one, and a file's can be a person's.
        name=f"{embed_dim}x{depth}x{num_heads}",
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        patch_size=patch_size,
        image_size=side * patch_size,
        num_register_tokens=registers,
        ffn_layer="swiglufused" if gated else "mlp",
        mlp_ratio=4.0 if hidden is None else hidden.shape[0] / embed_dim,
        layerscale_init=1e-5 if "blocks.0.ls1.gamma" in state else None,
        mask_token="mask_token" in state,
        drop_path="batch_subset" if "mask_token" in state else "per_sample",
        interpolate_offset=0.0 if registers else 0.1,
        interpolate_antialias=bool(registers),
    )
