import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from medino.probes import balanced_accuracy, macro_auroc


def _problem(classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    targets = np.concatenate([np.arange(classes), generator.integers(classes, size=80)])
    scores = generator.random((len(targets), classes)) + np.eye(classes)[targets] * 0.3
    # Rounded, so that there are ties.
    scores = np.round(scores / scores.sum(axis=1, keepdims=True), 2)
    return targets, scores, generator.integers(0, 4, size=len(targets))


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_balanced_accuracy_is_scikit_learns(classes: int) -> None:
    targets, scores, weights = _problem(classes)
    predicted = scores.argmax(axis=1)
    assert balanced_accuracy(targets, predicted) == pytest.approx(balanced_accuracy_score(targets, predicted))
    expected = balanced_accuracy_score(targets, predicted, sample_weight=weights)
    assert balanced_accuracy(targets, predicted, weights) == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_macro_auroc_is_scikit_learns(classes: int) -> None:
    targets, scores, weights = _problem(classes)
    columns = range(classes)
    expected = np.mean([roc_auc_score(targets == column, scores[:, column]) for column in columns])
    assert macro_auroc(targets, scores) == pytest.approx(expected)
    expected = np.mean([roc_auc_score(targets == c, scores[:, c], sample_weight=weights) for c in columns])
    assert macro_auroc(targets, scores, weights) == pytest.approx(expected)


def test_two_classes_give_the_binary_auroc() -> None:
    targets, scores, _ = _problem(2)
    scores[:, 0] = 1 - scores[:, 1]
    assert macro_auroc(targets, scores) == pytest.approx(roc_auc_score(targets, scores[:, 1]))


def test_equal_scores_are_worth_one_half() -> None:
    assert macro_auroc(np.array([0, 1, 2]), np.full((3, 3), 1 / 3)) == 0.5


def test_an_absent_class_is_left_out_of_the_mean() -> None:
    targets, predicted = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert balanced_accuracy(targets, predicted) == pytest.approx(0.75)
    assert balanced_accuracy(targets, predicted, np.array([1, 1, 0, 0])) == pytest.approx(0.5)
    scores = np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.3, 0.6, 0.1], [0.5, 0.3, 0.2]])
    both = np.mean([roc_auc_score(targets == column, scores[:, column]) for column in (0, 1)])
    assert macro_auroc(targets, scores) == pytest.approx(both)


def test_one_class_alone_has_no_auroc() -> None:
    assert np.isnan(macro_auroc(np.zeros(3, dtype=int), np.random.default_rng(0).random((3, 2))))
    assert np.isnan(balanced_accuracy(np.zeros(3, dtype=int), np.zeros(3, dtype=int), np.zeros(3)))
