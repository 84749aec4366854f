"""Training says once when it waits for its data, and by how much."""

import itertools
from pathlib import Path

import pytest

from medino.models import PRESETS
from medino.ssl import loader_pace, step_batches
from medino.ssl.loader_pace import PACE_STEPS, WARM_UP_STEPS, LoaderPace
from tests.ssl.conftest import TINY_BACKBONE, tiny_data

ALL = WARM_UP_STEPS + PACE_STEPS


def said(pace: LoaderPace, steps: int, waited: float, worked: float) -> list[str]:
    return [text for _ in range(steps) if (text := pace.note(waited, worked))]


def test_waiting_is_said_once_with_its_share_and_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_pace.os, "cpu_count", lambda: 8)
    texts = said(LoaderPace(2, "worker"), 3 * ALL, waited=0.3, worked=0.1)
    assert len(texts) == 1
    assert "waits for data 75% of the time: a step takes 0.40 s and would take 0.10 s" in texts[0]
    assert "num_workers (now 2, this machine has 8 cores)" in texts[0]
    assert "views_on" in texts[0]
    assert "medino pack" in texts[0]
    (device,) = said(LoaderPace(8, "device"), ALL, waited=0.3, worked=0.1)
    assert "num_workers" not in device
    assert "views_on" not in device


def test_a_loader_that_keeps_pace_and_slow_first_steps_are_not_spoken_of() -> None:
    pace = LoaderPace(0, "worker")
    assert not said(pace, WARM_UP_STEPS, waited=100, worked=0.1)
    assert not said(pace, 3 * ALL, waited=0.005, worked=0.1)
    assert not said(LoaderPace(0, "worker"), ALL - 1, waited=1, worked=0.1)


def test_a_loader_that_falls_behind_later_is_spoken_of_then() -> None:
    pace = LoaderPace(0, "worker")
    assert not said(pace, ALL + 2 * PACE_STEPS, waited=0.005, worked=0.1)
    assert not said(pace, PACE_STEPS - 1, waited=0.1, worked=0.1)
    (text,) = said(pace, 1 + 3 * PACE_STEPS, waited=0.1, worked=0.1)
    assert "50% of the time: a step takes 0.20 s and would take 0.10 s" in text


@pytest.mark.parametrize(("making", "training", "warns"), [(3.0, 1.0, True), (0.01, 1.0, False)])
def test_the_loader_measures_making_against_training(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, making: float, training: float, warns: bool
) -> None:
    """A clock that moves by `making` while a batch is made and by `training` while it is trained on."""
    moments = itertools.accumulate(itertools.cycle((making, training)), initial=0.0)
    monkeypatch.setattr(step_batches.time, "perf_counter", lambda: next(moments))
    warnings: list[str] = []
    monkeypatch.setattr(step_batches, "rank_zero_warn", warnings.append)
    for _ in tiny_data(manifest, num_local_crops=0).batches(PRESETS["mini"].replace(**TINY_BACKBONE), ALL + 5):
        pass
    assert len(warnings) == warns
    if warns:
        assert "75% of the time: a step takes 4.00 s and would take 1.00 s" in warnings[0]
