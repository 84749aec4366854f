"""The hops of `make bench-adaptation`, and the ways to continue that they compare."""

from dataclasses import dataclass
from typing import Any

from medino.ssl import small_data_settings
from medino.ssl.small_data import arguments
from tests.benchmarks.adaptation_runs import BATCH, FROM_SCRATCH, WIDTH, Training

NAIVE, DEFAULT = "naive", "full"
"""What all ways are compared with, and what `medino adapt --weights` does."""

LORA_RATE, EXPLORA_RATE = 2e-3, 1e-3
"""`base_lr`: ten times that of released weights for adapters, which start at zero; half of this where blocks learn,
too. At the rate of weights LoRA hardly moves (docs/adaptation.md)."""


FASTER_RATE = 1e-3
"""For images of which the start knows less than nothing, as the second direction's does."""


@dataclass(frozen=True)
class Arm:
    """A way to continue.

    Attributes:
        title: in the tables.
        family: in the curves, with the arms that share its line.
        from_weights: whether the settings are those that medino derives for weights, or those from scratch.
        changes: arguments of `DINOv2` that differ.
    """

    title: str
    family: str
    from_weights: bool
    changes: dict[str, Any]

    @property
    def anchored(self) -> bool:
        """Whether the patch tokens are held near the start's."""
        return "anchor" in self.changes

    def settings(self, images: int, steps: int, batch: int = BATCH, width: int = WIDTH) -> dict[str, Any]:
        """Arguments of `DINOv2` for so many images, steps, images a step, and a backbone of that width."""
        derived = arguments(small_data_settings(images, batch, steps, from_weights=self.from_weights, embed_dim=width))
        # What the backbone is, its file says.
        derived.pop("backbone_settings", None)
        return {**derived, **self.changes}


@dataclass(frozen=True)
class Hop:
    """From domain A to domain B.

    Attributes:
        first: the set of domain A.
        second: the set of domain B.
        start_steps: steps on A, from scratch.
        images: of B, that are trained on.
        steps: steps on B.
        looks: steps on B at which the curves are measured.
        arms: names of `ARMS`.
    """

    first: str
    second: str
    start_steps: int
    images: int
    steps: int
    looks: tuple[int, ...]
    arms: tuple[str, ...]

    @property
    def name(self) -> str:
        """For file names."""
        return f"{self.first}_{self.second}"


LORA = {"strategy": {"name": "LoRA"}, "base_lr": LORA_RATE}
EXPLORA = {"strategy": {"name": "ExPLoRA"}, "base_lr": EXPLORA_RATE}

ARMS = {
    "naive": Arm("naive: all at once, the settings from scratch", "naive", False, {}),
    "full": Arm("full, heads first", "full", True, {}),
    "full_faster": Arm("full, heads first, five times the rate", "full, faster", True, {"base_lr": FASTER_RATE}),
    "full_anchor": Arm("full, heads first, anchored", "full", True, {"anchor": {}}),
    "lora": Arm("LoRA, heads first", "LoRA", True, LORA),
    "lora_anchor": Arm("LoRA, heads first, anchored", "LoRA", True, {**LORA, "anchor": {}}),
    "explora": Arm("ExPLoRA, heads first", "ExPLoRA", True, EXPLORA),
    "explora_anchor": Arm("ExPLoRA, heads first, anchored", "ExPLoRA", True, {**EXPLORA, "anchor": {}}),
    "full_at_once": Arm("full, all at once, the rate of weights", "full, at once", True, {"heads_first": None}),
    "heads_first_alone": Arm("heads first, else from scratch", "heads first alone", False, {"heads_first": {}}),
}

HOPS = (
    Hop("hippocampus", "histology", 800, 720, 225, (50, 100), tuple(ARMS)),
    Hop("histology", "hippocampus", 300, 480, 450, (50, 150, 300), tuple(ARMS)),
)
"""On histology ten passes, what `adapt` takes; on the slices thirty: in fewer they teach such a network nothing
(docs/adaptation.md)."""


def start(hop: Hop, seed: int) -> Training:
    """The training on A."""
    return Training(hop.first, hop.start_steps, seed, FROM_SCRATCH, (hop.first, hop.second), (0,))


def continued(hop: Hop, arm: str, seed: int) -> Training:
    """One way to continue on B."""
    settings = ARMS[arm].settings(hop.images, hop.steps)
    return Training(hop.second, hop.steps, seed, settings, (hop.first, hop.second), hop.looks, start(hop, seed))
