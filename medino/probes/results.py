"""What a probe's scores on the test units come to: metrics with their resamples, and rows of evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from medino.probes.bootstrap import bca_interval, percentile_interval
from medino.probes.comparisons import bootstrap_p_value
from medino.probes.design import Design, Tested
from medino.probes.evidence import evidence_block

INTERVALS = ("percentile", "bca")

LOWER_IS_BETTER = frozenset({"brier", "calibration_error", "mae", "hausdorff95_mm", "hausdorff95_px"})
"""Metrics whose decrease is a gain."""


@dataclass(frozen=True)
class MetricResult:
    """A metric of one backbone and probe.

    Attributes:
        episodes: (E,) its value in each episode.
        mean: their mean.
        for_p: (P,) that mean in each resample of the test patients that p-values count; NaN where it has none.
        replicates: (R,) the first of these, of which intervals are made.
        left_out: (J,) that mean with each patient, or group of patients, left out.
    """

    episodes: np.ndarray
    mean: float
    for_p: np.ndarray
    replicates: np.ndarray
    left_out: np.ndarray

    @classmethod
    def of(cls, design: Tested, episodes: np.ndarray, values: np.ndarray) -> "MetricResult":
        """Take apart what was measured under `design.weights`: (E,) by episode, (1 + J + P,) averaged over episodes."""
        resampled = len(values) - design.draws.for_p
        for_p = values[resampled:]
        return cls(episodes, float(values[0]), for_p, for_p[: design.draws.replicates], values[1:resampled])

    def minus(self, other: "MetricResult") -> "MetricResult":
        """The difference, episode by episode and resample by resample."""
        return MetricResult(
            self.episodes - other.episodes,
            self.mean - other.mean,
            self.for_p - other.for_p,
            self.replicates - other.replicates,
            self.left_out - other.left_out,
        )

    @cached_property
    def p_value(self) -> float:
        """Of no difference from zero, for a paired difference."""
        return bootstrap_p_value(self.for_p)


def metric_results(design: Design, scores: np.ndarray) -> dict[str, MetricResult]:
    """All metrics of what a probe says of the test units."""
    measured = design.measure(scores)
    return {metric: MetricResult.of(design, *values) for metric, values in measured.items()}


def support_rows(design: Tested, support: Sequence[np.ndarray], where: Mapping[str, object]) -> pa.Table:
    """One row for each unit that an episode learned from, of the units of each episode."""
    flat, units = np.concatenate(support), design.units
    return evidence_block(
        flat.size,
        kind="support",
        episode=pa.array(np.repeat(np.arange(len(support)), [len(drawn) for drawn in support])),
        unit_id=pa.array(units.ids[flat].tolist(), pa.string()),
        patient=pa.array(units.patients[flat].tolist(), pa.string()),
        target=pa.array(units.labels[flat].tolist(), pa.string()),
        **where,
    )


def outcome_rows(design: Design, scores: np.ndarray, where: Mapping[str, object]) -> pa.Table:
    """One row for each episode and test unit, of (E, N, ...) scores."""
    episodes, count = scores.shape[:2]
    unit = pa.array(np.tile(np.arange(count), episodes))
    return evidence_block(
        episodes * count,
        kind="outcome",
        episode=pa.array(np.repeat(np.arange(episodes), count)),
        unit_id=pa.array(design.units.ids[design.test].tolist(), pa.string()).take(unit),
        patient=pa.array(design.units.patients[design.test].tolist(), pa.string()).take(unit),
        **design.outcomes(scores),
        **where,
    )


def episode_rows(metric: str, result: MetricResult, where: Mapping[str, object]) -> pa.Table:
    """One row for each episode."""
    count = len(result.episodes)
    episodes, values = pa.array(np.arange(count)), pa.array(result.episodes)
    return evidence_block(count, kind="episode", episode=episodes, metric=metric, value=values, **where)


def summary_row(
    design: Tested,
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
    present, lacking = ~np.isnan(result.replicates), design.lacks_class
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
        seed=design.draws.seed,
        resamples=len(result.replicates),
        replicates=int(present.sum()),
        replicates_lacking_class=None if lacking is None else int((present & lacking).sum()),
        spread=float(result.episodes.std(ddof=1)) if len(result.episodes) > 1 else None,
        classes=pa.array([design.classes or None], pa.list_(pa.string())),
        patients=len(design.test_patients),
        patients_seen=None if seen is None else len(seen & set(design.test_patients)),
        **where,
    )
