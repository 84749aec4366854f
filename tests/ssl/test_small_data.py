"""Settings for small data: those that were measured at the size that they were measured at, the recipe's at its own."""

import inspect
from typing import Any

import pytest

from medino.core import InputError
from medino.ssl import (
    CONTINUED,
    SMALL_SCALE,
    DINOv2,
    Setting,
    peak_learning_rate,
    recommended_steps,
    small_data_settings,
)
from medino.ssl.schedules import make_schedules
from medino.ssl.small_data import arguments
from tests.ssl.conftest import tiny_module

DEFAULTS = {name: each.default for name, each in inspect.signature(DINOv2.__init__).parameters.items()}


def settled(images: int, batch: int, steps: int, from_weights: bool = False, embed_dim: int = 384) -> dict[str, Any]:
    return arguments(small_data_settings(images, batch, steps, from_weights=from_weights, embed_dim=embed_dim))


def test_at_the_size_of_the_benchmark_they_are_what_was_measured_there() -> None:
    assert {**DEFAULTS, **settled(720, 32, 100, embed_dim=192)} == {**DEFAULTS, **SMALL_SCALE}


def test_a_tenth_of_the_recipe_s_steps_from_scratch_has_the_recipe_s_schedules() -> None:
    long = settled(100_000, 64, 12_500)
    for name in ("momentum", "base_lr", "final_teacher_temperature", "teacher_temperature_warmup", "warmup"):
        assert long[name] == DEFAULTS[name], name
    for name in ("weight_decay", "final_weight_decay", "layer_decay", "patch_embed_multiplier", "frozen_last_layer"):
        assert long[name] == DEFAULTS[name], name


def test_continuing_is_what_held_for_others_with_the_heads_first() -> None:
    continued = settled(10_000, 64, 1500, from_weights=True)
    assert {name: continued[name] for name in CONTINUED} == CONTINUED
    assert continued["heads_first"] is not None
    assert "backbone_settings" not in continued
    assert settled(10_000, 64, 12_500, from_weights=True)["momentum"] == 0.994  # the long recipe's


def test_heads_that_were_trained_keep_their_sizes_and_need_no_start_of_their_own() -> None:
    new, trained = (
        arguments(small_data_settings(5000, 64, 1500, from_weights=True, embed_dim=384, new_heads=new_heads))
        for new_heads in (True, False)
    )
    assert set(new) - set(trained) == {"heads_first", "prototypes", "head_hidden_dim", "head_bottleneck_dim"}
    assert trained.items() <= new.items()


@pytest.mark.parametrize("from_weights", [False, True])
def test_the_teacher_follows_faster_the_shorter_the_run_and_always_gets_somewhere(from_weights: bool) -> None:
    momenta = [settled(1000, 32, steps, from_weights)["momentum"] for steps in (50, 100, 300, 1000, 5000, 100_000)]
    assert momenta == sorted(momenta)
    for steps in (50, 100, 300, 1000, 5000):
        schedule = make_schedules(
            steps,
            learning_rate=(1.0, 0.0),
            warmup_steps=0,
            weight_decay=(0.0, 0.0),
            momentum=(settled(1000, 32, steps, from_weights)["momentum"], 1.0),
            teacher_temperature=(0.04, 0.04),
            teacher_temperature_warmup_steps=0,
            frozen_last_layer_steps=0,
        )
        # What is left of the start in the teacher at the end: the product of the momenta.
        assert schedule.momentum.prod() < 0.1


def test_prototypes_are_a_power_of_two_that_grows_with_the_batch() -> None:
    assert [settled(10_000, batch, 1000)["prototypes"] for batch in (8, 32, 64, 100, 2048, 99_999)] == [
        256,
        256,
        512,
        1024,
        16384,
        65536,
    ]


@pytest.mark.parametrize(
    ("images", "batch", "queue"), [(5000, 8, 24), (5000, 32, 0), (5000, 64, 0), (40, 8, 12), (12, 8, 0)]
)
def test_small_batches_are_compared_with_past_images_but_never_with_their_own(
    images: int, batch: int, queue: int
) -> None:
    found = settled(images, batch, 100)
    assert (found["sinkhorn_queue"], found["koleo_queue"]) == (queue, queue)
    assert queue + batch <= max(images // 2, batch)


@pytest.mark.parametrize("from_weights", [False, True])
@pytest.mark.parametrize(("batch", "steps"), [(2, 1), (8, 100), (64, 1500), (1024, 125_000)])
def test_every_setting_is_an_argument_with_a_reason_that_fits_a_line(
    batch: int, steps: int, from_weights: bool
) -> None:
    settings = small_data_settings(5000, batch, steps, from_weights=from_weights, embed_dim=384)
    assert len({setting.name for setting in settings}) == len(settings)
    for setting in settings:
        assert setting.name in DEFAULTS
        assert 5 < len(setting.why) < 160
        assert "\n" not in setting.why
        # In a run's config.yaml, what looks like a path is withheld.
        assert "/" not in setting.reason
    dims = {"head_hidden_dim": 32, "head_bottleneck_dim": 16, "prototypes": 32}
    tiny_module(**arguments(settings) | dims | {"backbone_settings": {"embed_dim": 24, "depth": 2, "num_heads": 2}})


@pytest.mark.parametrize(("images", "batch", "steps"), [(0, 32, 100), (1, 32, 100), (50, 1, 100), (50, 32, 0)])
def test_too_little_to_learn_from_is_refused_in_words(images: int, batch: int, steps: int) -> None:
    with pytest.raises(InputError, match=r"nothing"):
        settled(images, batch, steps)


def test_the_rate_that_the_optimiser_gets_is_said() -> None:
    assert peak_learning_rate(5.66e-3, "sqrt", 32) == Setting(
        "peak learning rate", 0.001001, "base_lr times the square root of 32 over 1024 images"
    )
    assert peak_learning_rate(5e-4, "linear", 512).value == 1e-3
    assert peak_learning_rate(5e-4, "none", 512).value == 5e-4


def test_steps_are_ten_passes_within_bounds() -> None:
    assert [recommended_steps(images, 32).value for images in (20, 1000, 10**6)] == [100, 312, 12_500]
