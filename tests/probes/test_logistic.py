import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from medino.probes import logistic
from medino.probes.folds import inner_folds
from medino.probes.logistic import STRENGTHS, choose_strength, fit_logistic
from medino.probes.span import Span


def _problem(shots: int, dimensions: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(shots + dimensions)
    labels = np.repeat(np.arange(classes), shots)
    means = generator.normal(size=(classes, dimensions)) * 0.6
    support = means[labels] + generator.normal(size=(3, len(labels), dimensions)) * np.linspace(0.1, 2, dimensions)
    queries = means[generator.integers(classes, size=50)] + generator.normal(size=(50, dimensions))
    return support.astype(np.float32), labels, queries.astype(np.float32)


def _folds(targets: torch.Tensor) -> torch.Tensor:
    """Of three episodes whose vectors are of as many patients."""
    return inner_folds(targets, np.tile(np.arange(len(targets)), (3, 1)))


def _scaled(support: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """As the module says: centred, and divided by the root mean square distance."""
    support = support.astype(np.float64)
    centre = support.mean(axis=0)
    return (vectors - centre) / np.sqrt(((support - centre) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("dimensions", [6, 80])
@pytest.mark.parametrize("shots", [1, 3, 12])
def test_probabilities_are_scikit_learns(shots: int, dimensions: int, classes: int) -> None:
    support, labels, queries = _problem(shots, dimensions, classes)
    scores = logistic(support, labels, queries, classes)
    known = Span.of(support).coordinates
    targets = F.one_hot(torch.from_numpy(labels), classes).double()
    strengths = choose_strength(known, targets, _folds(targets))
    for episode, vectors in enumerate(support):
        strength = float(strengths[episode])
        # Two classes have one vector d in scikit-learn, here w and -w with d = 2 w: ||w||^2 + ||-w||^2 = ||d||^2 / 2.
        peer = LogisticRegression(C=strength if classes > 2 else strength * 2, tol=1e-10, max_iter=20000)
        expected = peer.fit(_scaled(vectors, vectors), labels).predict_proba(_scaled(vectors, queries))
        np.testing.assert_allclose(scores[episode], expected, atol=2e-4)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_the_objective_is_not_above_scikit_learns(strength: float) -> None:
    support, labels, _ = _problem(8, 40)
    known = Span.of(support[:1]).coordinates
    targets = F.one_hot(torch.from_numpy(labels), 3).double()
    weights = fit_logistic(known, targets, torch.tensor([[strength]]).double(), torch.ones(1, len(labels)).double())
    peer = LogisticRegression(C=strength, tol=1e-12, max_iter=50000).fit(known[0, :, :-1].numpy(), labels)

    def objective(coefficients: np.ndarray, intercept: np.ndarray) -> float:
        logits = torch.from_numpy(known[0, :, :-1].numpy() @ coefficients.T + intercept)
        loss = F.cross_entropy(logits, torch.from_numpy(labels), reduction="sum")
        return float(strength * loss + 0.5 * (coefficients**2).sum())

    ours = objective(weights[0, 0, :, :-1].numpy(), weights[0, 0, :, -1].numpy())
    assert ours <= objective(peer.coef_, peer.intercept_) * (1 + 1e-6)


def test_strength_is_chosen_by_the_loss_of_left_out_folds() -> None:
    support, labels, _ = _problem(5, 30)
    known = Span.of(support).coordinates
    targets = F.one_hot(torch.from_numpy(labels), 3).double()
    chosen = choose_strength(known, targets, _folds(targets))
    for episode in range(len(support)):
        vectors, fold = known[episode, :, :-1].numpy(), np.tile(np.arange(5), 3)
        losses = []
        for strength in STRENGTHS:
            loss = 0.0
            for left_out in range(5):
                fit = LogisticRegression(C=strength, tol=1e-8, max_iter=20000)
                fit.fit(vectors[fold != left_out], labels[fold != left_out])
                shares = fit.predict_log_proba(vectors[fold == left_out])
                loss -= shares[np.arange(3), labels[fold == left_out]].sum()
            losses.append(loss)
        assert float(chosen[episode]) == STRENGTHS[int(np.argmin(losses))]


def test_episodes_are_fitted_independently() -> None:
    support, labels, queries = _problem(4, 20)
    together = logistic(support, labels, queries, 3)
    apart = np.concatenate([logistic(support[[episode]], labels, queries, 3) for episode in range(len(support))])
    np.testing.assert_allclose(together, apart, atol=1e-4)


def test_the_scale_of_the_features_does_not_matter() -> None:
    support, labels, queries = _problem(4, 20)
    expected = logistic(support, labels, queries, 3)
    np.testing.assert_allclose(logistic(support * 1000 + 5, labels, queries * 1000 + 5, 3), expected, atol=1e-3)


def test_identical_vectors_tell_nothing() -> None:
    support, labels, queries = _problem(4, 20)
    for value in (0.0, 3.0):
        scores = logistic(np.full_like(support, value), labels, np.full_like(queries, value), 3)
        np.testing.assert_allclose(scores, 1 / 3, atol=1e-6)


def test_nearly_all_predictions_are_those_of_scikit_learn_at_its_optimum() -> None:
    classes, strengths = 5, torch.tensor(STRENGTHS).double()
    support, labels, _ = _problem(8, 96, classes)
    queries = np.random.default_rng(0).normal(size=(4000, 96)) * np.linspace(0.1, 2, 96)
    span = Span.of(support)
    targets = F.one_hot(torch.from_numpy(labels), classes).double()
    everything = torch.ones(len(strengths), len(labels)).double()
    weights = fit_logistic(span.coordinates, targets, strengths.expand(len(support), -1), everything)
    predicted = span.outputs(queries, weights).argmax(dim=2).numpy()
    # Queries of no class lie near the boundaries, where predictions are the hardest to agree on.
    assert np.bincount(predicted[0, 0], minlength=classes).min() > 100
    for episode, vectors in enumerate(support):
        unknown, known = _scaled(vectors, queries), _scaled(vectors, vectors)
        for strength, said in zip(STRENGTHS, predicted[episode], strict=True):
            peer = LogisticRegression(C=strength, tol=1e-10, max_iter=50_000).fit(known, labels)
            assert (peer.predict(unknown) == said).mean() >= 0.999
