"""Inner folds: whole patients, every vector once, and never all of a class."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from medino.data import Manifest
from medino.features import FeatureTable
from medino.probes import FewShotStudy, logistic, of_kind
from medino.probes.folds import FOLDS, inner_folds
from medino.probes.linear_grid import best_head
from medino.probes.logistic import STRENGTHS, choose_strength
from medino.probes.ridge import ridge
from medino.probes.span import Span


def _targets(classes: int, shots: int) -> torch.Tensor:
    return F.one_hot(torch.arange(classes).repeat_interleave(shots), classes).double()


def _keep_their_promises(folds: torch.Tensor, targets: torch.Tensor, patients: np.ndarray) -> None:
    """Of one episode's (F, S) folds."""
    assert (folds.sum(dim=0) == 1).all()
    for patient in np.unique(patients):
        assert ((folds[:, patients == patient] > 0).any(dim=1)).sum() == 1
    assert ((1 - folds) @ targets >= 1).all()


@pytest.mark.parametrize(("shots", "sizes"), [(1, []), (2, [3, 3]), (7, [6, 6, 3, 3, 3])])
def test_of_as_many_patients_as_vectors_each_fold_leaves_out_as_many_of_each_class(
    shots: int, sizes: list[int]
) -> None:
    targets = _targets(3, shots)
    folds = inner_folds(targets, np.arange(3 * shots)[None])[0]
    assert folds.sum(dim=1).tolist() == sizes
    if sizes:
        # In turn, in the order of the vectors.
        places = torch.arange(shots).repeat(3)
        torch.testing.assert_close(folds, (places % len(sizes) == torch.arange(len(sizes))[:, None]).double())


@pytest.mark.parametrize("classes", [2, 3, 8])
@pytest.mark.parametrize("shots", [2, 5, 12])
@pytest.mark.parametrize("pool", [3, 6, 40])
def test_whole_patients_are_left_out_once_and_no_class_with_them(classes: int, shots: int, pool: int) -> None:
    """Whoever is in whichever classes, many or few of them."""
    generator, targets = np.random.default_rng(100 * classes + shots), _targets(classes, shots)
    patients = generator.integers(pool, size=(30, classes * shots)) * 7
    folds = inner_folds(targets, patients)
    for found, owners in zip(folds, patients, strict=True):
        fewest = min(len(set(of_class.tolist())) for of_class in owners.reshape(classes, shots))
        if fewest < 2:
            assert not found.any()
            continue
        _keep_their_promises(found, targets, owners)
        used = int(found.any(dim=1).sum())
        assert 2 <= used <= max(min(FOLDS, fewest), classes + 1)


def test_each_class_is_spread_over_as_many_folds_as_it_has_patients_at_most_five() -> None:
    """Where nobody is in two classes; the patients of many vectors are dealt first."""
    targets = _targets(2, 12)
    first, second = [0] * 2 + [1] * 1 + [2] * 9, [3] * 6 + [4, 5, 6, 7, 8, 9]
    folds = inner_folds(targets, np.array([first + second]))[0]
    assert len(folds) == 3
    _keep_their_promises(folds, targets, np.array(first + second))
    assert sorted((folds @ targets)[:, 0].tolist()) == [1, 2, 9]
    assert sorted((folds @ targets)[:, 1].tolist()) == [3, 3, 6]
    # Three patients in two folds: the larger ones first, or 4 and 2 would be left out.
    folds = inner_folds(_targets(2, 6), np.array([[0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]]))[0]
    assert folds.sum(dim=1).tolist() == [6, 6]
    six = np.array([[*range(6), *range(6), *range(6, 18)]])
    assert inner_folds(targets, six).shape == (1, FOLDS, 24)


def test_patients_bound_too_closely_for_two_folds_have_three() -> None:
    patients = np.array([[0, 1, 1, 2, 2, 0], [0, 1, 2, 3, 4, 5]])
    folds = inner_folds(_targets(3, 2), patients)
    assert folds.shape == (2, 3, 6)
    for found, owners in zip(folds, patients, strict=True):
        _keep_their_promises(found, _targets(3, 2), owners)
    # The other episode has two, and the third leaves nothing out.
    assert folds[1].sum(dim=1).tolist() == [3, 3, 0]


def _shared(episodes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two classes of four patients with three images each, which are all but copies: left out one by one they tell
    nothing of other patients."""
    generator = np.random.default_rng(0)
    labels, patients = np.repeat((0, 1), 12), np.tile(np.arange(8).repeat(3), (episodes, 1))
    own = generator.normal(size=(episodes, 8, 10)) * 2
    own[:, :, 0] += np.repeat((-1, 1), 4)
    support = own[:, np.arange(8).repeat(3)] + 0.1 * generator.normal(size=(episodes, 24, 10))
    queries = generator.normal(size=(40, 10)) * 2
    return support.astype(np.float32), labels, queries.astype(np.float32), patients


def test_the_strength_is_that_of_scikit_learns_folds_by_patient() -> None:
    support, labels, _, patients = _shared()
    # Eight patients and as many groups: of four patients a class there are four folds, each of one of either class.
    groups = patients[0] % 4
    known = Span.of(support).coordinates
    targets = F.one_hot(torch.from_numpy(labels), 2).double()
    chosen = choose_strength(known, targets, inner_folds(targets, patients))
    for episode in range(len(support)):
        vectors = known[episode, :, :-1].numpy()
        losses = []
        for strength in STRENGTHS:
            loss = 0.0
            for seen, unseen in GroupKFold(4).split(vectors, labels, groups):
                # Two classes have one vector in scikit-learn, here two of half the squared length each.
                fit = LogisticRegression(C=2 * strength, tol=1e-8, max_iter=20000).fit(vectors[seen], labels[seen])
                loss -= fit.predict_log_proba(vectors[unseen])[np.arange(len(unseen)), labels[unseen]].sum()
            losses.append(loss)
        assert float(chosen[episode]) == STRENGTHS[int(np.argmin(losses))]
    by_vector = choose_strength(known, targets, inner_folds(targets, np.tile(np.arange(24), (3, 1))))
    assert (by_vector > chosen).tolist() == [True, True, False]


def test_the_rate_is_that_of_least_loss_on_patients_left_out() -> None:
    support, labels, queries, patients = _shared()
    targets = F.one_hot(torch.from_numpy(labels), 2).float()
    inputs = torch.from_numpy(support), targets, torch.from_numpy(queries)
    together, _ = best_head(*inputs, inner_folds(targets, patients))
    by_vector, _ = best_head(*inputs, inner_folds(targets, np.tile(np.arange(24), (3, 1))))
    assert (together > 2 * by_vector).all()


def test_episodes_of_unlike_folds_are_fitted_as_by_themselves() -> None:
    """One of them has a class of one patient, which leaves the setting to the prior."""
    support, labels, queries, patients = _shared()
    patients[1], patients[2, :12] = np.arange(24), 0
    together = logistic(support, labels, queries, 2, patients)
    for episode in range(3):
        alone = logistic(support[[episode]], labels, queries, 2, patients[[episode]])
        np.testing.assert_allclose(together[[episode]], alone, atol=1e-5)
    np.testing.assert_allclose(together[[1]], logistic(support[[1]], labels, queries, 2), atol=1e-5)
    targets = F.one_hot(torch.from_numpy(labels), 2).double()
    chosen = choose_strength(Span.of(support).coordinates, targets, inner_folds(targets, patients))
    assert float(chosen[2]) == 1
    heads = torch.from_numpy(support), targets.float(), torch.from_numpy(queries)
    loss, scores = best_head(*heads, inner_folds(targets.float(), patients))
    assert loss.flatten().gt(0).tolist() == [True, True, False]
    for episode in range(3):
        folds = inner_folds(targets.float(), patients[[episode]])
        _, alone = best_head(heads[0][[episode]], *heads[1:], folds)
        torch.testing.assert_close(scores[[episode]], alone)


def _cohort(make_manifest, target: str) -> tuple[Manifest, FeatureTable]:
    """Patients of six images each that are all but copies, as are their tables of features."""
    manifest = make_manifest(classes=2, patients_a_class=12, images_a_patient=6)
    patients = np.arange(24).repeat(6)
    if target == "continuous":
        manifest = manifest.with_column("label", [str(patient) for patient in patients])
    generator = np.random.default_rng(0)
    own = 2 * generator.normal(size=(24, 10))
    own[:, 0] += np.where(np.arange(24) % 2, 1, -1)
    table = FeatureTable(
        sample_ids=manifest.column("sample_id"),
        blocks={(1, "class"): (own[patients] + 0.1 * generator.normal(size=(144, 10))).astype(np.float32)},
        backbone="copies",
        manifest=manifest.fingerprint,
        transform="none",
    )
    return manifest, table


def _by_logistic(support: np.ndarray, labels: np.ndarray, queries: np.ndarray, patients: np.ndarray) -> np.ndarray:
    return logistic(support[None], (labels == "class 1").astype(int), queries, 2, patients[None])[0, :, 1]


def _by_grid(support: np.ndarray, labels: np.ndarray, queries: np.ndarray, patients: np.ndarray) -> np.ndarray:
    targets = F.one_hot(torch.from_numpy((labels == "class 1").astype(int)), 2).float()
    vectors, asked = torch.from_numpy(support)[None], torch.from_numpy(queries)
    return best_head(vectors, targets, asked, inner_folds(targets, patients[None]))[1][0, :, 1].numpy()


def _by_ridge(support: np.ndarray, labels: np.ndarray, queries: np.ndarray, patients: np.ndarray) -> np.ndarray:
    return ridge(support[None], labels.astype(float)[None], queries, patients[None])[0]


@pytest.mark.parametrize(
    ("target", "probe", "alone"),
    [
        ("classes", "logistic", _by_logistic),
        ("classes", "logistic_max", _by_logistic),
        ("classes", "linear_grid", _by_grid),
        ("multilabel", "logistic", _by_logistic),
        ("continuous", "ridge", _by_ridge),
    ],
)
def test_a_study_of_several_images_a_patient_chooses_by_patient(
    target: str, probe: str, alone: Callable[..., np.ndarray], make_manifest
) -> None:
    """What each episode said comes from its support rows with their patients, and not from them without."""
    manifest, table = _cohort(make_manifest, target)
    study = FewShotStudy(shots=(14,), episodes=4, replicates=20, draw="images", target=target, probes=(probe,))
    evidence = study.run({"start": table}, manifest)
    row = {sample_id: place for place, sample_id in enumerate(table.sample_ids)}
    vectors, unlike = table.blocks[1, "class"], 0
    for episode in range(4):
        # Several labels are drawn patient by patient; a probe of two classes is asked class after class.
        drawn = of_kind(evidence, "support", episode=episode)
        drawn = drawn.take(np.argsort(drawn["target"].to_pylist(), kind="stable")) if target == "multilabel" else drawn
        asked = of_kind(evidence, "outcome", episode=episode)
        support, queries = (vectors[[row[name] for name in rows["unit_id"].to_pylist()]] for rows in (drawn, asked))
        scores = asked["predicted_value" if target == "continuous" else "scores"].to_pylist()
        said = scores if target == "continuous" else np.array(scores)[:, 1]
        patients = np.unique(drawn["patient"].to_pylist(), return_inverse=True)[1]
        assert len(set(patients.tolist())) < len(patients)
        labels = np.array(drawn["target"].to_pylist())
        expected = alone(support, labels, queries, patients)
        np.testing.assert_allclose(said, expected, rtol=1e-4, atol=1e-4)
        unlike += not np.allclose(alone(support, labels, queries, np.arange(len(patients))), expected, atol=1e-3)
    assert unlike
