"""The few-shot study: shots x episodes x backbones x probes on fixed test patients, as evidence.

Test units are those of the split "test"; support sets are drawn from the split "train" alone, so that "validation"
stays free for choosing between settings. Every backbone and probe sees the same support sets, and every interval comes
from the same resamples of the test patients.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from medino.core import InputError, track
from medino.data import Manifest
from medino.features import FeatureTable
from medino.probes.comparisons import holm
from medino.probes.design import Design
from medino.probes.episodes import DRAWS
from medino.probes.evidence import merge_evidence
from medino.probes.registry import PROBES, probe_scores
from medino.probes.results import (
    INTERVALS,
    MetricResult,
    episode_rows,
    metric_results,
    outcome_rows,
    summary_row,
    support_rows,
)
from medino.probes.sources import FeatureSource, Source
from medino.probes.units import labelled_units

Cell = tuple[int, str, str]
"""Shots, probe and backbone."""


@dataclass(frozen=True)
class FewShotStudy:
    """Compare backbones on a handful of labelled patients.

    Args:
        shots: labelled units a class; one study for each number.
        draw: patients (each shot of a class from another one) or images (units of a class, whosever they are).
        drop_small_classes: leave out classes that can't give the most shots or are never tested; they are refused by
            name otherwise, and named in the evidence if left out.
        episodes: support sets drawn for each number of shots.
        probes: nearest_mean, knn, logistic.
        features: class, mean_patch, class_and_mean_patch or last_four.
        unit: what is classified: image, series, study or patient (vectors of its images averaged).
        seed: of support sets and resamples.
        replicates: resamples of the test patients for the 95 % intervals.
        interval: percentile or bca, the interval that tables and figures show; the evidence holds both.
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
    interval: str = "percentile"
    draw: str = "patients"
    drop_small_classes: bool = False
    dataset: str | None = None
    baseline: str | None = None

    def __post_init__(self) -> None:
        for probe in self.probes:
            if probe not in PROBES:
                raise InputError(f"there is no probe {probe!r}; choose from {', '.join(PROBES)}")
        for setting, value, known in (("interval", self.interval, INTERVALS), ("draw", self.draw, DRAWS)):
            if value not in known:
                raise InputError(f"there is no {setting} {value!r}; choose one of {', '.join(known)}")
        if not self.probes or not self.shots:
            raise InputError("a study needs at least one number of shots and one probe")
        for name, number in (("shots", min(self.shots)), ("episodes", self.episodes), ("replicates", self.replicates)):
            if number < 1:
                raise InputError(f"{name} is {number}; give a number of at least 1")

    def check(self, manifest: Manifest) -> None:
        """See whether a manifest's labels and splits can carry the study, before any feature is computed.

        Raises:
            InputError: they can't; the message says which and why.
        """
        self._design(manifest)

    def run(
        self,
        features: Mapping[str, FeatureTable],
        manifest: Manifest,
        pretraining_patients: Collection[str] | Mapping[str, Collection[str] | None] = (),
    ) -> pa.Table:
        """Run the study.

        Args:
            features: the features of each backbone or baseline by name; all of this manifest.
            manifest: with labels and splits.
            pretraining_patients: keyed hashes of patients seen unlabelled in pretraining: by backbone, or one
                collection for all. Those that a table of features names itself (its fact `pretraining_patients`) are
                added. None for a backbone says that nobody can tell (see `medino.core.patients_seen_by`).

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
        design = self._design(manifest, left_out)
        sources = {name: FeatureSource(name, design.units, table, self.features) for name, table in features.items()}
        seen = {name: _seen(name, table, pretraining_patients) for name, table in features.items()}
        shared = {
            "task": "classification",
            "dataset": self.dataset or manifest.name,
            "features": self.features,
            "unit": self.unit,
            "patient_unit": manifest.patient_unit,
            "draw": self.draw,
            "classes_left_out": ", ".join(design.classes_left_out) or None,
        }
        return merge_evidence(list(self._evidence(design, sources, seen, baseline, shared)))

    def _design(self, manifest: Manifest, left_out: frozenset[str] = frozenset()) -> Design:
        """What is the same for every backbone."""
        return Design(
            manifest,
            labelled_units(manifest, self.unit, left_out),
            shots=self.shots,
            draw=self.draw,
            drop_small_classes=self.drop_small_classes,
            episodes=self.episodes,
            replicates=self.replicates,
            seed=self.seed,
        )

    def _evidence(
        self,
        design: Design,
        sources: Mapping[str, Source],
        seen: Mapping[str, frozenset[str] | None],
        baseline: str,
        shared: Mapping[str, str | None],
    ) -> Iterator[pa.Table]:
        """All rows, in blocks."""
        support = {shots: design.support(shots) for shots in dict.fromkeys(self.shots)}
        found: dict[Cell, dict[str, MetricResult]] = {}
        work = [(shots, probe, name) for shots in support for probe in dict.fromkeys(self.probes) for name in sources]
        for shots, probe, name in track(work, "few-shot study"):
            where = {**shared, "backbone": name, "probe": probe, "shots": shots}
            scores = probe_scores(probe, sources[name], design.task(support[shots]))
            found[shots, probe, name] = metric_results(design, scores)
            yield support_rows(design, support[shots], where)
            yield outcome_rows(design, scores, where)
        compared = _compared(found, baseline)
        for (shots, probe, name), metrics in found.items():
            where = {**shared, "backbone": name, "probe": probe, "shots": shots}
            for metric, result in metrics.items():
                yield episode_rows(metric, result, where)
                yield summary_row(design, metric, result, seen[name], self.interval, where)
                if (shots, probe, name) in compared.get(metric, {}):
                    difference, told = compared[metric][shots, probe, name]
                    told = {**where, "compared_with": baseline, **told}
                    either = _by_either(seen[name], seen[baseline])
                    yield summary_row(design, metric, difference, either, self.interval, told)


def _compared(
    found: Mapping[Cell, Mapping[str, MetricResult]], baseline: str
) -> dict[str, dict[Cell, tuple[MetricResult, dict[str, object]]]]:
    """By metric and cell, the paired difference to the baseline and its p-values.

    Holm's correction runs over all comparisons of one metric: a metric is chosen before, a backbone, a probe and a
    number of shots are what a reader looks through for one that differs.
    """
    differences: dict[str, dict[Cell, MetricResult]] = {}
    for (shots, probe, name), metrics in found.items():
        if name == baseline:
            continue
        reference = found[shots, probe, baseline]
        for metric in metrics.keys() & reference.keys():
            differences.setdefault(metric, {})[shots, probe, name] = metrics[metric].minus(reference[metric])
    told: dict[str, dict[Cell, tuple[MetricResult, dict[str, object]]]] = {}
    for metric, of_metric in differences.items():
        corrected = holm([difference.p_value for difference in of_metric.values()])
        told[metric] = {
            cell: (difference, {"p_value": difference.p_value, "p_holm": p_holm, "comparisons": len(of_metric)})
            for (cell, difference), p_holm in zip(of_metric.items(), corrected, strict=True)
        }
    return told


def _seen(
    name: str, table: FeatureTable, given: Collection[str] | Mapping[str, Collection[str] | None]
) -> frozenset[str] | None:
    """The patients that a backbone saw in pretraining; None where nobody can tell."""
    of_backbone = given.get(name, ()) if isinstance(given, Mapping) else given
    of_table = table.facts.get("pretraining_patients", ())
    return None if of_backbone is None or of_table is None else frozenset(of_backbone) | frozenset(of_table)


def _by_either(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    """The patients that either of two backbones saw; None where nobody can tell of one."""
    return None if one is None or other is None else one | other
