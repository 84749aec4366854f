"""Which settings of `DINOv2` a run could mean, and how its learning rate follows from the batch."""

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from medino.core import InputError
from medino.ssl.parameter_groups import Objective
from medino.ssl.self_distillation import Centering

LearningRateScaling = Literal["sqrt", "linear", "none"]
"""How the base learning rate grows with the batch: DINOv2's rule, DINO v1's rule, not at all."""

SCALING_BATCH = {"sqrt": 1024, "linear": 256}
"""The batch that the base learning rate is given for: DINOv2's and DINO v1's."""


def scaled_learning_rate(base_lr: float, scaling: LearningRateScaling, batch_size: int | None) -> tuple[float, str]:
    """The peak learning rate for a batch.

    Args:
        base_lr: for the batch in `SCALING_BATCH`.
        scaling: "sqrt": `base_lr * sqrt(batch / 1024)`; "linear": `base_lr * batch / 256`; "none": `base_lr`.
        batch_size: images of one step, over all processes; None where it is unknown.

    Returns:
        The rate, and how it came about, such as `base_lr 0.004 * sqrt(64 / 1024)`.

    Raises:
        InputError: the rate scales with the batch and this is unknown.
    """
    if scaling == "none":
        return float(base_lr), f"base_lr {base_lr:g}, whatever the batch"
    if batch_size is None:
        raise InputError("the learning rate scales with the batch, whose size is unknown; set lr_scaling to none")
    reference = SCALING_BATCH[scaling]
    ratio = batch_size / reference
    if scaling == "sqrt":
        return float(base_lr) * math.sqrt(ratio), f"base_lr {base_lr:g} * sqrt({batch_size} / {reference})"
    return float(base_lr) * ratio, f"base_lr {base_lr:g} * {batch_size} / {reference}"


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings that no run could mean.

    Args:
        settings: the hyperparameters of `DINOv2`.

    Raises:
        InputError: one is unknown or out of range.
    """
    choices = {
        "objective": get_args(Objective),
        "centering": get_args(Centering),
        "lr_scaling": get_args(LearningRateScaling),
    }
    for name, known in choices.items():
        if settings[name] not in known:
            raise InputError(f"{name} is {settings[name]!r}; choose one of {', '.join(known)}")
    for name in ("warmup", "teacher_temperature_warmup", "frozen_last_layer"):
        if not 0 <= settings[name] <= 1:
            raise InputError(f"{name} is {settings[name]}; give the share of the run, between 0 and 1")
    for name in ("base_lr", "teacher_temperature", "final_teacher_temperature", "student_temperature"):
        if not settings[name] > 0:
            raise InputError(f"{name} is {settings[name]}; give a number above 0")
    for name in (
        "prototypes",
        "head_layers",
        "head_hidden_dim",
        "head_bottleneck_dim",
        "ibot_prototypes",
        "ibot_bottleneck_dim",
        "max_nonfinite_steps",
        "checkpoint_every_n_steps",
    ):
        if settings[name] is not None and settings[name] < 1:
            raise InputError(f"{name} is {settings[name]}; give 1 or more")
    for name in (
        "min_lr",
        "weight_decay",
        "final_weight_decay",
        "layer_decay",
        "patch_embed_multiplier",
        "clip_norm",
        "dino_weight",
        "ibot_weight",
        "koleo_weight",
    ):
        if settings[name] < 0:
            raise InputError(f"{name} is {settings[name]}; give 0 or more")
    for name in ("momentum", "center_momentum"):
        if not 0 <= settings[name] <= 1:
            raise InputError(f"{name} is {settings[name]}; give a number between 0 and 1")
