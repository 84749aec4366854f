"""A published backbone's settings, inferred from the names and shapes of its weights."""

import math
import re
from pathlib import Path

from medino.core import InputError
from medino.models.config import BackboneConfig
from medino.models.layouts import Published, resizing

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1536: 24}
"""Attention heads of the published networks by token width (1280: Virchow2's ViT-H); the weights' shapes don't say."""

HEAD_DIM = 64
"""Width of one head in all of them, taken for other token widths."""


def config_from_weights(weights: Published, path: Path) -> BackboneConfig:
    """The settings of the network that published weights belong to.

    The position embedding is resized as the family does it. Networks without LayerScale drop paths as DINO v1 does.

    Raises:
        InputError: these are not a vision transformer's weights.
    """
    state = weights.state
    for key, dimensions in (("pos_embed", 3), ("patch_embed.proj.weight", 4), ("blocks.0.norm1.weight", 1)):
        if key not in state or state[key].ndim != dimensions:
            problem = "is missing" if key not in state else f"has shape {tuple(state[key].shape)}"
            raise InputError(
                f"{path} does not hold a vision transformer of the DINO family: '{key}' {problem} "
                f"(found {', '.join(sorted(state)[:3])}, ...); give weights in the layout of Meta, Hugging Face or timm"
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
    narrow = state.get("blocks.0.mlp.w3.weight" if gated else "blocks.0.mlp.fc2.weight")
    depth, num_heads = max(numbers) + 1, HEADS.get(embed_dim, max(embed_dim // HEAD_DIM, 1))
    config = BackboneConfig(
        # Not the file's name: a run keeps this one, and a file's can be a person's.
        name=f"{embed_dim}x{depth}x{num_heads}",
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        patch_size=patch_size,
        image_size=side * patch_size,
        num_register_tokens=registers,
        ffn_layer="swiglufused" if gated else "mlp",
        layerscale_init=1e-5 if "blocks.0.ls1.gamma" in state else None,
        mask_token="mask_token" in state,
        drop_path="batch_subset" if "blocks.0.ls1.gamma" in state else "per_sample",
        **resizing(weights.family, registers),
    )
    hidden = config.ffn_width if narrow is None else narrow.shape[-1]
    if hidden != config.ffn_width:
        config = config.replace(ffn_hidden_dim=hidden)
    return config.replace(**weights.settings)
