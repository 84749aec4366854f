"""timm's layout of DINOv2-like networks: UNI, Virchow2, H-optimus, Prov-GigaPath and timm's own DINOv2 files."""

import math
import re
from collections.abc import Mapping

import torch


def matches(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether a state dict is timm's: registers under its name, or LayerScale without a mask token."""
    return "reg_token" in state or ("blocks.0.ls1.gamma" in state and "mask_token" not in state)


def in_metas_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights in Meta's names.

    Where the position embedding covers the patches alone, the class token's share of it is in the class token
    already: zeros are put in its place. Where it covers the registers too, which Meta's does not, their share is added
    to them. A packed SwiGLU holds gate and value in one layer, in Meta's order.
    """
    renamed = {_metas_name(key, state): value for key, value in state.items() if not key.startswith("head.")}
    positions = renamed.get("pos_embed")
    if "reg_token" in state and positions is not None and positions.ndim == 3:
        if math.isqrt(positions.shape[1]) ** 2 == positions.shape[1]:
            share, patches = torch.zeros_like(positions[:, :1]), positions
        else:
            registers = state["reg_token"].shape[1]
            share, own, patches = positions.split([1, registers, positions.shape[1] - 1 - registers], dim=1)
            renamed["register_tokens"] = renamed["register_tokens"] + own
        renamed["pos_embed"] = torch.cat([share, patches], dim=1)
    return renamed


def _metas_name(key: str, state: Mapping[str, torch.Tensor]) -> str:
    if key == "reg_token":
        return "register_tokens"
    match = re.fullmatch(r"(blocks\.\d+\.mlp)\.(fc1|fc2)\.(weight|bias)", key)
    if match and _packed(state, match[1]):
        return f"{match[1]}.{'w12' if match[2] == 'fc1' else 'w3'}.{match[3]}"
    return key


def _packed(state: Mapping[str, torch.Tensor], mlp: str) -> bool:
    """Whether the first layer is twice as wide as the second takes: a gate beside the value."""
    first, second = state.get(f"{mlp}.fc1.weight"), state.get(f"{mlp}.fc2.weight")
    return first is not None and second is not None and first.shape[0] == 2 * second.shape[-1]


def in_timms_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights in Meta's names as timm writes them: the reverse of `in_metas_names`, without the mask token."""
    renamed = {}
    for key, value in state.items():
        name = re.sub(r"\.mlp\.w12\.", ".mlp.fc1.", re.sub(r"\.mlp\.w3\.", ".mlp.fc2.", key))
        renamed["reg_token" if name == "register_tokens" else name] = value
    renamed.pop("mask_token", None)
    if "reg_token" in renamed:
        positions = renamed["pos_embed"]
        renamed["cls_token"] = renamed["cls_token"] + positions[:, :1]
        renamed["pos_embed"] = positions[:, 1:].contiguous()
    return renamed
