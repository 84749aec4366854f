import numpy as np
import pytest

from medino.core import InputError
from medino.probes.episodes import check_enough_patients, draw_support

LABELS = np.array(["a"] * 12 + ["b"] * 6, dtype=object)
PATIENTS = np.array([f"p{place // 3}" for place in range(18)], dtype=object)


def test_a_classs_shots_come_from_as_many_patients() -> None:
    for episode in range(50):
        chosen = draw_support(LABELS, PATIENTS, ["a", "b"], 2, seed=0, episode=episode)
        assert LABELS[chosen].tolist() == ["a", "a", "b", "b"]
        assert len(set(PATIENTS[chosen])) == 4


def test_all_patients_and_their_units_are_drawn_alike() -> None:
    counts = np.zeros(18)
    for episode in range(2000):
        counts[draw_support(LABELS, PATIENTS, ["a", "b"], 1, seed=0, episode=episode)] += 1
    np.testing.assert_allclose(counts[:12] / 2000, 1 / 12, atol=0.02)
    np.testing.assert_allclose(counts[12:] / 2000, 1 / 6, atol=0.03)


def test_what_the_patients_are_called_does_not_matter() -> None:
    renamed = np.array([f"q{9 - int(name[1:])}" for name in PATIENTS], dtype=object)
    chosen = draw_support(LABELS, PATIENTS, ["a", "b"], 2, seed=0, episode=3)
    np.testing.assert_array_equal(draw_support(LABELS, renamed, ["a", "b"], 2, seed=0, episode=3), chosen)


def test_too_few_patients_are_named_with_their_class() -> None:
    check_enough_patients(LABELS, PATIENTS, ["a", "b"], 2)
    with pytest.raises(InputError, match=r"class 'b' has 2 training patients \(6 units\), fewer than 3 shots"):
        check_enough_patients(LABELS, PATIENTS, ["a", "b"], 3)
