"""What changes with the step: learning rate, weight decay, teacher momentum, teacher temperature."""

from dataclasses import dataclass

import numpy as np

from medino.core import InputError


def cosine_schedule(
    base: float, final: float, total_steps: int, *, warmup_steps: int = 0, start: float = 0.0, frozen_steps: int = 0
) -> np.ndarray:
    """Zero while frozen, then a linear warm-up that ends on `base`, then half a cosine towards `final`.

    Args:
        base: value after the warm-up.
        final: value that the cosine tends to.
        total_steps: length of the array.
        warmup_steps: steps of the warm-up, `linspace(start, base)` with both ends.
        start: first value of the warm-up.
        frozen_steps: steps of zero before the warm-up.

    Returns:
        (total_steps,) float64.

    Raises:
        InputError: warm-up and frozen steps don't fit into the total.
    """
    cosine_steps = total_steps - warmup_steps - frozen_steps
    if min(total_steps, warmup_steps, frozen_steps) < 0 or cosine_steps < 0:
        raise InputError(
            f"a schedule of {total_steps} steps can't hold {warmup_steps} warm-up and {frozen_steps} frozen steps; "
            "train longer or warm up shorter"
        )
    warmup = np.linspace(start, base, warmup_steps)
    progress = np.arange(cosine_steps) / max(cosine_steps, 1)
    cosine = final + (base - final) * (1 + np.cos(np.pi * progress)) / 2
    return np.concatenate([np.zeros(frozen_steps), warmup, cosine])


@dataclass(frozen=True)
class StepSettings:
    """What one training step uses."""

    learning_rate: float
    last_layer_learning_rate: float
    weight_decay: float
    momentum: float
    teacher_temperature: float


@dataclass(frozen=True)
class Schedules:
    """One array for each setting, indexed by the step; past the end, the final value holds.

    Attributes:
        learning_rate: of the optimiser, before the groups' multipliers.
        weight_decay: likewise.
        momentum: share of itself that the teacher keeps in a step.
        teacher_temperature: divides the teacher's logits.
        frozen_last_layer_steps: steps in which the heads' last layers are held.
        final: what holds past the end.
    """

    learning_rate: np.ndarray
    weight_decay: np.ndarray
    momentum: np.ndarray
    teacher_temperature: np.ndarray
    frozen_last_layer_steps: int
    final: StepSettings

    def at(self, step: int) -> StepSettings:
        """The settings of a step."""
        if step >= len(self.learning_rate):
            return self.final
        rate = float(self.learning_rate[step])
        return StepSettings(
            learning_rate=rate,
            last_layer_learning_rate=0.0 if self.last_layer_is_frozen(step) else rate,
            weight_decay=float(self.weight_decay[step]),
            momentum=float(self.momentum[step]),
            teacher_temperature=float(self.teacher_temperature[step]),
        )

    def last_layer_is_frozen(self, step: int) -> bool:
        """Whether the heads' last layers are held in a step."""
        return step < self.frozen_last_layer_steps


def make_schedules(
    total_steps: int,
    *,
    learning_rate: tuple[float, float],
    warmup_steps: int,
    warmup_start: float = 0.0,
    weight_decay: tuple[float, float],
    momentum: tuple[float, float],
    teacher_temperature: tuple[float, float],
    teacher_temperature_warmup_steps: int,
    frozen_last_layer_steps: int,
) -> Schedules:
    """The recipe's schedules: pairs are first (after the warm-up) and final value.

    Args:
        total_steps: training steps.
        learning_rate: base and final; warmed up from `warmup_start` and then along a cosine.
        warmup_steps: warm-up of the learning rate.
        warmup_start: where that begins.
        weight_decay: along a cosine, without warm-up.
        momentum: along a cosine over the whole run.
        teacher_temperature: linear from the first to the final, then flat.
        teacher_temperature_warmup_steps: how long the linear part is.
        frozen_last_layer_steps: steps in which the heads' last layers are held.

    Raises:
        InputError: a warm-up is longer than the training.
    """
    rate, final_rate = learning_rate
    temperature, final_temperature = teacher_temperature
    return Schedules(
        learning_rate=cosine_schedule(rate, final_rate, total_steps, warmup_steps=warmup_steps, start=warmup_start),
        weight_decay=cosine_schedule(*weight_decay, total_steps),
        momentum=cosine_schedule(*momentum, total_steps),
        teacher_temperature=cosine_schedule(
            final_temperature,
            final_temperature,
            total_steps,
            warmup_steps=teacher_temperature_warmup_steps,
            start=temperature,
        ),
        frozen_last_layer_steps=frozen_last_layer_steps,
        final=StepSettings(final_rate, final_rate, weight_decay[1], momentum[1], final_temperature),
    )
