"""Which settings of `DINOv2` a run could mean, and how its learning rate follows from the batch."""

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from medino.core import InputError
from medino.ssl.centering import Centering
from medino.ssl.koleo import KoLeoScope
from medino.ssl.parameter_groups import Objective

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
        "koleo_scope": get_args(KoLeoScope),
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
        "accumulate",
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
        "sinkhorn_queue",
        "koleo_queue",
    ):
        if settings[name] < 0:
            raise InputError(f"{name} is {settings[name]}; give 0 or more")
    for name in ("momentum", "center_momentum"):
        if not 0 <= settings[name] <= 1:
            raise InputError(f"{name} is {settings[name]}; give a number between 0 and 1")
    if settings["sinkhorn_queue"] and settings["centering"] != "sinkhorn_knopp":
        raise InputError(
            "sinkhorn_queue is for Sinkhorn-Knopp, and centering is centering; set centering to sinkhorn_knopp, or "
            "sinkhorn_queue to 0"
        )
    if settings["koleo_queue"] and settings["objective"] != "dinov2":
        raise InputError("koleo_queue is for the KoLeo of the dinov2 objective; set it to 0")


def check_division(settings: Mapping[str, Any], batch_size: int, processes: int) -> None:
    """Refuse a batch that can't be divided as it is to be, or leaves KoLeo nobody to compare with.

    Args:
        settings: the hyperparameters of `DINOv2`.
        batch_size: images of one step, over all processes.
        processes: their number.

    Raises:
        InputError: the number of parts does not divide the batch, or a part has one image.
    """
    parts = processes * settings["accumulate"]
    if batch_size % parts:
        raise InputError(
            f"a batch of {batch_size} images can't be divided into {settings['accumulate']} micro-batches on each of "
            f"{processes} processes; choose a batch_size that is a multiple of {parts}"
        )
    together = koleo_images(settings, batch_size, processes)
    if settings["objective"] == "dinov2" and together < 2 and not settings["koleo_queue"]:
        raise InputError(
            "KoLeo needs a neighbour, and it looks for one among 1 image at a time; give a larger batch_size, a "
            "smaller accumulate, koleo_scope global, or a koleo_queue"
        )


def koleo_images(settings: Mapping[str, Any], batch_size: int, processes: int) -> int:
    """How many images of the batch KoLeo looks for a neighbour among."""
    return batch_size // settings["accumulate"] // (1 if settings["koleo_scope"] == "global" else processes)


def scopes(settings: Mapping[str, Any], batch_size: int, processes: int) -> list[str]:
    """What is computed over which images, in sentences; none where it is simply the batch.

    Args:
        settings: the hyperparameters of `DINOv2`.
        batch_size: images of one step, over all processes.
        processes: their number.
    """
    parts, queues = settings["accumulate"], (settings["sinkhorn_queue"], settings["koleo_queue"])
    if parts == 1 and processes == 1 and not any(queues):
        return []
    divided = f"{batch_size} images a step, on {processes} process{'es' * (processes > 1)} in {parts} micro-batch"
    sentences = [f"{divided}{'es' * (parts > 1)}; DINO, iBOT and their gradients are the whole batch's"]
    method = "Sinkhorn-Knopp" if settings["centering"] == "sinkhorn_knopp" else "the centre"
    past = f", class tokens with those of {queues[0]} past images" if queues[0] else ""
    sentences.append(f"the teacher's targets ({method}) are made over all {batch_size} images{past}")
    if settings["objective"] == "dinov2":
        together = koleo_images(settings, batch_size, processes)
        past = f" and {queues[1]} past ones" if queues[1] else ""
        sentences.append(f"KoLeo looks for the nearest neighbour among {together} images{past}")
    return sentences
