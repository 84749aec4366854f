"""Paired comparisons of what a study found: differences to one backbone, with p-values corrected over all of them."""

from collections.abc import Hashable, Iterator, Mapping
from typing import TypeVar

from medino.probes.comparisons import holm
from medino.probes.registry import END_TO_END
from medino.probes.results import MetricResult

Cell = tuple[int, str, str]
"""Shots, probe and backbone."""

Metric = TypeVar("Metric", bound=Hashable)
"""A metric's name, or class and name."""


def compared(
    found: Mapping[Cell, Mapping[Metric, MetricResult]], reference: str
) -> Iterator[tuple[Cell, Metric, MetricResult, dict[str, object]]]:
    """By cell and metric, the paired difference to a backbone and its p-values.

    Holm's correction runs over all comparisons of one metric with this backbone: a metric is chosen before, a backbone,
    a probe and a number of shots are what a reader looks through for one that differs.
    """
    differences: dict[Metric, dict[Cell, MetricResult]] = {}
    for (shots, probe, name), metrics in found.items():
        # What is trained on images has no probe to share with the others.
        other = found.get((shots, probe, reference)) or found.get((shots, END_TO_END, reference))
        if name == reference or other is None:
            continue
        for metric, result in metrics.items():
            if metric in other:
                differences.setdefault(metric, {})[shots, probe, name] = result.minus(other[metric])
    for metric, of_metric in differences.items():
        corrected = holm([difference.p_value for difference in of_metric.values()])
        for (cell, difference), p_holm in zip(of_metric.items(), corrected, strict=True):
            told: dict[str, object] = {
                "p_value": difference.p_value,
                "p_resamples": len(difference.for_p),
                "p_holm": p_holm,
                "comparisons": len(of_metric),
            }
            yield cell, metric, difference, told


def seen_by_either(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    """The patients that either of two backbones saw; None where nobody can tell of one."""
    return None if one is None or other is None else one | other
