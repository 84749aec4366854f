import math
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import normalize

from medino.probes import knn, nearest_mean


def _problem(shots: int, classes: int = 3, episodes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(shots)
    labels = np.repeat(np.arange(classes), shots)
    means = generator.normal(size=(classes, 12))
    support = means[labels] + generator.normal(size=(episodes, len(labels), 12))
    queries = means[generator.integers(classes, size=40)] + generator.normal(size=(40, 12))
    return support.astype(np.float32), labels, queries.astype(np.float32)


def _votes_by_loop(support: np.ndarray, labels: np.ndarray, query: np.ndarray, classes: int, k: int) -> list[float]:
    """The definition, vector by vector."""
    similar = []
    for vector, label in zip(support, labels, strict=True):
        cosine = float(vector @ query) / math.sqrt(float(vector @ vector)) / math.sqrt(float(query @ query))
        similar.append((cosine, label))
    nearest = sorted(similar, key=lambda pair: -pair[0])[:k]
    total = sum(math.exp(cosine / 0.07) for cosine, _ in nearest)
    votes = [0.0] * classes
    for cosine, label in nearest:
        votes[label] += math.exp(cosine / 0.07) / total
    return votes


@pytest.mark.parametrize("shots", [1, 5, 30])
def test_knn_is_its_definition(shots: int) -> None:
    support, labels, queries = _problem(shots)
    scores = knn(support, labels, queries, 3)
    for episode in range(len(support)):
        for query in range(len(queries)):
            expected = _votes_by_loop(support[episode], labels, queries[query], 3, k=min(20, shots))
            np.testing.assert_allclose(scores[episode, query], expected, atol=2e-5)


def test_knn_tells_vectors_apart_that_are_nearly_one() -> None:
    support, labels, queries = _problem(5)
    common = np.random.default_rng(0).normal(size=12)
    # As the class tokens of an untrained network with LayerScale 1e-5.
    support, queries = ((common + 1e-5 * vectors).astype(np.float64) for vectors in (support, queries))
    scores = knn(support, labels, queries, 3)
    for episode, vectors in enumerate(support):
        # Between unit vectors the distance ranks as the cosine does, and cancels nothing.
        near, far = normalize(vectors), normalize(queries)
        distance = np.linalg.norm(far[:, None] - near[None], axis=2)
        nearest = labels[np.argsort(distance, axis=1)[:, :5]]
        counts = np.stack([(nearest == label).mean(axis=1) for label in range(3)], axis=1)
        np.testing.assert_allclose(scores[episode], counts, atol=1e-6)


def test_knn_predicts_as_scikit_learn_with_those_weights() -> None:
    support, labels, queries = _problem(5)
    scores = knn(support, labels, queries, 3)
    for episode, vectors in enumerate(support):
        peer = KNeighborsClassifier(5, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07))
        expected = peer.fit(vectors, labels).predict_proba(queries)
        np.testing.assert_allclose(scores[episode], expected, atol=2e-5)


def test_nearest_mean_predicts_as_scikit_learns_centroids() -> None:
    support, labels, queries = _problem(5)
    scores = nearest_mean(support, labels, queries, 3)
    for episode, vectors in enumerate(support):
        centre = vectors.mean(axis=0)
        peer = NearestCentroid().fit(normalize(vectors - centre), labels)
        np.testing.assert_array_equal(scores[episode].argmax(axis=1), peer.predict(normalize(queries - centre)))


@pytest.mark.parametrize("probe", [knn, nearest_mean])
def test_scores_sum_to_one_and_identical_vectors_tell_nothing(probe: Callable[..., np.ndarray]) -> None:
    support, labels, queries = _problem(5)
    np.testing.assert_allclose(probe(support, labels, queries, 3).sum(axis=2), 1, rtol=1e-5)
    for value in (0.0, 3.0):
        scores = probe(np.full_like(support, value), labels, np.full_like(queries, value), 3)
        assert np.isfinite(scores).all()
        assert (scores == scores[:, :1]).all()
