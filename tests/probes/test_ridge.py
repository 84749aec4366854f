"""Ridge regression beside scikit-learn's, and where there is nothing to choose by."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from medino.probes.ridge import PENALTIES, choose_penalty, fit_ridge, ridge
from medino.probes.span import Span


def _problem(units: int, dimensions: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(units * 100 + dimensions)
    support = generator.normal(size=(4, units, dimensions)) * np.linspace(0.1, 2, dimensions) + 3
    values = 60 + 10 * (support @ generator.normal(size=dimensions)) / np.sqrt(dimensions)
    values += noise * generator.normal(size=values.shape)
    return support.astype(np.float32), values, generator.normal(size=(20, dimensions)).astype(np.float32) + 3


def _chosen(support: np.ndarray, values: np.ndarray, patients: np.ndarray | None = None) -> torch.Tensor:
    own = np.tile(np.arange(values.shape[1]), (len(values), 1)) if patients is None else patients
    return choose_penalty(Span.of(support).coordinates, torch.from_numpy(values), torch.from_numpy(own))


def _scaled(support: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Centred, and divided by the root mean square distance."""
    support = support.astype(np.float64)
    centre = support.mean(axis=0)
    return (vectors - centre) / np.sqrt(((support - centre) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize("noise", [0.1, 30.0])
@pytest.mark.parametrize("dimensions", [5, 40])
@pytest.mark.parametrize("units", [3, 12, 30])
def test_values_and_penalty_are_those_of_scikit_learns_leave_one_out(units: int, dimensions: int, noise: float) -> None:
    support, values, queries = _problem(units, dimensions, noise)
    chosen = _chosen(support, values)
    found = ridge(support, values, queries)
    for episode in range(len(support)):
        peer = RidgeCV(alphas=PENALTIES).fit(_scaled(support[episode], support[episode]), values[episode])
        assert float(chosen[episode]) == peer.alpha_
        np.testing.assert_allclose(found[episode], peer.predict(_scaled(support[episode], queries)), rtol=1e-6)


def test_leave_one_out_is_what_it_says() -> None:
    """One fit for each unit left out gives the same choice as the closed form."""
    support, values, _ = _problem(6, 20, 10.0)
    chosen = _chosen(support, values)
    for episode in range(len(support)):
        vectors = _scaled(support[episode], support[episode])
        losses = []
        for penalty in PENALTIES:
            kept = [np.arange(6) != out for out in range(6)]
            fits = [Ridge(alpha=penalty).fit(vectors[some], values[episode][some]) for some in kept]
            losses.append(sum((fits[out].predict(vectors[[out]])[0] - values[episode][out]) ** 2 for out in range(6)))
        assert float(chosen[episode]) == PENALTIES[int(np.argmin(losses))]


@pytest.mark.parametrize("noise", [0.1, 30.0])
def test_of_several_units_a_patient_all_are_left_out_together(noise: float) -> None:
    """As by one fit for each patient left out; in the second episode nobody repeats, in the last all are of one."""
    support, values, queries = _problem(12, 20, noise)
    # What a patient's units share, and tells nothing of others.
    patients = np.array([np.arange(12) // 3, np.arange(12), np.arange(12) % 5, np.zeros(12, dtype=int)])
    for episode in (0, 2):
        own = np.random.default_rng(episode).normal(size=(5, 21)) * 20
        support[episode] += own[patients[episode], :20]
        values[episode] += own[patients[episode], 20]
    chosen = _chosen(support, values, patients)
    found = ridge(support, values, queries, patients)
    for episode in range(3):
        vectors, owners = _scaled(support[episode], support[episode]), patients[episode]
        losses = []
        for penalty in PENALTIES:
            fit, folds = Ridge(alpha=penalty), LeaveOneGroupOut()
            said = cross_val_predict(fit, vectors, values[episode], groups=owners, cv=folds)
            losses.append(((said - values[episode]) ** 2).sum())
        assert float(chosen[episode]) == PENALTIES[int(np.argmin(losses))]
        peer = Ridge(alpha=float(chosen[episode])).fit(vectors, values[episode])
        np.testing.assert_allclose(found[episode], peer.predict(_scaled(support[episode], queries)), rtol=1e-6)
    assert float(chosen[3]) == 1
    assert float(chosen[1]) == float(_chosen(support, values)[1])
    assert chosen[[0, 2]].tolist() != _chosen(support, values)[[0, 2]].tolist()


def test_one_or_two_units_leave_the_penalty_to_the_prior() -> None:
    for units in (1, 2):
        support, values, queries = _problem(units, 10)
        np.testing.assert_array_equal(_chosen(support, values), 1)
        found = ridge(support, values, queries)
        if units == 1:
            np.testing.assert_allclose(found, np.repeat(values, 20, axis=1))
        for episode in range(len(support)):
            scaled = _scaled(support[episode], queries) if units == 2 else np.zeros((20, 10))
            known = _scaled(support[episode], support[episode]) if units == 2 else np.zeros((1, 10))
            peer = Ridge(alpha=1.0).fit(known, values[episode])
            np.testing.assert_allclose(found[episode], peer.predict(scaled), rtol=1e-6)


def test_the_scale_of_the_features_and_of_the_values_does_not_matter() -> None:
    support, values, queries = _problem(8, 30)
    expected = ridge(support, values, queries)
    np.testing.assert_allclose(ridge(support * 500 + 7, values, queries * 500 + 7), expected, rtol=1e-3)
    np.testing.assert_allclose(ridge(support, values * 1e6 - 5, queries), expected * 1e6 - 5, rtol=1e-9)


def test_identical_vectors_and_equal_values_give_the_mean() -> None:
    support, values, queries = _problem(8, 30)
    for same in (0.0, 0.1, -7.3):
        found = ridge(np.full_like(support, same), values, queries)
        np.testing.assert_allclose(found, np.repeat(values.mean(axis=1)[:, None], 20, axis=1))
    np.testing.assert_allclose(ridge(support, np.full_like(values, 4.5), queries), 4.5)


def test_a_constant_feature_changes_nothing() -> None:
    support, values, queries = _problem(8, 30)
    expected = ridge(support, values, queries)
    known, asked = (
        np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, 1)], constant_values=9) for part in (support, queries)
    )
    np.testing.assert_allclose(ridge(known, values, asked), expected, rtol=1e-5)


def test_a_stronger_penalty_gives_smaller_weights() -> None:
    support, values, _ = _problem(10, 30)
    coordinates = Span.of(support).coordinates
    penalties = torch.tensor(PENALTIES, dtype=torch.float64).expand(4, -1)
    lengths = fit_ridge(coordinates, torch.from_numpy(values), penalties)[..., :-1].norm(dim=2)
    assert (lengths.diff(dim=1) > 0).all()
