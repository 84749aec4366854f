"""Settings for small data: what a run's images, batch and steps make of DINOv2's recipe, each value with its reason.

The recipe's settings are for 125 000 steps of 2048 images or more. What follows from fewer is stated here once, as a
pure function; `medino adapt` uses it, and `medino plan` compares it with the settings that it is given.
"""

from dataclasses import asdict, dataclass
from typing import Any

from medino.core import InputError
from medino.ssl.heads_first import HeadsFirst
from medino.ssl.settings import scaled_learning_rate

RECIPE_STEPS = 125_000
"""Of DINOv2's short recipe: 100 epochs of 1250 steps."""

SHORT_RUN = RECIPE_STEPS // 10
"""Steps under which a run is short: what the recipe lets grow over its length has no time to."""

PASSES, FEWEST_STEPS, MOST_STEPS = 10, 100, SHORT_RUN
"""Unless told otherwise: so many passes over the images, within these numbers of steps. OpenMidnight's longer training
made downstream results worse."""

AVERAGED_STEPS = 0.1
"""Share of the run that the teacher averages at its start: `SMALL_SCALE`'s 10 of 100 steps, found by measurement."""

ENOUGH_IMAGES = 32
"""Images that are compared in a step, by Sinkhorn-Knopp and KoLeo; as many as were measured."""

LARGE = 1024
"""Width of ViT-L, for which the recipe's settings were found."""

PROTOTYPES_PER_IMAGE = 8
"""Prototypes for each image of a step: `SMALL_SCALE`'s 256 for 32, found by measurement. The recipe has 32."""

SHORT_RECIPE, LONG_RECIPE = "DINOv2's short recipe", "DINOv2's long recipe"
MEASURED = "after docs/benchmarks/learning.md"
"""Measured at one size (`SMALL_SCALE`), and taken from there to others by the rule that the reason gives."""

NO_HEADS = "dinov2 #417, #435"


@dataclass(frozen=True)
class Setting:
    """One setting, and why it is so.

    Attributes:
        name: of the argument.
        value: of the argument.
        reason: one sentence.
        source: where that is known from; empty where the reason says it.
    """

    name: str
    value: Any
    reason: str
    source: str = ""

    @property
    def why(self) -> str:
        """The reason with its source."""
        return f"{self.reason} ({self.source})" if self.source else self.reason


def small_data_settings(
    images: int, batch_size: int, steps: int, *, from_weights: bool, embed_dim: int, new_heads: bool = True
) -> list[Setting]:
    """The arguments of `DINOv2` that suit a run.

    For 32 images a step, 100 steps from scratch and a width of 192 they are `SMALL_SCALE`. What is not named stays as
    DINOv2's short recipe has it.

    Args:
        images: that are trained on.
        batch_size: images of a step, over all processes.
        steps: of the whole run.
        from_weights: whether the backbone was pretrained.
        embed_dim: width of the backbone.
        new_heads: whether the heads start untrained; others have their sizes, and need no start of their own.

    Raises:
        InputError: there are fewer than two images or images a step, or no step.
    """
    if images < 2:
        raise InputError(f"{images} training images leave nothing to tell apart; give two or more, better some hundred")
    if batch_size < 2 or steps < 1:
        raise InputError(f"{steps} steps of {batch_size} images teach nothing; give 1 step or more of 2 images or more")
    short = steps < SHORT_RUN
    return [
        *(_continued(short, new_heads) if from_weights else _from_scratch(short, embed_dim)),
        *_teacher(steps, short, from_weights),
        *(_head_sizes(batch_size, embed_dim) if new_heads else []),
        *_targets(steps),
        *_queues(images, batch_size),
        Setting("lr_scaling", "sqrt", "the rate grows with the square root of the batch", SHORT_RECIPE),
        Setting("weight_decay", 0.04, "at the start", SHORT_RECIPE),
    ]


def arguments(settings: list[Setting]) -> dict[str, Any]:
    """Settings as the arguments of a constructor."""
    return {setting.name: setting.value for setting in settings}


def recommended_steps(images: int, batch_size: int) -> Setting:
    """How long to train, unless a probe says otherwise."""
    steps = min(max(PASSES * images // batch_size, FEWEST_STEPS), MOST_STEPS)
    passes = steps * batch_size / images
    return Setting("steps", steps, f"{passes:.0f} passes over {images} training images")


def peak_learning_rate(base_lr: float, scaling: Any, batch_size: int) -> Setting:
    """The rate that the optimiser gets; said, because nothing is rescaled in silence (lightly-train #332)."""
    rate, _ = scaled_learning_rate(base_lr, scaling, batch_size)
    rules = {
        "sqrt": f"base_lr times the square root of {batch_size} over 1024 images",
        "linear": f"base_lr times {batch_size} over 256 images",
        "none": "base_lr, whatever the batch",
    }
    return Setting("peak learning rate", float(f"{rate:.4g}"), rules[scaling])


def _continued(short: bool, new_heads: bool) -> list[Setting]:
    """What is so because the backbone was pretrained."""
    general = "what the first blocks have learnt is the most general, they move least"
    decay = Setting("final_weight_decay", 0.2, "at the end", LONG_RECIPE)
    no_use = "heads were not released, and what new ones ask at first is of no use to a backbone"
    return [
        *([Setting("heads_first", asdict(HeadsFirst()), no_use, NO_HEADS)] if new_heads else []),
        Setting("base_lr", 2e-4, "from ViT-g it held where 3.5e-4 collapsed", f"{LONG_RECIPE}; OpenMidnight"),
        Setting("warmup", 0.16, "share of the run", LONG_RECIPE),
        Setting("layer_decay", 0.9, general, SHORT_RECIPE),
        Setting("patch_embed_multiplier", 0.2, general, SHORT_RECIPE),
        Setting("final_weight_decay", 0.04, "a short run is not to pull released weights to zero") if short else decay,
        Setting("drop_path_rate", 0.0, "features that are continued are not to be shaken"),
    ]


def _from_scratch(short: bool, embed_dim: int) -> list[Setting]:
    """What is so because nothing was learnt yet."""
    if short:
        alike = "from scratch, all blocks have the same to learn"
        opened = "at 1e-5 the blocks of an untrained network do nothing, and a short run can't open them"
        return [
            Setting("backbone_settings", {"layerscale_init": 0.1}, opened, MEASURED),
            Setting("base_lr", 5.66e-3, "1e-3 for 32 images", MEASURED),
            Setting("warmup", 0.1, "share of the run", SHORT_RECIPE),
            Setting("layer_decay", 1.0, alike, MEASURED),
            Setting("patch_embed_multiplier", 1.0, alike, MEASURED),
            Setting("final_weight_decay", 0.04, "a short run has nothing to unlearn yet", MEASURED),
            Setting("drop_path_rate", 0.0, "the run is too short to overfit", MEASURED),
        ]
    drop_path = (0.3, SHORT_RECIPE) if embed_dim >= LARGE else (0.1, "DINO, for ViT-S and B")
    return [
        Setting("base_lr", 4e-3, "for 1024 images", SHORT_RECIPE),
        Setting("warmup", 0.1, "share of the run", SHORT_RECIPE),
        Setting("layer_decay", 0.9, "each block learns a tenth slower than the next one", SHORT_RECIPE),
        Setting("patch_embed_multiplier", 0.2, "beside the layer decay", SHORT_RECIPE),
        Setting("final_weight_decay", 0.4, "at the end", SHORT_RECIPE),
        Setting("drop_path_rate", drop_path[0], f"for a width of {embed_dim}", drop_path[1]),
    ]


def _teacher(steps: int, short: bool, from_weights: bool) -> list[Setting]:
    slowest, recipe = (0.994, LONG_RECIPE) if from_weights else (0.992, SHORT_RECIPE)
    averaged = max(AVERAGED_STEPS * steps, 10)
    momentum, why = slowest, f"the teacher averages some {1 / (1 - slowest):.0f} steps"
    if 1 - 1 / averaged < slowest:
        momentum, recipe = round(1 - 1 / averaged, 6), MEASURED
        why = f"the teacher averages {averaged:.0f} of {steps} steps; at {slowest} it would stay near its start"
    settings = [
        Setting("momentum", momentum, why, recipe),
        Setting("teacher_temperature", 0.04, "at the start", SHORT_RECIPE),
    ]
    if short:
        young = "the heads are" if from_weights else "the features are"
        reason = f"targets at 0.07 say next to nothing while {young} this young"
        return [*settings, Setting("final_teacher_temperature", 0.04, reason, MEASURED)]
    share, recipe = (0.06, LONG_RECIPE) if from_weights else (0.3, SHORT_RECIPE)
    return [
        *settings,
        Setting("final_teacher_temperature", 0.07, "at the end of its warm-up", recipe),
        Setting("teacher_temperature_warmup", share, "share of the run", recipe),
    ]


def _head_sizes(batch_size: int, embed_dim: int) -> list[Setting]:
    prototypes = min(max(_power_of_two(PROTOTYPES_PER_IMAGE * batch_size), 256), 65536)
    # Beside the backbone as wide as the recipe's beside its ViT-L.
    hidden = min(_power_of_two(embed_dim + 1), 2048)
    wide = f"the recipe's 2048 are for features of 1024, these have {embed_dim}"
    return [
        Setting("prototypes", prototypes, f"{batch_size} images a step can't fill tens of thousands", MEASURED),
        Setting("head_hidden_dim", hidden, wide, MEASURED),
        Setting("head_bottleneck_dim", min(hidden // 4, 256), "a quarter of the hidden width", MEASURED),
    ]


def _targets(steps: int) -> list[Setting]:
    lags = "an EMA centre lags in a short run, and the outputs collapse to one prototype"
    held = "the recipe's hundredth of the run, or six steps where that is more"
    return [
        Setting("centering", "sinkhorn_knopp", lags, MEASURED),
        Setting("frozen_last_layer", round(min(max(0.01, 6 / steps), 0.1), 6), held, MEASURED),
    ]


def _queues(images: int, batch_size: int) -> list[Setting]:
    # No more than half of the images: a queue that holds those of the batch would compare them with themselves.
    past = max(min(ENOUGH_IMAGES - batch_size, images // 2 - batch_size), 0)
    if past:
        reason = f"with past images, {batch_size + past} are compared in a step of {batch_size}"
    elif batch_size >= ENOUGH_IMAGES:
        reason = f"{batch_size} images a step are enough to compare"
    else:
        reason = f"{images} images are too few for a queue that doesn't hold the batch itself"
    return [Setting(name, past, reason, "as SwAV" if past else "") for name in ("sinkhorn_queue", "koleo_queue")]


def _power_of_two(least: int) -> int:
    """The smallest power of two that is not below `least`."""
    return 1 << (least - 1).bit_length()
