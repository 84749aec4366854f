"""Heads that a training starts with, where some were published: their file, and the settings that come with them."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medino.core import InputError, RunFolder
from medino.models import PublishedHeads, find_heads, read_heads
from medino.ssl.checkpointing import latest_checkpoint

WIDTHS = (
    "prototypes",
    "head_bottleneck_dim",
    "head_layers",
    "head_hidden_dim",
    "separate_ibot_head",
    "ibot_prototypes",
    "ibot_bottleneck_dim",
)
"""The settings of `DINOv2` that come with published heads."""


def starting_heads(heads: str) -> PublishedHeads:
    """The heads of a file, of a name of known weights, or of a run's last checkpoint.

    Raises:
        InputError: they are missing, can't be read, or are of another kind.
    """
    path: Path | None = find_heads(heads)
    assert path is not None
    if path.is_dir():
        path = latest_checkpoint(RunFolder(path))
        if path is None:
            raise InputError(f"the folder {heads} holds no checkpoint of a run to take heads from; give a file")
    return read_heads(path)


def check_width(heads: PublishedHeads, embed_dim: int) -> None:
    """Refuse heads for tokens of another width than a backbone's.

    Raises:
        InputError: they are.
    """
    for name, head in (("DINO", heads.dino), ("iBOT", heads.ibot)):
        if head is not None and head.in_dim != embed_dim:
            raise InputError(
                f"the {name} head given takes tokens of width {head.in_dim}, and the backbone's have {embed_dim}; give "
                "the heads that were published with these weights"
            )


def head_settings(heads: PublishedHeads, asked: Mapping[str, Any], constructor: Callable[..., Any]) -> dict[str, Any]:
    """The settings of `DINOv2` that published heads bring along.

    Args:
        heads: the heads.
        asked: the hyperparameters as they were given.
        constructor: `DINOv2`, whose defaults count as not asked for.

    Raises:
        InputError: another width was asked for.
    """
    dino, ibot = heads.dino, heads.ibot
    found: dict[str, Any] = {
        "prototypes": dino.prototypes,
        "head_bottleneck_dim": dino.bottleneck_dim,
        "head_layers": dino.layers,
    }
    if dino.hidden_dim is not None:
        found["head_hidden_dim"] = dino.hidden_dim
    if ibot is not None and asked["objective"] == "dinov2":
        if (ibot.layers, ibot.hidden_dim) != (dino.layers, dino.hidden_dim):
            raise InputError("the DINO and the iBOT head given have another number of layers or another width inside")
        found |= {
            "separate_ibot_head": True,
            "ibot_prototypes": ibot.prototypes,
            "ibot_bottleneck_dim": ibot.bottleneck_dim,
        }
    defaults = inspect.signature(constructor).parameters
    for name, value in found.items():
        if asked[name] not in (value, defaults[name].default):
            raise InputError(f"{name} is {asked[name]}, and the heads given have {value}; leave {name} out")
    return found
