"""What student and teacher are: a backbone with its heads."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from medino.core import InputError, torch_generator
from medino.models import (
    PRESETS,
    BackboneConfig,
    ProjectionHead,
    PublishedHeads,
    VisionTransformer,
    build_backbone,
    load_backbone,
)
from medino.ssl.starting_heads import check_width
from medino.ssl.strategies import strategy_from


class Network(nn.Module):
    """A backbone with its heads, under the names of the reference: `backbone`, `dino_head`, `ibot_head`.

    Args:
        backbone: the vision transformer.
        dino_head: maps class tokens to prototype logits.
        ibot_head: maps patch tokens to prototype logits; None where the DINO head does that, too.
    """

    def __init__(
        self, backbone: VisionTransformer, dino_head: ProjectionHead, ibot_head: ProjectionHead | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dino_head = dino_head
        if ibot_head is not None:
            self.ibot_head = ibot_head

    @property
    def patch_head(self) -> ProjectionHead:
        """The head for patch tokens."""
        return self.ibot_head if "ibot_head" in self._modules else self.dino_head


def build_student(settings: Mapping[str, Any], weights: str | None, heads: PublishedHeads | None = None) -> Network:
    """The network that student and teacher start from.

    Args:
        settings: the hyperparameters of `DINOv2`.
        weights: name or path of the backbone to start from; untrained if None.
        heads: published heads to start from, whose widths the settings have; untrained where there are none.

    Raises:
        InputError: a setting is unknown, the weights, the heads or the strategy don't fit, or the backbone can't mask
            patches.
    """
    changes = {**(settings["backbone_settings"] or {}), "drop_path_rate": settings["drop_path_rate"]}
    # JSON and YAML have lists only.
    changes |= {name: tuple(changes[name]) for name in ("mean", "std") if name in changes}
    backbone = (
        load_backbone(weights, settings["interpolation"], **changes)
        if weights is not None
        else build_backbone(configure_backbone(settings["backbone"], changes), seed=settings["seed"])
    )
    if settings["objective"] == "dinov2" and not backbone.config.mask_token:
        raise InputError(
            "this backbone has no mask token, which the dinov2 objective needs; set mask_token to true in "
            "backbone_settings to start one from zeros, as DINOv2 did, or objective to dino"
        )
    strategy_from(settings["strategy"]).prepare(backbone, torch_generator(settings["seed"], "adapters"))
    if settings["objective"] == "dino" and backbone.mask_token is not None:
        # Nothing is masked, and data parallel training refuses parameters that never get a gradient.
        backbone.mask_token.requires_grad_(False)

    def head(purpose: str, prototypes: int, bottleneck_dim: int) -> ProjectionHead:
        return ProjectionHead(
            backbone.config.embed_dim,
            prototypes,
            hidden_dim=settings["head_hidden_dim"],
            bottleneck_dim=bottleneck_dim,
            layers=settings["head_layers"],
            fixed_gain=settings["fixed_gain"],
            generator=torch_generator(settings["seed"], purpose),
        )

    if heads is not None:
        check_width(heads, backbone.config.embed_dim)
    prototypes, bottleneck = settings["prototypes"], settings["head_bottleneck_dim"]
    dino_head = head("dino_head", prototypes, bottleneck) if heads is None else heads.dino.build(settings["fixed_gain"])
    if not settings["separate_ibot_head"] or settings["objective"] == "dino":
        return Network(backbone, dino_head)
    ibot_head = (
        head("ibot_head", settings["ibot_prototypes"] or prototypes, settings["ibot_bottleneck_dim"] or bottleneck)
        if heads is None or heads.ibot is None
        else heads.ibot.build(settings["fixed_gain"])
    )
    return Network(backbone, dino_head, ibot_head)


def configure_backbone(name: str, changes: Mapping[str, Any]) -> BackboneConfig:
    """A preset with some settings changed.

    Raises:
        InputError: there is no such preset or setting.
    """
    if name not in PRESETS:
        raise InputError(f"there is no backbone {name!r}; choose one of {', '.join(PRESETS)}")
    known = [field.name for field in dataclasses.fields(BackboneConfig)]
    for setting in changes:
        if setting not in known:
            raise InputError(f"a backbone has no setting {setting!r}; it has {', '.join(known)}")
    return PRESETS[name].replace(**changes)
