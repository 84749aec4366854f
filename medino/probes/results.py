"""What a probe's scores on the test units come to: metrics with their resamples, and rows of evidence."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from medino.probes.bootstrap import auroc_replicates, balanced_accuracy_replicates, percentile_interval
from medino.probes.design import Design
from medino.probes.evidence import evidence_block
from medino.probes.metrics import balanced_accuracy, macro_auroc


@dataclass(frozen=True)
class MetricResult:
    """A metric of one backbone and probe.

    Attributes:
        episodes: (E,) its value in each episode.
        mean: their mean.
        replicates: (R,) that mean in each resample of the test patients; NaN where it has none.
    """

    episodes: np.ndarray
    mean: float
    replicates: np.ndarray

    def minus(self, other: "MetricResult") -> "MetricResult":
        """The difference, episode by episode and resample by resample."""
        return MetricResult(self.episodes - other.episodes, self.mean - other.mean, self.replicates - other.replicates)


def metric_results(design: Design, scores: np.ndarray) -> dict[str, MetricResult]:
    """Balanced accuracy and macro AUROC of (E, N, C) scores; the class of highest score is the one predicted."""
    predicted, targets = scores.argmax(axis=2), design.targets
    once = np.ones((1, len(targets)), dtype=np.float32)
    return {
        "balanced_accuracy": MetricResult(
            np.array([balanced_accuracy(targets, row) for row in predicted]),
            float(balanced_accuracy_replicates(targets, predicted, once)[0]),
            balanced_accuracy_replicates(targets, predicted, design.weights),
        ),
        "auroc": MetricResult(
            np.array([macro_auroc(targets, slab) for slab in scores]),
            float(auroc_replicates(targets, scores, once)[0]),
            auroc_replicates(targets, scores, design.weights),
        ),
    }


def support_rows(design: Design, support: np.ndarray, where: Mapping[str, object]) -> pa.Table:
    """One row for each unit that an episode learned from, of (E, S) indices of units."""
    flat, units = support.reshape(-1), design.units
    return evidence_block(
        flat.size,
        kind="support",
        episode=pa.array(np.repeat(np.arange(len(support)), support.shape[1])),
        unit_id=pa.array(units.ids[flat].tolist(), pa.string()),
        patient=pa.array(units.patients[flat].tolist(), pa.string()),
        target=pa.array(units.labels[flat].tolist(), pa.string()),
        **where,
    )


def outcome_rows(design: Design, scores: np.ndarray, where: Mapping[str, object]) -> pa.Table:
    """One row for each episode and test unit, of (E, N, C) scores."""
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


def episode_rows(metric: str, result: MetricResult, where: Mapping[str, object]) -> pa.Table:
    """One row for each episode."""
    count = len(result.episodes)
    episodes, values = pa.array(np.arange(count)), pa.array(result.episodes)
    return evidence_block(count, kind="episode", episode=episodes, metric=metric, value=values, **where)


def summary_row(
    design: Design, metric: str, result: MetricResult, seen: frozenset[str] | None, where: Mapping[str, object]
) -> pa.Table:
    """One row: the mean over episodes, its interval over test patients, its spread over support draws.

    Args:
        design: the study's design.
        metric: its name.
        result: its values.
        seen: patients seen in pretraining, whether tested or not; None where nobody can tell.
        where: the columns that say of what the row is.
    """
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
        patients_seen=None if seen is None else len(seen & set(design.test_patients)),
        **where,
    )
