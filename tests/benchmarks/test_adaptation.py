"""The benchmark's own promises: paired intervals, and results that are kept by their settings."""

import numpy as np
import pytest

from tests.benchmarks.adaptation_arms import ARMS, DEFAULT, HOPS, NAIVE, continued, start
from tests.benchmarks.paired import EPISODES, Outcomes, accuracy, difference, together

PATIENTS, IMAGES = 12, 3


def said(right: np.ndarray) -> Outcomes:
    """Outcomes of two classes in which the patients of `right` (P,) are right in all their images and episodes."""
    targets = np.repeat(np.arange(PATIENTS) % 2, IMAGES)
    predicted = np.where(np.repeat(right, IMAGES), targets, 1 - targets)
    return Outcomes(np.tile(predicted, (EPISODES, 1)), targets, np.repeat(np.arange(PATIENTS), IMAGES))


def test_equal_outcomes_differ_by_nothing_in_every_resample() -> None:
    half = said(np.arange(PATIENTS) < PATIENTS // 2)
    found = difference([half, half], [half, half])
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_a_difference_is_the_mean_of_the_seeds_and_its_interval_resamples_patients() -> None:
    none, half = said(np.zeros(PATIENTS, bool)), said(np.arange(PATIENTS) < PATIENTS // 2)
    found = difference([half, none], [none, none])
    assert found.value == pytest.approx(0.25)
    assert found.by_seed == pytest.approx((0.5, 0))
    # Binomial over 12 patients, not over 36 images: a deviation of .144 of .5, halved by the second seed.
    assert 0.2 < found.high - found.low < 0.4


def test_probes_together_count_alike() -> None:
    none, every = said(np.zeros(PATIENTS, bool)), said(np.ones(PATIENTS, bool))
    assert accuracy([together([none, every, every])])[0] == pytest.approx(2 / 3)


def test_a_result_is_kept_by_all_that_made_it() -> None:
    hop = HOPS[0]
    keys = {continued(hop, arm, seed).key for arm in hop.arms for seed in (0, 1)}
    assert len(keys) == 2 * len(hop.arms)
    assert continued(hop, NAIVE, 0).key == continued(hop, NAIVE, 0).key
    assert start(hop, 0).key not in keys


def test_the_default_is_what_adapt_derives_from_weights_and_naive_what_it_derives_from_scratch() -> None:
    default, naive = (ARMS[arm].settings(720, 225) for arm in (DEFAULT, NAIVE))
    assert default["heads_first"]
    assert default["base_lr"] == 2e-4
    assert "heads_first" not in naive
    assert naive["base_lr"] == 5.66e-3
    assert {name for name in default if default[name] == naive.get(name)} >= {"momentum", "prototypes", "centering"}
