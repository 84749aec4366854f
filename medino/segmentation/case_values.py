"""What the cases of a test measured, as arrays by metric; and as metrics with resamples and rows of evidence."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from medino.probes import evidence_block
from medino.probes.design import Tested
from medino.probes.results import MetricResult
from medino.segmentation.metrics import CaseResult, can_be_undefined

Key = tuple[str | None, str]
"""Class and metric; None for the mean over classes."""

Values = Mapping[Key, np.ndarray]
"""(E, N) by class and metric: each case in each episode, NaN where undefined."""


def case_values(episodes: Sequence[Sequence[CaseResult]]) -> dict[Key, np.ndarray]:
    """(E, N) values of the cases by class and metric.

    Args:
        episodes: for each episode the results of its cases, all classes of a case; in one order of cases throughout.
    """
    values: dict[Key, list[list[float]]] = {}
    for place, results in enumerate(episodes):
        for result in results:
            for metric, value in result.values.items():
                rows = values.setdefault((result.class_name, metric), [])
                rows += [[] for _ in range(place + 1 - len(rows))]
                rows[place].append(np.nan if value is None else value)
    return {key: np.array(rows, dtype=np.float64) for key, rows in values.items()}


def with_means(values: Values) -> dict[Key, np.ndarray]:
    """The same, and the mean over classes of each metric that every case has."""
    means: dict[Key, np.ndarray] = dict(values)
    for name in dict.fromkeys(metric for _, metric in values):
        if not can_be_undefined(name):
            means[None, name] = np.mean([some for (_, metric), some in values.items() if metric == name], axis=0)
    return means


def mean_over_cases(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R, E) means of the cases that have a value, of (E, N) and how often each case counts, (R, N).

    NaN where none that counts has one.
    """
    there = ~np.isnan(values)
    weights = weights.astype(np.float64)
    total = weights @ there.T
    found = weights @ np.where(there, values, 0).T
    return np.divide(found, total, out=np.full(total.shape, np.nan), where=total > 0)


def mask_results(design: Tested, values: Values) -> dict[Key, MetricResult]:
    """Each metric's mean over cases: by episode, and averaged over episodes in each resample of the patients."""
    results = {}
    for key, some in with_means(values).items():
        means = mean_over_cases(some, design.weights)
        results[key] = MetricResult.of(design, means[0], means.mean(axis=1))
    return results


def case_rows(design: Tested, values: Values, where: Mapping[str, Any]) -> Iterator[pa.Table]:
    """Evidence: one `outcome` for each episode, case, class and metric."""
    names = (design.units.ids, design.units.patients)
    ids, patients = (pa.array(some[design.test].tolist(), pa.string()) for some in names)
    for (class_name, metric), some in values.items():
        episodes, count = some.shape
        case = pa.array(np.tile(np.arange(count), episodes))
        yield evidence_block(
            some.size,
            kind="outcome",
            episode=pa.array(np.repeat(np.arange(episodes), count)),
            unit_id=ids.take(case),
            patient=patients.take(case),
            target=class_name,
            metric=metric,
            value=pa.array(some.reshape(-1), from_pandas=True),
            **where,
        )
