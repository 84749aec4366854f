"""Whose names a state dict is written in, and how that family resizes the position embedding."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from medino.models.layouts import hugging_face, timm

Family = Literal["meta", "hf", "timm"]
"""Meta's own files, Hugging Face's Dinov2 classes, and timm."""

Interpolation = Literal["meta", "hf", "timm"]

INTERPOLATIONS: tuple[Interpolation, ...] = ("meta", "hf", "timm")
"""Ways to resize the position embedding away from its native grid, by the code that does it."""


@dataclass(frozen=True)
class Published:
    """A published backbone.

    Attributes:
        family: whose layout it came in.
        state: its weights in Meta's names.
        settings: settings of `BackboneConfig` that the file tells, and that shapes don't.
    """

    family: Family
    state: dict[str, torch.Tensor]
    settings: dict[str, Any] = field(default_factory=dict)


def published(state: Mapping[str, torch.Tensor]) -> Published:
    """Find out whose layout a state dict has, and bring it into Meta's.

    timm writes networks without registers in Meta's names, but for the mask token, which it leaves out; networks
    with neither mask token nor LayerScale are DINO v1, where timm's and Meta's files are the same.
    """
    if hugging_face.matches(state):
        return Published("hf", hugging_face.in_metas_names(state))
    if timm.matches(state):
        return Published("timm", timm.in_metas_names(state))
    return Published("meta", dict(state))


def resizing(interpolation: Interpolation, registers: int) -> dict[str, Any]:
    """The settings of `BackboneConfig` for a way to resize the position embedding.

    Meta trained networks without registers with a scale factor from the grid plus 0.1 and no antialias, those with
    registers by size and antialiased (dinov2's configurations). Hugging Face resizes by size, antialiased in
    `Dinov2WithRegisters` alone; timm always by size and antialiased.

    Args:
        interpolation: whose way.
        registers: how many register tokens the network has.
    """
    if interpolation == "meta":
        return {"interpolate_offset": 0.0 if registers else 0.1, "interpolate_antialias": bool(registers)}
    return {"interpolate_offset": 0.0, "interpolate_antialias": interpolation == "timm" or bool(registers)}
