"""The hops of `make bench-adaptation`, and the ways to continue that they compare."""

from dataclasses import dataclass
from typing import Any

from medino.ssl import SMALL_SCALE
from tests.benchmarks.adaptation_runs import FROM_SCRATCH, Training

HEADS: dict[str, Any] = {key: value for key, value in SMALL_SCALE.items() if key != "backbone_settings"}
"""What continuing keeps of the settings from scratch."""


@dataclass(frozen=True)
class Arm:
    """A way to continue.

    Attributes:
        title: in the tables.
        family: what it shares its line in the curves with.
        settings: arguments of `DINOv2`.
    """

    title: str
    family: str
    settings: dict[str, Any]

    @property
    def anchored(self) -> bool:
        """Whether the patch tokens are held near the start's."""
        return "anchor" in self.settings


@dataclass(frozen=True)
class Hop:
    """From domain A to domain B.

    Attributes:
        first: the set of domain A.
        second: the set of domain B.
        start_steps: steps on A, from scratch.
        steps: steps on B.
        looks: steps on B at which the curves are measured.
        arms: names of `ARMS`.
    """

    first: str
    second: str
    start_steps: int
    steps: int
    looks: tuple[int, ...]
    arms: tuple[str, ...]

    @property
    def name(self) -> str:
        """For file names."""
        return f"{self.first}_{self.second}"


NAIVE = "naive"
LOW_RATE = {"base_lr": 2e-4, "warmup": 0.16, "layer_decay": 0.9, "patch_embed_multiplier": 0.2}
FULL = {**HEADS, "heads_first": {}}
LORA = {**HEADS, "heads_first": {}, "strategy": {"name": "LoRA"}}
EXPLORA = {**HEADS, "heads_first": {}, "strategy": {"name": "ExPLoRA"}}

ARMS = {
    NAIVE: Arm("naive: all at once, from-scratch settings", "naive", HEADS),
    "full": Arm("full, heads first", "full", FULL),
    "full_anchor": Arm("full, heads first, anchored", "full", {**FULL, "anchor": {}}),
    "lora": Arm("LoRA, heads first", "LoRA", LORA),
    "lora_anchor": Arm("LoRA, heads first, anchored", "LoRA", {**LORA, "anchor": {}}),
    "explora": Arm("ExPLoRA, heads first", "ExPLoRA", EXPLORA),
    "explora_anchor": Arm("ExPLoRA, heads first, anchored", "ExPLoRA", {**EXPLORA, "anchor": {}}),
    "full_low": Arm("full, heads first, the long recipe's rate", "full, low rate", {**FULL, **LOW_RATE}),
}
DEFAULT = "lora"

HOPS = (Hop("hippocampus", "histology", 600, 200, (50, 100, 150), tuple(ARMS)),)


def start(hop: Hop, seed: int) -> Training:
    """The training on A."""
    return Training(hop.first, hop.start_steps, seed, FROM_SCRATCH, (hop.first, hop.second), (0,))


def continued(hop: Hop, arm: str, seed: int) -> Training:
    """One way to continue on B."""
    return Training(
        hop.second, hop.steps, seed, ARMS[arm].settings, (hop.first, hop.second), hop.looks, start(hop, seed)
    )
