"""Retrieval's metrics are scikit-learn's and closed forms; their intervals are by patient."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from medino.core import InputError
from medino.features.neighbours import ROWS_AT_ONCE, in_parts
from medino.probes import retrieval as module
from medino.probes.retrieval import Ranked, average_precision, rank_queries, recall_at, retrieval_scores


def test_average_precision_is_scikit_learns_with_and_without_ties() -> None:
    generator = np.random.default_rng(0)
    for decimals in (8, 1):
        for _ in range(30):
            cosines = np.round(generator.normal(size=40), decimals)
            relevant = generator.random(40) < 0.2
            relevant[3] = True
            assert average_precision(cosines, relevant) == pytest.approx(average_precision_score(relevant, cosines))


def test_average_precision_of_a_ranking_worked_by_hand() -> None:
    # Relevant at ranks 1 and 3 of 4: (1/1 + 2/3) / 2.
    assert average_precision(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 0], bool)) == pytest.approx(5 / 6)


@pytest.mark.parametrize("k", [1, 2, 4, 6, 9])
def test_recall_under_ties_is_the_mean_over_random_orders(k: int) -> None:
    cosines = np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.1])
    relevant = np.array([0, 0, 0, 1, 0, 1, 1, 0], bool)
    generator, hits = np.random.default_rng(0), []
    for _ in range(4000):
        order = np.lexsort((generator.random(8), -cosines))
        hits.append(relevant[order[:k]].any())
    assert recall_at(k, cosines, relevant) == pytest.approx(np.mean(hits), abs=0.03)


def ranked(vectors: np.ndarray, labels: np.ndarray, patients: np.ndarray, rows: np.ndarray) -> Ranked:
    return rank_queries(vectors[rows], labels[rows], patients[rows], in_parts(vectors), labels, patients, (1, 3))


@pytest.mark.parametrize("at_once", [1, 500, 1 << 22])
def test_own_patient_and_unlabelled_images_take_no_part(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    generator = np.random.default_rng(0)
    labels, patients = generator.integers(-1, 3, 200), np.arange(200) // 4
    vectors = np.eye(3)[np.maximum(labels, 0)] + generator.normal(0, 0.5, (200, 3))
    rows = np.flatnonzero(labels >= 0)[:40]
    found = ranked(vectors, labels, patients, rows)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for place, row in enumerate(rows):
        others = (patients != patients[row]) & (labels >= 0)
        cosines, relevant = unit[others] @ unit[row], labels[others] == labels[row]
        assert found.metrics["mAP"][place] == pytest.approx(average_precision_score(relevant, cosines))
        assert found.metrics["recall at 1"][place] == relevant[cosines.argmax()]


def test_identical_vectors_score_what_chance_does() -> None:
    labels, patients = np.repeat([0, 1], [30, 10]), np.arange(40)
    found = ranked(np.ones((40, 5)), labels, patients, np.arange(40))
    # A query of the first label has 29 relevant among 39.
    assert found.metrics["mAP"][0] == pytest.approx(29 / 39)
    assert found.metrics["recall at 1"][39] == pytest.approx(9 / 39)
    for name, values in found.metrics.items():
        np.testing.assert_allclose(values, found.chance[name])


def test_queries_without_another_patient_of_their_label_are_left_out() -> None:
    labels, patients = np.array([0, 0, 1, 1, 1]), np.array([0, 0, 1, 2, 3])
    found = ranked(np.eye(5), labels, patients, np.arange(5))
    assert np.isnan(found.metrics["mAP"]).tolist() == [True, True, False, False, False]
    with pytest.raises(InputError, match="label more patients"):
        retrieval_scores(ranked(np.eye(5), labels, patients, np.arange(2)), patients[:2], 10, 0)


def test_the_interval_is_over_patients_and_not_over_their_images() -> None:
    generator = np.random.default_rng(0)
    by_patient = generator.random(25)
    patients = np.repeat(np.arange(25), 40)
    values = {"mAP": by_patient[patients]}
    (score,) = retrieval_scores(Ranked(values, values), patients, 4000, 0)
    assert score.value == pytest.approx(by_patient.mean())
    # The closed form of a mean's error over 25 patients; over 1000 images it would be a sixth of that.
    half = 1.96 * by_patient.std() / 5
    assert (score.high - score.low) / 2 == pytest.approx(half, rel=0.08)


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="recall at 0"):
        rank_queries(np.eye(2), np.zeros(2), np.arange(2), in_parts(np.eye(2)), np.zeros(2), np.arange(2), (0,))
    with pytest.raises(InputError, match="replicates"):
        retrieval_scores(Ranked({"mAP": np.ones(1)}, {"mAP": np.ones(1)}), np.zeros(1), 0, 0)


def test_memory_is_that_of_a_pass_and_not_of_all_vectors_or_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    count, size, asked = 100_000, 64, 30
    monkeypatch.setattr(module, "AT_ONCE", 3 * count)
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(count, size)).astype(np.float32)
    labels, patients, rows = generator.integers(0, 10, count), np.arange(count), np.arange(0, count, 701)[:asked]
    passes = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal passes
        passes += 1
        yield from in_parts(vectors)()

    tracemalloc.start()
    found = rank_queries(vectors[rows], labels[rows], patients[rows], counted, labels, patients, (1, 5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert passes == asked // 3
    assert not np.isnan(found.metrics["mAP"]).any()
    # The cosines of a pass, a query's ranking and the labels and patients searched, and a few copies of a part.
    few = 8 * count * (3 + 9) + 4 * 8 * ROWS_AT_ONCE * size
    assert peak < few
    assert few < min(vectors.nbytes, 8 * count * asked)
