"""Schedules at their ends, and what they refuse."""

import numpy as np
import pytest

from medino.core import InputError
from medino.ssl import Schedules, cosine_schedule, make_schedules


def short(total_steps: int = 100, warmup_steps: int = 10) -> Schedules:
    return make_schedules(
        total_steps,
        learning_rate=(1e-3, 1e-6),
        warmup_steps=warmup_steps,
        weight_decay=(0.04, 0.4),
        momentum=(0.992, 1.0),
        teacher_temperature=(0.04, 0.07),
        teacher_temperature_warmup_steps=30,
        frozen_last_layer_steps=5,
    )


def test_the_learning_rate_rises_linearly_and_falls_along_a_cosine() -> None:
    values = cosine_schedule(1.0, 0.0, 110, warmup_steps=10)
    np.testing.assert_allclose(values[:10], np.linspace(0, 1, 10))
    assert values[10] == 1.0
    assert values[60] == pytest.approx(0.5)
    assert (np.diff(values[10:]) < 0).all()


def test_past_the_end_the_final_values_hold() -> None:
    after = short().at(100)
    assert (after.learning_rate, after.last_layer_learning_rate) == (1e-6, 1e-6)
    assert (after.weight_decay, after.momentum, after.teacher_temperature) == (0.4, 1.0, 0.07)


def test_the_last_layer_is_held_at_first() -> None:
    schedules = short()
    assert [schedules.at(step).last_layer_learning_rate for step in (0, 4)] == [0.0, 0.0]
    assert schedules.at(5).last_layer_learning_rate == schedules.at(5).learning_rate > 0


def test_the_teacher_temperature_rises_linearly_and_stays() -> None:
    values = [short().at(step).teacher_temperature for step in (0, 29, 30, 99)]
    assert values == pytest.approx([0.04, 0.07, 0.07, 0.07])


def test_a_warm_up_longer_than_the_run_is_refused() -> None:
    with pytest.raises(InputError, match="100 steps can't hold 101 warm-up"):
        short(warmup_steps=101)
