"""Which parameter learns how fast and decays how much, and how gradients are clipped."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.distributed.tensor import DTensor

Objective = Literal["dinov2", "dino"]
"""DINOv2's objective, or DINO v1's; the two differ in their rules for decay and clipping, too."""


@dataclass(frozen=True)
class ParameterRule:
    """What holds for one parameter.

    Attributes:
        name: its name in the network, such as `backbone.blocks.0.attn.qkv.weight`.
        lr_multiplier: times the learning rate of the step.
        wd_multiplier: times the weight decay of the step; 0 or 1.
        is_last_layer: whether it belongs to a head's prototypes, which are held at first.
        in_backbone: whether it belongs to the backbone and not to what learns with the heads, as the mask token does.
    """

    name: str
    lr_multiplier: float
    wd_multiplier: float
    is_last_layer: bool
    in_backbone: bool


def parameter_rules(
    network: nn.Module,
    depth: int,
    objective: Objective = "dinov2",
    layer_decay: float = 0.9,
    patch_embed_multiplier: float = 0.2,
) -> list[ParameterRule]:
    """The rule of each trained parameter, in the network's order.

    Args:
        network: student network with a `backbone` and heads.
        depth: number of the backbone's blocks.
        objective: "dinov2" leaves biases, norms and LayerScale out of weight decay; "dino" biases and all that is 1-D.
        layer_decay: the learning rate of block i is multiplied by `layer_decay ** (depth - i)`.
        patch_embed_multiplier: times the learning rate of the patch embedding, besides.
    """
    rules = []
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        multiplier = 1.0
        if name.startswith("backbone."):
            multiplier = layer_decay ** (depth + 1 - layer_id(name, depth))
        if "patch_embed" in name:
            multiplier *= patch_embed_multiplier
        rules.append(
            ParameterRule(
                name=name,
                lr_multiplier=multiplier,
                wd_multiplier=1.0 if _is_decayed(name, parameter, objective) else 0.0,
                is_last_layer="last_layer" in name,
                in_backbone=is_in_backbone(name),
            )
        )
    return rules


def is_in_backbone(name: str) -> bool:
    """Whether a network's parameter belongs to its backbone; the mask token, which learns with the heads, does not."""
    return name.startswith("backbone.") and not name.endswith("mask_token")


def layer_id(name: str, depth: int) -> int:
    """Depth of a backbone's parameter: embeddings and tokens 0, block i i + 1, the final norm depth + 1."""
    if block := re.search(r"\bblocks\.(\d+)\.", name):
        return int(block.group(1)) + 1
    embedding = ("cls_token", "pos_embed", "mask_token", "register_tokens", "patch_embed")
    return 0 if any(part in name for part in embedding) else depth + 1


def _is_decayed(name: str, parameter: nn.Parameter, objective: Objective) -> bool:
    if objective == "dino":
        return not name.endswith(".bias") and parameter.ndim > 1
    return not (name.endswith(".bias") or "norm" in name or "gamma" in name)


def optimizer_groups(network: nn.Module, rules: Iterable[ParameterRule]) -> list[dict[str, Any]]:
    """AdamW's parameter groups: parameters with equal multipliers share one, which is faster than one for each."""
    parameters = dict(network.named_parameters())
    groups: dict[tuple[float, float, bool, bool], dict[str, Any]] = {}
    for rule in rules:
        key = (rule.lr_multiplier, rule.wd_multiplier, rule.is_last_layer, rule.in_backbone)
        group = groups.setdefault(
            key,
            {
                "params": [],
                "lr_multiplier": rule.lr_multiplier,
                "wd_multiplier": rule.wd_multiplier,
                "is_last_layer": rule.is_last_layer,
                "in_backbone": rule.in_backbone,
            },
        )
        group["params"].append(parameters[rule.name])
    return list(groups.values())


def set_step_settings(
    optimizer: torch.optim.Optimizer,
    learning_rate: float,
    last_layer_learning_rate: float,
    weight_decay: float,
    backbone_multiplier: float = 1.0,
) -> None:
    """Give each of `optimizer_groups`' groups the step's learning rate and weight decay, times its multipliers.

    Args:
        optimizer: whose groups are `optimizer_groups`'.
        learning_rate: of the step.
        last_layer_learning_rate: of the heads' prototypes.
        weight_decay: of the step.
        backbone_multiplier: times the learning rate of the backbone, besides.
    """
    for group in optimizer.param_groups:
        rate = last_layer_learning_rate if group["is_last_layer"] else learning_rate
        if group["in_backbone"]:
            rate *= backbone_multiplier
        group["lr"] = rate * group["lr_multiplier"]
        group["weight_decay"] = weight_decay * group["wd_multiplier"]


def clip_gradients(
    submodules: Mapping[str, nn.Module], max_norm: float, each_parameter: bool
) -> dict[str, torch.Tensor]:
    """Clip gradients in place to `max_norm`, for each sub-module on its own, or for each parameter on its own.

    Args:
        submodules: backbone and heads by name.
        max_norm: largest L2 norm that is left as it is; 0 clips nothing.
        each_parameter: as DINO v1 does it.

    Returns:
        The norm of each sub-module's gradient before clipping.
    """
    norms = {}
    for name, submodule in submodules.items():
        parameters = [parameter for parameter in submodule.parameters() if parameter.grad is not None]
        norms[name] = _gradient_norm(parameters)
        if max_norm > 0:
            for part in [[parameter] for parameter in parameters] if each_parameter else [parameters]:
                norm = _gradient_norm(part)
                for alike in _by_kind(part):
                    torch.nn.utils.clip_grads_with_norm_(alike, max_norm, norm)
    return norms


def _by_kind(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Whole parameters and sharded ones: one operation does not take both."""
    kinds = [[each for each in parameters if isinstance(each, DTensor) is sharded] for sharded in (False, True)]
    return [kind for kind in kinds if kind]


def _gradient_norm(parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    norms = []
    for kind in _by_kind(parameters):
        norm = torch.nn.utils.get_total_norm([each.grad for each in kind if each.grad is not None])
        norms.append(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    return norms[0] if len(norms) == 1 else torch.nn.utils.get_total_norm(norms)
