"""Hugging Face's layout (`Dinov2Model`, `Dinov2WithRegistersModel`), in the hub's names and in the library's.

The hub's files keep query, key and value apart under `attention.attention`; transformers 5 renames them to `q_proj` and
so on as it loads, and the layers of SwiGLU with them.
"""

import re
from collections.abc import Mapping

import torch

PREFIX = re.compile(r"^(dinov2|dinov2_with_registers|backbone|model)\.")
"""What stands before the names where the backbone is part of a larger model (a classifier)."""

_MARK = "embeddings.patch_embeddings.projection.weight"

_NAMES = (
    (r"embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.(cls_token|mask_token|register_tokens)", r"\1"),
    (r"encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"layernorm\.", "norm."),
)
_NAMES_IN_BLOCK = (
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.q_proj\.", ".attn.query."),
    (r"\.attention\.k_proj\.", ".attn.key."),
    (r"\.attention\.v_proj\.", ".attn.value."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1", r".ls\1.gamma"),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.(weights_out|down_proj)\.", ".mlp.w3."),
)
_JOINED = (("attn.qkv", ("attn.query", "attn.key", "attn.value")), ("mlp.w12", ("mlp.gate_proj", "mlp.up_proj")))
"""Layers that Meta's files hold as one, in this order of rows."""


def matches(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether a state dict has Hugging Face's names."""
    return any(PREFIX.sub("", key) == _MARK for key in state)


def in_metas_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights in Meta's names; a classifier's own layers are left out."""
    renamed = {_metas_name(PREFIX.sub("", key)): value for key, value in state.items() if not _of_classifier(key)}
    for whole, parts in _JOINED:
        for block in sorted({match[1] for match in (re.match(r"(blocks\.\d+)\.", key) for key in renamed) if match}):
            for kind in ("weight", "bias"):
                names = [f"{block}.{part}.{kind}" for part in parts]
                if all(name in renamed for name in names):
                    renamed[f"{block}.{whole}.{kind}"] = torch.cat([renamed.pop(name) for name in names])
    return renamed


def _of_classifier(key: str) -> bool:
    return PREFIX.sub("", key).startswith("classifier.")


def _metas_name(key: str) -> str:
    for pattern, name in _NAMES:
        key = re.sub(rf"^{pattern}", name, key)
    if key.startswith("blocks."):
        for pattern, name in _NAMES_IN_BLOCK:
            key = re.sub(pattern, name, key)
    return key


_HUB_NAMES = (
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^norm\.", "layernorm."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.w12\.", ".mlp.weights_in."),
    (r"\.mlp\.w3\.", ".mlp.weights_out."),
    (r"^blocks\.", "encoder.layer."),
)


def in_the_hubs_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights in Meta's names as the hub's files have them: the reverse of `in_metas_names`."""
    renamed = {}
    for key, value in state.items():
        name = key
        for pattern, theirs in _HUB_NAMES:
            name = re.sub(pattern, theirs, name)
        if ".attn.qkv." in name:
            for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[name.replace("attn.qkv", f"attention.attention.{part}")] = rows.contiguous()
        else:
            renamed[name] = value
    return renamed
