import numpy as np
import pytest

from medino.core import InputError
from medino.probes.episodes import check_enough, draw_support

LABELS = np.array(["a"] * 12 + ["b"] * 6, dtype=object)
PATIENTS = np.array([f"p{place // 3}" for place in range(18)], dtype=object)


def test_a_classs_shots_come_from_as_many_patients() -> None:
    for episode in range(50):
        chosen = draw_support(LABELS, PATIENTS, ["a", "b"], 2, "patients", seed=0, episode=episode)
        assert LABELS[chosen].tolist() == ["a", "a", "b", "b"]
        assert len(set(PATIENTS[chosen])) == 4


def test_all_patients_and_their_units_are_drawn_alike() -> None:
    counts = np.zeros(18)
    for episode in range(2000):
        counts[draw_support(LABELS, PATIENTS, ["a", "b"], 1, "patients", seed=0, episode=episode)] += 1
    np.testing.assert_allclose(counts[:12] / 2000, 1 / 12, atol=0.02)
    np.testing.assert_allclose(counts[12:] / 2000, 1 / 6, atol=0.03)


def test_what_the_patients_are_called_does_not_matter() -> None:
    renamed = np.array([f"q{9 - int(name[1:])}" for name in PATIENTS], dtype=object)
    chosen = draw_support(LABELS, PATIENTS, ["a", "b"], 2, "patients", seed=0, episode=3)
    np.testing.assert_array_equal(draw_support(LABELS, renamed, ["a", "b"], 2, "patients", seed=0, episode=3), chosen)


def test_too_few_patients_are_named_with_their_class() -> None:
    check_enough(LABELS, PATIENTS, ["a", "b"], 2, "patients")
    with pytest.raises(InputError, match=r"class 'b' has 2 training patients \(6 units\), fewer than 3 shots"):
        check_enough(LABELS, PATIENTS, ["a", "b"], 3, "patients")


def test_images_are_drawn_alike_whosever_they_are() -> None:
    counts = np.zeros(18)
    for episode in range(2000):
        chosen = draw_support(LABELS, PATIENTS, ["a", "b"], 4, "images", seed=0, episode=episode)
        assert len(set(chosen.tolist())) == 8
        assert LABELS[chosen].tolist() == ["a"] * 4 + ["b"] * 4
        counts[chosen] += 1
    np.testing.assert_allclose(counts[:12] / 2000, 4 / 12, atol=0.04)
    np.testing.assert_allclose(counts[12:] / 2000, 4 / 6, atol=0.04)


def test_images_are_enough_where_images_are_drawn() -> None:
    check_enough(LABELS, PATIENTS, ["a", "b"], 6, "images")
    with pytest.raises(InputError, match="fewer than 7 shots; ask for fewer shots, label more images"):
        check_enough(LABELS, PATIENTS, ["a", "b"], 7, "images")
