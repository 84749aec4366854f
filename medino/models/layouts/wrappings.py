"""What published checkpoints wrap around a backbone's state dict: training state, prefixes, chunks of blocks."""

import re
from collections.abc import Mapping
from typing import Any

import torch

NETWORKS = ("teacher", "model", "state_dict")
"""Under which a training checkpoint holds the network that counts, the first that is there: of DINO's two networks
the teacher is the one that is evaluated."""

_PREFIX = re.compile(r"^(module\.|_fsdp_wrapped_module\.|backbone\.)+")
_HEADS = ("dino_head.", "ibot_head.", "head.")
_CHUNK = re.compile(r"^blocks\.(\d+)\.(\d+)\.")


def unwrapped(content: Mapping[Any, Any]) -> dict[Any, Any]:
    """The backbone's entries of a checkpoint: Meta's DINO and DINOv2 ones, with or without optimiser and heads.

    Returns:
        Values by their bare names. They are tensors, unless the file holds something else than a network.
    """
    for name in NETWORKS:
        inner = content.get(name)
        if isinstance(inner, Mapping) and any(isinstance(value, torch.Tensor) for value in inner.values()):
            content = inner
            break
    bare = {_PREFIX.sub("", key) if isinstance(key, str) else key: value for key, value in content.items()}
    if "cls_token" in bare:
        bare = {key: value for key, value in bare.items() if not str(key).startswith(_HEADS)}
    return _without_chunks(bare)


def _without_chunks(state: dict[Any, Any]) -> dict[Any, Any]:
    """FSDP trains blocks in chunks, `blocks.CHUNK.BLOCK.`; a block's number counts through all chunks."""
    if not any(isinstance(key, str) and _CHUNK.match(key) for key in state):
        return state
    return {_CHUNK.sub(r"blocks.\2.", key) if isinstance(key, str) else key: value for key, value in state.items()}
