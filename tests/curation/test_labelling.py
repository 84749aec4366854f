"""What to label first is typical and diverse, of different patients, and the same for its seed."""

import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from medino.core import InputError
from medino.curation import labelling as module
from medino.curation.labelling import METHODS, choose_to_label, typicality
from medino.features.neighbours import unit

GROUPS = (300, 60, 30, 12)


def grouped(seed: int = 0, noise: float = 0.08) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in four directions, most of them in one, and which is which."""
    group = np.repeat(np.arange(len(GROUPS)), GROUPS)
    return np.eye(8)[group] + np.random.default_rng(seed).normal(0, noise, (len(group), 8)), group


@pytest.mark.parametrize("method", METHODS)
def test_one_of_each_group_is_chosen_however_rare_it_is(method: str) -> None:
    vectors, group = grouped()
    for seed in range(5):
        rows = choose_to_label(vectors, np.arange(len(group)), 4, method=method, seed=seed)
        assert sorted(group[rows].tolist()) == [0, 1, 2, 3]


def test_typicality_is_the_inverse_of_scikit_learns_mean_distance() -> None:
    points = unit(np.random.default_rng(0).normal(size=(90, 5)))
    distances, _ = NearestNeighbors(n_neighbors=21).fit(points).kneighbors(points)
    np.testing.assert_allclose(typicality(points, np.arange(90)), 1 / (distances[:, 1:].mean(axis=1) + 1e-5), rtol=1e-6)


def test_the_most_typical_lies_in_the_thick_of_its_group() -> None:
    vectors, group = grouped()
    rows = choose_to_label(vectors, np.arange(len(group)), 4, seed=0)
    directions = unit(vectors)
    for row in rows:
        members = directions[group == group[row]]
        distance = cdist(directions, [unit(members.mean(axis=0)[None])[0]])[:, 0]
        assert distance[row] < np.median(distance[group == group[row]])


def test_slices_of_one_patient_do_not_make_each_other_typical() -> None:
    generator = np.random.default_rng(0)
    # Ten patients with one image each around one direction; one with thirty near-copies some way off.
    vectors = np.concatenate([generator.normal(0, 0.1, (10, 6)), generator.normal(0, 0.001, (30, 6)) + 0.25])
    vectors[:, 0] += 1
    patients = np.concatenate([np.arange(10), np.full(30, 10)])
    found = typicality(unit(vectors), patients)
    assert found.argmax() < 10


def test_k_medoids_find_the_best_choice_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    hits = 0
    for trial in range(8):
        vectors = generator.normal(size=(18, 3))
        distances = cdist(unit(vectors), unit(vectors))
        best = min(distances[list(some)].min(axis=0).mean() for some in combinations(range(18), 3))
        rows = choose_to_label(vectors, np.arange(18), 3, method="kmedoids", seed=trial)
        reached = distances[rows].min(axis=0).mean()
        assert reached <= 1.1 * best
        hits += reached == pytest.approx(best, rel=1e-5)
        # No swap of one for another is left that helps.
        for place in range(3):
            for row in range(18):
                other = rows.copy()
                other[place] = row
                assert distances[other].min(axis=0).mean() >= reached - 1e-6
    assert hits >= 4


@pytest.mark.parametrize("method", METHODS)
def test_patients_give_no_more_than_they_may(method: str) -> None:
    vectors, group = grouped()
    patients = np.arange(len(group)) // 6
    for most in (1, 3):
        rows = choose_to_label(vectors, patients, 40, method=method, per_patient=most, seed=0)
        assert len(set(rows.tolist())) == 40
        assert np.bincount(patients[rows]).max() <= most


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_alone_decides(method: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(400, 6))
    patients = np.arange(400)

    def chosen(seed: int) -> list[int]:
        return choose_to_label(vectors, patients, 12, method=method, seed=seed).tolist()

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [1, 7, 30])
def test_identical_vectors_give_as_many_as_asked_for(method: str, count: int) -> None:
    rows = choose_to_label(np.ones((30, 4)), np.arange(30), count, method=method, seed=0)
    assert len(set(rows.tolist())) == count


@pytest.mark.parametrize("method", METHODS)
def test_all_can_be_chosen(method: str) -> None:
    vectors, patients = grouped()[0][-40:], np.arange(40) // 2
    for most, count in ((1, 20), (2, 40)):
        rows = choose_to_label(vectors, patients, count, method=method, per_patient=most, seed=0)
        assert len(set(rows.tolist())) == count


def test_many_vectors_are_drawn_from_and_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMBERS", 500)
    monkeypatch.setattr(module, "POINTS", 400)
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(40_000, 8)).astype(np.float32)
    patients = np.arange(40_000) // 400
    for method in METHODS:
        tracemalloc.start()
        rows = choose_to_label(vectors, patients, 90, method=method, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(set(patients[rows].tolist())) == 90
        # All to all would be 6 GB.
        assert peak < 200e6


def test_a_budget_that_can_not_be_met_is_refused() -> None:
    vectors, patients = np.eye(6), np.array([0, 0, 0, 1, 1, 2])
    with pytest.raises(InputError, match="6 candidates of 3 patients give 3 with at most 1 of a patient"):
        choose_to_label(vectors, patients, 4, seed=0)
    with pytest.raises(InputError, match="numbers from 1"):
        choose_to_label(vectors, patients, 0, seed=0)
    with pytest.raises(InputError, match="choose one of typiclust, kmedoids"):
        choose_to_label(vectors, patients, 1, method="best", seed=0)
    with pytest.raises(InputError, match="more than 1000"):
        choose_to_label(np.ones((1500, 2)), np.arange(1500), 1001, method="kmedoids", seed=0)
    vectors[2, 2] = np.nan
    with pytest.raises(InputError, match="1 of 6 features"):
        choose_to_label(vectors, patients, 2, seed=0)
