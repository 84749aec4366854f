"""What of a backbone learns while it is adapted: all of it, adapters beside it, its end, or what patterns leave free.

The heads and the mask token always learn: neither was ever released with weights that fit. What does not learn is held
once for student and teacher together.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch

from medino.core import InputError
from medino.models import VisionTransformer
from medino.models.lora import add_lora


class Strategy:
    """What of a backbone learns. Subclasses are frozen dataclasses of plain settings."""

    def prepare(self, backbone: VisionTransformer, generator: torch.Generator) -> None:
        """Freeze and add adapters, in place.

        Args:
            backbone: the student's.
            generator: draws the adapters.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Full(Strategy):
    """All of the backbone learns; blocks before the last ones more slowly by `DINOv2`'s `layer_decay`."""

    def prepare(self, backbone: VisionTransformer, generator: torch.Generator) -> None:
        """Nothing is frozen."""


@dataclass(frozen=True)
class LoRA(Strategy):
    """Low-rank adapters learn beside a frozen backbone (Hu et al. 2021).

    Attributes:
        rank: of the adapters.
        alpha: their scale is alpha / rank.
        targets: the linear layers of each block that get one (`medino.models.lora.TARGETS`).
    """

    rank: int = 16
    alpha: float = 16.0
    targets: tuple[str, ...] = ("attn.qkv", "attn.proj")

    def prepare(self, backbone: VisionTransformer, generator: torch.Generator) -> None:
        """Freeze all but the mask token, add adapters to all blocks."""
        _freeze_all(backbone)
        add_lora(backbone, self.rank, self.alpha, self.targets, generator=generator)


@dataclass(frozen=True)
class ExPLoRA(Strategy):
    """The last blocks and all norms learn, adapters elsewhere (Khanna et al. 2024, 2406.10973).

    Attributes:
        free_blocks: how many of the last blocks learn as a whole; the paper frees one or two.
        rank: of the adapters in the other blocks.
        alpha: their scale is alpha / rank.
        targets: the linear layers of those blocks that get one.
    """

    free_blocks: int = 1
    rank: int = 16
    alpha: float = 16.0
    targets: tuple[str, ...] = ("attn.qkv",)

    def prepare(self, backbone: VisionTransformer, generator: torch.Generator) -> None:
        """Freeze, free the end and the norms, add adapters to the rest.

        Raises:
            InputError: there are not so many blocks.
        """
        depth = len(backbone.blocks)
        if not 1 <= self.free_blocks < depth:
            raise InputError(f"free_blocks is {self.free_blocks}; of {depth} blocks 1 to {depth - 1} can be freed")
        _freeze_all(backbone)
        for name, parameter in backbone.named_parameters():
            if "norm" in name:
                parameter.requires_grad_(True)
        for block in backbone.blocks[depth - self.free_blocks :]:
            block.requires_grad_(True)
        add_lora(backbone, self.rank, self.alpha, self.targets, range(depth - self.free_blocks), generator)


@dataclass(frozen=True)
class Freeze(Strategy):
    """Parameters whose names fit a pattern are frozen, all others learn.

    Attributes:
        patterns: shell patterns of names in the backbone, such as `patch_embed.*` or `blocks.[0-5].*`.
    """

    patterns: tuple[str, ...]

    def prepare(self, backbone: VisionTransformer, generator: torch.Generator) -> None:
        """Freeze what fits.

        Raises:
            InputError: a pattern fits nothing.
        """
        names = dict(backbone.named_parameters())
        for pattern in self.patterns:
            fitting = [name for name in names if fnmatchcase(name, pattern)]
            if not fitting:
                raise InputError(
                    f"the pattern {pattern!r} fits no parameter of the backbone; names are like "
                    f"{', '.join(list(names)[:4])}, blocks.0.attn.qkv.weight"
                )
            for name in fitting:
                names[name].requires_grad_(False)


STRATEGIES: dict[str, type[Strategy]] = {kind.__name__: kind for kind in (Full, LoRA, ExPLoRA, Freeze)}


def plain(strategy: Strategy) -> dict[str, Any]:
    """A strategy as JSON has it, for hyperparameters: `{"name": "LoRA", "rank": 16, ...}`."""
    return {"name": type(strategy).__name__, **dataclasses.asdict(strategy)}  # type: ignore[call-overload]


def strategy_from(settings: Strategy | Mapping[str, Any] | None) -> Strategy:
    """The strategy that plain settings mean; `Full` for None.

    Raises:
        InputError: there is no such strategy or setting.
    """
    if isinstance(settings, Strategy):
        return settings
    if settings is None:
        return Full()
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    kind = STRATEGIES.get(str(arguments.pop("name", None)))
    if kind is None:
        raise InputError(f"there is no strategy {settings.get('name')!r}; choose one of {', '.join(STRATEGIES)}")
    try:
        return kind(**arguments)
    except TypeError as error:
        raise InputError(f"the strategy {kind.__name__} can't be set up so ({error}); see its settings") from error


def _freeze_all(backbone: VisionTransformer) -> None:
    backbone.requires_grad_(False)
    if backbone.mask_token is not None:
        backbone.mask_token.requires_grad_(True)
