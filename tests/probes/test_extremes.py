"""The cases to look at."""

import numpy as np
import pytest

from medino.probes import extremes


def test_the_worst_the_middle_and_the_best_are_found_in_any_order_of_the_cases() -> None:
    values = np.random.default_rng(0).permutation(101)
    found = {kind: values[places].tolist() for kind, places in extremes(values.tolist(), 3).items()}
    assert found == {"worst": [0, 1, 2], "middle": [49, 50, 51], "best": [98, 99, 100]}


@pytest.mark.parametrize("cases", range(12))
def test_no_case_is_named_twice_and_few_cases_are_all_named(cases: int) -> None:
    named = [place for places in extremes([0.5] * cases, 4).values() for place in places]
    assert len(named) == len(set(named))
    assert set(named) == set(range(cases))
