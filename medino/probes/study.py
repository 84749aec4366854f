"""The few-shot study: shots x episodes x backbones x probes on fixed test patients, as evidence.

Test units are those of the split "test"; support sets are drawn from the split "train" alone, so that "validation"
stays free for choosing between settings. Every backbone and probe sees the same support sets, and every interval comes
from the same resamples of the test patients.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from medino.core import InputError, track
from medino.data import Manifest
from medino.features import FeatureTable
from medino.probes.bootstrap import auroc_replicates, balanced_accuracy_replicates, patient_counts, percentile_interval
from medino.probes.classifiers import knn, nearest_mean
from medino.probes.episodes import check_enough_patients, draw_support
from medino.probes.evidence import evidence_block, merge_evidence
from medino.probes.logistic import logistic
from medino.probes.metrics import balanced_accuracy, macro_auroc
from medino.probes.units import Units, labelled_units, unit_vectors

Probe = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
"""From support (E, S, D), classes (S,), queries (Q, D) and the number of classes C to scores (E, Q, C)."""

PROBES: dict[str, Probe] = {"nearest_mean": nearest_mean, "knn": knn, "logistic": logistic}

EPISODES_AT_ONCE = 64


@dataclass(frozen=True)
class FewShotStudy:
    """Compare backbones on a handful of labelled patients.

    Args:
        shots: labelled units a class, each from another patient; one study for each number.
        episodes: support sets drawn for each number of shots.
        probes: nearest_mean, knn, logistic.
        features: class, mean_patch, class_and_mean_patch or last_four.
        unit: what is classified: image, series, study or patient (vectors of its images averaged).
        seed: of support sets and resamples.
        replicates: resamples of the test patients for the 95 % intervals.
        dataset: name of the labelled set in the evidence; the manifest's name if None.
        baseline: the backbone that the others are compared with; the first one if None.

    Raises:
        InputError: a setting is unknown or not positive.
    """

    shots: Sequence[int] = (5, 20)
    episodes: int = 50
    probes: Sequence[str] = ("nearest_mean", "knn", "logistic")
    features: str = "class"
    unit: str = "image"
    seed: int = 0
    replicates: int = 1000
    dataset: str | None = None
    baseline: str | None = None

    def __post_init__(self) -> None:
        for probe in self.probes:
            if probe not in PROBES:
                raise InputError(f"there is no probe {probe!r}; choose from {', '.join(PROBES)}")
        if not self.probes or not self.shots:
            raise InputError("a study needs at least one number of shots and one probe")
        for name, value in (("shots", min(self.shots)), ("episodes", self.episodes), ("replicates", self.replicates)):
            if value < 1:
                raise InputError(f"{name} is {value}; give a number of at least 1")

    def check(self, manifest: Manifest) -> None:
        """See whether a manifest's labels and splits can carry the study, before any feature is computed.

        Raises:
            InputError: they can't; the message says which and why.
        """
        _Design(self, manifest, labelled_units(manifest, self.unit))

    def run(
        self,
        features: Mapping[str, FeatureTable],
        manifest: Manifest,
        pretraining_patients: Collection[str] | Mapping[str, Collection[str]] = (),
    ) -> pa.Table:
        """Run the study.

        Args:
            features: the features of each backbone or baseline by name; all of this manifest.
            manifest: with labels and splits.
            pretraining_patients: keyed hashes of patients seen unlabelled in pretraining: by backbone, or one
                collection for all. Those that a table of features names itself (its fact `pretraining_patients`) are
                added.

        Returns:
            Evidence: `support`, `outcome`, `episode` and `summary` rows (see `EvidenceRow`).

        Raises:
            InputError: the labels, splits or features can't carry the study; the message says which and why.
        """
        if not features:
            raise InputError("a study needs the features of at least one backbone; run medino embed first")
        baseline = self.baseline or next(iter(features))
        if baseline not in features:
            raise InputError(f"the baseline {baseline!r} is not among the features ({', '.join(features)})")
        for name, table in features.items():
            table.check_made_from(manifest, name)
        left_out = frozenset(sample for table in features.values() for sample in table.rejects)
        design = _Design(self, manifest, labelled_units(manifest, self.unit, left_out))
        vectors = {name: unit_vectors(design.units, table, self.features, name) for name, table in features.items()}
        seen = {name: _seen(name, table, pretraining_patients) for name, table in features.items()}
        return merge_evidence(list(_evidence(design, vectors, seen, baseline)))


def _seen(name: str, table: FeatureTable, given: Collection[str] | Mapping[str, Collection[str]]) -> frozenset[str]:
    """The patients that a backbone saw in pretraining."""
    of_backbone = given.get(name, ()) if isinstance(given, Mapping) else given
    return frozenset(of_backbone) | frozenset(table.facts.get("pretraining_patients", ()))


class _Design:
    """What is the same for every backbone: test units, classes, support sets, resamples.

    Raises:
        InputError: labels or splits can't carry the study.
    """

    def __init__(self, study: FewShotStudy, manifest: Manifest, units: Units) -> None:
        self.study, self.units = study, units
        self.test = np.flatnonzero(units.splits == "test")
        self.train = np.flatnonzero(units.splits == "train")
        for split, chosen in (("test", self.test), ("train", self.train)):
            if not len(chosen):
                raise InputError(
                    f"no labelled unit of {manifest.name} is in the split {split!r}; assign splits by patient when "
                    "scanning"
                )
        self.classes: list[str] = sorted({*units.labels[self.train], *units.labels[self.test]})
        if len(self.classes) < 2:
            raise InputError(f"all labelled units are of one class, {self.classes[0]!r}; a study needs two or more")
        for label in self.classes:
            if not (units.labels[self.test] == label).any():
                raise InputError(
                    f"class {label!r} has no test patients (there are {len(set(units.patients[self.test]))} in all); "
                    "assign the splits again or leave that class out"
                )
        both = set(units.patients[self.train]) & set(units.patients[self.test])
        if both:
            raise InputError(
                f"{len(both)} patients are in both train and test; assign the splits by patient before the study"
            )
        for shots in study.shots:
            check_enough_patients(units.labels[self.train], units.patients[self.train], self.classes, shots)
        code = {label: place for place, label in enumerate(self.classes)}
        self.targets = np.array([code[label] for label in units.labels[self.test]])
        self.test_patients, self.patient_of_unit = np.unique(units.patients[self.test].astype(str), return_inverse=True)
        self.shared = {
            "task": "classification",
            "dataset": study.dataset or manifest.name,
            "features": study.features,
            "unit": study.unit,
            "patient_unit": manifest.patient_unit,
        }

    @cached_property
    def weights(self) -> np.ndarray:
        """(R, N) how often each test unit counts in each resample of the test patients."""
        counts = patient_counts(len(self.test_patients), self.study.replicates, self.study.seed)
        return counts[:, self.patient_of_unit]

    def support(self, shots: int) -> np.ndarray:
        """(E, S) the units that each episode learns from, class after class."""
        labels, patients = self.units.labels[self.train], self.units.patients[self.train]
        drawn = [
            draw_support(labels, patients, self.classes, shots, self.study.seed, episode)
            for episode in range(self.study.episodes)
        ]
        return self.train[np.stack(drawn)]

    def scores(self, vectors: np.ndarray, support: np.ndarray, probe: str) -> np.ndarray:
        """(E, N, C) the scores of a probe for all test units, episode by episode."""
        classes = np.repeat(np.arange(len(self.classes)), support.shape[1] // len(self.classes))
        parts = [
            PROBES[probe](vectors[some], classes, vectors[self.test], len(self.classes))
            for some in np.split(support, range(EPISODES_AT_ONCE, len(support), EPISODES_AT_ONCE))
        ]
        return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True)
class _Metric:
    """A metric of one backbone and probe: its value in each episode, its mean, and that mean in each resample."""

    episodes: np.ndarray
    mean: float
    replicates: np.ndarray

    def minus(self, other: "_Metric") -> "_Metric":
        """The paired difference."""
        return _Metric(self.episodes - other.episodes, self.mean - other.mean, self.replicates - other.replicates)


def _metrics(design: _Design, scores: np.ndarray) -> dict[str, _Metric]:
    """Balanced accuracy and macro AUROC of (E, N, C) scores."""
    predicted, targets = scores.argmax(axis=2), design.targets
    once = np.ones((1, len(targets)), dtype=np.float32)
    return {
        "balanced_accuracy": _Metric(
            np.array([balanced_accuracy(targets, row) for row in predicted]),
            float(balanced_accuracy_replicates(targets, predicted, once)[0]),
            balanced_accuracy_replicates(targets, predicted, design.weights),
        ),
        "auroc": _Metric(
            np.array([macro_auroc(targets, slab) for slab in scores]),
            float(auroc_replicates(targets, scores, once)[0]),
            auroc_replicates(targets, scores, design.weights),
        ),
    }


def _evidence(
    design: _Design, vectors: Mapping[str, np.ndarray], seen: Mapping[str, frozenset[str]], baseline: str
) -> Iterator[pa.Table]:
    """All rows, in blocks."""
    study = design.study
    support = {shots: design.support(shots) for shots in study.shots}
    found: dict[tuple[int, str, str], dict[str, _Metric]] = {}
    work = [(shots, probe, name) for shots in study.shots for probe in study.probes for name in vectors]
    for shots, probe, name in track(work, "few-shot study"):
        where = {**design.shared, "backbone": name, "probe": probe, "shots": shots}
        scores = design.scores(vectors[name], support[shots], probe)
        found[shots, probe, name] = _metrics(design, scores)
        yield _support_rows(design, support[shots], where)
        yield _outcome_rows(design, scores, where)
    for (shots, probe, name), metrics in found.items():
        where = {**design.shared, "backbone": name, "probe": probe, "shots": shots}
        for metric, result in metrics.items():
            episodes = pa.array(np.arange(study.episodes))
            yield evidence_block(
                study.episodes,
                kind="episode",
                episode=episodes,
                metric=metric,
                value=pa.array(result.episodes),
                **where,
            )
            yield _summary_row(design, metric, result, seen[name], where)
            if name != baseline:
                difference = result.minus(found[shots, probe, baseline][metric])
                compared = {**where, "compared_with": baseline}
                yield _summary_row(design, metric, difference, seen[name] | seen[baseline], compared)


def _support_rows(design: _Design, support: np.ndarray, where: Mapping[str, object]) -> pa.Table:
    """One row for each unit that an episode learned from."""
    flat = support.reshape(-1)
    units = design.units
    return evidence_block(
        flat.size,
        kind="support",
        episode=pa.array(np.repeat(np.arange(len(support)), support.shape[1])),
        unit_id=pa.array(units.ids[flat].tolist(), pa.string()),
        patient=pa.array(units.patients[flat].tolist(), pa.string()),
        target=pa.array(units.labels[flat].tolist(), pa.string()),
        **where,
    )


def _outcome_rows(design: _Design, scores: np.ndarray, where: Mapping[str, object]) -> pa.Table:
    """One row for each episode and test unit."""
    episodes, count, classes = scores.shape
    names = pa.array(design.classes, pa.string())
    unit = pa.array(np.tile(np.arange(count), episodes))
    offsets = pa.array(np.arange(episodes * count + 1, dtype=np.int32) * classes)
    return evidence_block(
        episodes * count,
        kind="outcome",
        episode=pa.array(np.repeat(np.arange(episodes), count)),
        unit_id=pa.array(design.units.ids[design.test].tolist(), pa.string()).take(unit),
        patient=pa.array(design.units.patients[design.test].tolist(), pa.string()).take(unit),
        target=names.take(pa.array(design.targets)).take(unit),
        predicted=names.take(pa.array(scores.argmax(axis=2).reshape(-1))),
        scores=pa.ListArray.from_arrays(offsets, pa.array(scores.reshape(-1))),
        **where,
    )


def _summary_row(
    design: _Design, metric: str, result: _Metric, seen: frozenset[str], where: Mapping[str, object]
) -> pa.Table:
    """One row: the mean over episodes, its interval over test patients, its spread over support draws."""
    low, high = percentile_interval(result.replicates)
    return evidence_block(
        1,
        kind="summary",
        metric=metric,
        value=result.mean,
        low=low,
        high=high,
        spread=float(result.episodes.std(ddof=1)) if len(result.episodes) > 1 else None,
        patients=len(design.test_patients),
        patients_seen=len(seen & set(design.test_patients)),
        **where,
    )
