"""The few-shot study: shots x episodes x backbones x probes on fixed test patients, as evidence.

Test units are those of the split "test"; support sets are drawn from the split "train" alone, so that "validation"
stays free for choosing between settings. Every backbone and probe sees the same support sets, and every interval comes
from the same resamples of the test patients.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pyarrow as pa

from medino.core import InputError, track
from medino.data import Manifest
from medino.features import PIXELS, FeatureTable, MapStore
from medino.probes.class_design import ClassDesign
from medino.probes.design import Design, Draws
from medino.probes.end_to_end import EPISODES, ImageSource
from medino.probes.episodes import DRAWS
from medino.probes.evidence import merge_evidence
from medino.probes.paired import Cell, compared, seen_by_either
from medino.probes.registry import ATTENTIVE, END_TO_END
from medino.probes.results import (
    INTERVALS,
    MetricResult,
    episode_rows,
    metric_results,
    outcome_rows,
    summary_row,
    support_rows,
)
from medino.probes.sources import FeatureSource, MappedSource, Source
from medino.probes.targets import TASKS, check_target, make_design, probes_for, usual_probes, what_reads
from medino.probes.units import labelled_units

MOST_SCORES = 1_000_000_000
"""Scores of all test units in all episodes that one study keeps: 4 GB of memory."""


@dataclass(frozen=True)
class FewShotStudy:
    """Compare backbones on a handful of labelled patients.

    Args:
        shots: labelled units a class; of each label so many with and without it at least; for a continuous target so
            many in all. One study for each number.
        target: what the labels are: classes, multilabel (any number of labels a unit), ordinal (classes in an order)
            or continuous (numbers).
        order: the classes of an ordinal target, from the least to the most.
        separator: what stands between the labels of a unit; alone, it says that the unit has none.
        draw: patients (each shot of a class from another one) or images (units of a class, whosever they are).
        drop_small_classes: leave out classes, or labels, that can't give the most shots or are never tested; they are
            refused by name otherwise, and named in the evidence if left out.
        episodes: support sets drawn for each number of shots.
        probes: nearest_mean, knn, logistic; for a continuous target ridge. All of these if None. Where asked for, too:
            linear_grid (of several features and learning rates, whatever `features` says), attentive (over patch
            tokens) and, of units of several images, abmil (attention over them), nearest_mean_max, knn_max and
            logistic_max (their maximum).
        features: class, mean_patch, class_and_mean_patch, last_four or last_four_and_mean_patch.
        unit: what is classified: image, series, study or patient. The vector of a unit is the mean of its images'
            unless the probe says otherwise.
        seed: of support sets and resamples.
        replicates: resamples of the test patients for the 95 % intervals; p-values take more where many are compared.
        interval: percentile or bca, the interval that tables and figures show; the evidence holds both.
        dataset: name of the labelled set in the evidence; the manifest's name if None.
        baseline: the backbone that the others are compared with; the first one if None.

    Raises:
        InputError: a setting is unknown or not positive.
    """

    shots: Sequence[int] = (5, 20)
    episodes: int = 50
    probes: Sequence[str] | None = None
    features: str = "class"
    unit: str = "image"
    seed: int = 0
    replicates: int = 1000
    interval: str = "percentile"
    draw: str = "patients"
    drop_small_classes: bool = False
    dataset: str | None = None
    baseline: str | None = None
    target: str = "classes"
    order: Sequence[str] = ()
    separator: str = "|"

    def __post_init__(self) -> None:
        check_target(self.target, self.order, self.separator)
        known_probes = probes_for(self.target)
        for probe in self.asked_probes:
            if probe not in known_probes:
                raise InputError(
                    f"there is no probe {probe!r} for the target {self.target!r}; choose from {', '.join(known_probes)}"
                )
        for setting, value, known in (("interval", self.interval, INTERVALS), ("draw", self.draw, DRAWS)):
            if value not in known:
                raise InputError(f"there is no {setting} {value!r}; choose one of {', '.join(known)}")
        if not self.asked_probes or not self.shots:
            raise InputError("a study needs at least one number of shots and one probe")
        for name, number in (("shots", min(self.shots)), ("episodes", self.episodes), ("replicates", self.replicates)):
            if number < 1:
                raise InputError(f"{name} is {number}; give a number of at least 1")

    @property
    def asked_probes(self) -> tuple[str, ...]:
        """The probes, each once."""
        return usual_probes(self.target) if self.probes is None else tuple(dict.fromkeys(self.probes))

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
        maps: Mapping[str, MapStore] | None = None,
    ) -> pa.Table:
        """Run the study.

        Args:
            features: the features of each backbone or baseline by name; all of this manifest. For the pixels of images
                (`medino.features.pixel_features`) a small network is trained on each support set instead, for the first
                ten of them, and every probe of the others is compared with it on these.
            manifest: with labels and splits.
            pretraining_patients: keyed hashes of patients seen unlabelled in pretraining: by backbone, or one
                collection for all. Those that a table of features names itself (its fact `pretraining_patients`) are
                added. None for a backbone says that nobody can tell (see `medino.core.patients_seen_by`).
            maps: kept patch tokens of backbones, by the name of their features. The probe attentive is asked of these
                backbones alone.

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
        maps = maps or {}
        for name, table in features.items():
            table.check_made_from(manifest, name)
        _check_maps(maps, features, manifest)
        left_out = frozenset(sample for table in features.values() for sample in table.rejects)
        left_out |= {sample for store in maps.values() for sample in store.rejects}
        design = self._design(manifest, left_out, len(features))
        sources = {name: self._source(name, design, table, maps.get(name)) for name, table in features.items()}
        if ATTENTIVE in self.asked_probes and not maps:
            raise InputError(
                "the probe 'attentive' learns from patch tokens; keep them (medino embed --maps), give them"
            )
        seen = {name: _seen(name, table, pretraining_patients) for name, table in features.items()}
        shared = {
            "task": TASKS[self.target],
            "dataset": self.dataset or manifest.name,
            "features": self.features,
            "unit": self.unit,
            "patient_unit": manifest.patient_unit,
            "draw": self.draw,
            "classes_left_out": ", ".join(design.classes_left_out) or None,
        }
        return merge_evidence(list(self._evidence(design, sources, seen, baseline, shared)))

    def _design(self, manifest: Manifest, left_out: frozenset[str] = frozenset(), backbones: int = 1) -> Design:
        """What is the same for every backbone."""
        units = labelled_units(manifest, self.unit, left_out)
        comparisons = len(set(self.shots)) * len(self.asked_probes) * (backbones - 1)
        draws = Draws(
            self.shots, self.draw, self.drop_small_classes, self.episodes, self.replicates, self.seed, comparisons
        )
        return make_design(self.target, manifest, units, draws, self.order, self.separator)

    def _source(self, name: str, design: Design, table: FeatureTable, maps: MapStore | None) -> Source:
        """What probes read of one backbone or baseline."""
        if PIXELS in table.blocks:
            return ImageSource(name, design.units, table)
        if maps is None:
            return FeatureSource(name, design.units, table, self.features)
        return MappedSource(name, design.units, table, self.features, maps)

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
        at_first: dict[Cell, np.ndarray] = {}
        trained = [name for name, source in sources.items() if isinstance(source, ImageSource)]
        if trained and not isinstance(design, ClassDesign):
            raise InputError(
                f"{trained[0]!r} is images, on which a network is trained for one class a unit, not for a "
                f"{self.target} target; leave it out"
            )
        asked = [(probe, name) for probe in (*self.asked_probes, END_TO_END) for name in sources]
        asked = [(probe, name) for probe, name in asked if isinstance(sources[name], what_reads(probe))]
        _check_size(len(support) * len(asked) * self.episodes * len(design.test) * max(1, len(design.classes)))
        for shots, (probe, name) in track(list(product(support, asked)), "few-shot study"):
            where = {**shared, "backbone": name, "probe": probe, "shots": shots}
            scores = design.scores(probe, sources[name], support[shots])
            found[shots, probe, name] = metric_results(design, scores)
            if trained:
                at_first[shots, probe, name] = scores[:EPISODES]
            yield support_rows(design, support[shots][: len(scores)], where)
            yield outcome_rows(design, scores, where)
        for (shots, probe, name), metrics in found.items():
            where = {**shared, "backbone": name, "probe": probe, "shots": shots}
            for metric, result in metrics.items():
                yield episode_rows(metric, result, where)
                yield summary_row(design, metric, result, seen[name], self.interval, where)
        # What is trained on the shots alone is so on fewer support sets: the others are measured on the same ones.
        on_these = {cell: metric_results(design, scores) for cell, scores in at_first.items()}
        for reference, results in {baseline: found, **dict.fromkeys(trained, on_these)}.items():
            for (shots, probe, name), metric, difference, told in compared(results, reference):
                where = {**shared, "backbone": name, "probe": probe, "shots": shots, "compared_with": reference, **told}
                either = seen_by_either(seen[name], seen[reference])
                yield summary_row(design, metric, difference, either, self.interval, where)


def _check_size(scores: int) -> None:
    """Refuse more scores than evidence should hold."""
    if scores > MOST_SCORES:
        raise InputError(
            f"the evidence would hold {scores / 1e9:.1f} billion scores (shots x probes x backbones x episodes x test "
            f"units x classes), and {MOST_SCORES / 1e9:g} at most; ask for fewer episodes, probes or shots at once"
        )


def _check_maps(maps: Mapping[str, MapStore], features: Mapping[str, FeatureTable], manifest: Manifest) -> None:
    """Refuse maps that don't belong to features of the same name."""
    for name, store in maps.items():
        if name not in features:
            raise InputError(f"there are maps of {name!r} and no features of that name ({', '.join(features)})")
        store.check_made_from(manifest, name)
        if store.backbone != features[name].backbone:
            raise InputError(f"the maps and the features of {name!r} are of two backbones; embed again, with both")


def _seen(
    name: str, table: FeatureTable, given: Collection[str] | Mapping[str, Collection[str] | None]
) -> frozenset[str] | None:
    """The patients that a backbone saw in pretraining; None where nobody can tell."""
    of_backbone = given.get(name, ()) if isinstance(given, Mapping) else given
    of_table = table.facts.get("pretraining_patients", ())
    return None if of_backbone is None or of_table is None else frozenset(of_backbone) | frozenset(of_table)
