"""What a probe's scores on the test units come to: metrics with their resamples, and rows of evidence."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from medino.probes.bootstrap import (
    auroc_replicates,
    balanced_accuracy_replicates,
    bca_interval,
    percentile_interval,
)
from medino.probes.comparisons import bootstrap_p_value
from medino.probes.design import Design
from medino.probes.evidence import evidence_block
from medino.probes.metrics import balanced_accuracy, macro_auroc
from medino.probes.resampled import brier_score, calibration_error, cohen_kappa, macro_auprc, macro_f1

INTERVALS = ("percentile", "bca")

LOWER_IS_BETTER = frozenset({"brier", "calibration_error"})
"""Metrics whose decrease is a gain."""

SUM_TOLERANCE = 1e-3
"""Furthest from 1 that the scores of a unit may sum to and still be probabilities."""


@dataclass(frozen=True)
class MetricResult:
    """A metric of one backbone and probe.

    Attributes:
        episodes: (E,) its value in each episode.
        mean: their mean.
        replicates: (R,) that mean in each resample of the test patients; NaN where it has none.
        left_out: (J,) that mean with each patient, or group of patients, left out.
    """

    episodes: np.ndarray
    mean: float
    replicates: np.ndarray
    left_out: np.ndarray

    @classmethod
    def of(cls, design: Design, episodes: np.ndarray, values: np.ndarray) -> "MetricResult":
        """Take apart what was measured under `design.weights`: (E,) by episode, (1 + J + R,) averaged over episodes."""
        resampled = len(values) - design.replicates
        return cls(episodes, float(values[0]), values[resampled:], values[1:resampled])

    def minus(self, other: "MetricResult") -> "MetricResult":
        """The difference, episode by episode and resample by resample."""
        return MetricResult(
            self.episodes - other.episodes,
            self.mean - other.mean,
            self.replicates - other.replicates,
            self.left_out - other.left_out,
        )

    @cached_property
    def p_value(self) -> float:
        """Of no difference from zero, for a paired difference."""
        return bootstrap_p_value(self.replicates)


def metric_results(design: Design, scores: np.ndarray) -> dict[str, MetricResult]:
    """All metrics of (E, N, C) scores; the class of highest score is the one predicted.

    The Brier score and the calibration error are left out where a probe's scores are no probabilities.
    """
    predicted, targets, weights = scores.argmax(axis=2), design.targets, design.weights
    results = {
        "balanced_accuracy": MetricResult.of(
            design,
            np.array([balanced_accuracy(targets, row) for row in predicted]),
            balanced_accuracy_replicates(targets, predicted, weights),
        ),
        "auroc": MetricResult.of(
            design,
            np.array([macro_auroc(targets, slab) for slab in scores]),
            auroc_replicates(targets, scores, weights),
        ),
    }
    by_episode = {
        "auprc": macro_auprc(targets, scores, weights),
        "macro_f1": macro_f1(targets, predicted, weights),
        "kappa": cohen_kappa(targets, predicted, weights),
    }
    if scores.min() >= 0 and np.abs(scores.sum(axis=2) - 1).max() <= SUM_TOLERANCE:
        by_episode["brier"] = brier_score(targets, scores, weights)
        by_episode["calibration_error"] = calibration_error(targets, scores, weights)
    for metric, values in by_episode.items():
        results[metric] = MetricResult.of(design, values[0], values.mean(axis=1))
    return results


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
    design: Design,
    metric: str,
    result: MetricResult,
    seen: frozenset[str] | None,
    interval: str,
    where: Mapping[str, object],
) -> pa.Table:
    """One row: the mean over episodes, its intervals over test patients, its spread over support draws.

    Args:
        design: the study's design.
        metric: its name.
        result: its values.
        seen: patients seen in pretraining, whether tested or not; None where nobody can tell.
        interval: the one of `INTERVALS` that stands as `low` and `high`.
        where: the columns that say of what the row is.
    """
    ends = {
        "percentile": percentile_interval(result.replicates),
        "bca": bca_interval(result.mean, result.replicates, result.left_out),
    }
    present = ~np.isnan(result.replicates)
    return evidence_block(
        1,
        kind="summary",
        metric=metric,
        value=result.mean,
        low=ends[interval][0],
        high=ends[interval][1],
        interval=interval,
        low_percentile=ends["percentile"][0],
        high_percentile=ends["percentile"][1],
        low_bca=ends["bca"][0],
        high_bca=ends["bca"][1],
        replicates=int(present.sum()),
        replicates_lacking_class=int((present & design.lacks_class).sum()),
        spread=float(result.episodes.std(ddof=1)) if len(result.episodes) > 1 else None,
        patients=len(design.test_patients),
        patients_seen=None if seen is None else len(seen & set(design.test_patients)),
        **where,
    )
