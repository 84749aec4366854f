"""How good a map of values is: the measures of depth estimation (Eigen et al. 2014, 1406.2283, section 4.3).

Over the pixels that have a target, with p predicted and t true: root mean squared error, mean of |p - t| / t, and the
share of pixels with max(p / t, t / p) < 1.25.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medino.probes import EvidenceRow, patient_counts, percentile_interval
from medino.segmentation.case_values import mean_over_cases
from medino.segmentation.evidence import REPLICATES

DELTA = 1.25
"""The factor that a value may be off in `delta1`."""

METRICS = ("rmse", "abs_rel", "delta1")


@dataclass(frozen=True)
class DenseResult:
    """How well the values of one case (an image or slice) were found.

    Attributes:
        sample_id: the manifest's id.
        patient: keyed hash of the patient.
        rmse: root mean squared error, in the maps' units.
        abs_rel: mean absolute error relative to the true value.
        delta1: share of pixels that are off by less than a factor of 1.25.
    """

    sample_id: str
    patient: str
    rmse: float
    abs_rel: float
    delta1: float


def dense_result(predicted: torch.Tensor, target: torch.Tensor, sample_id: str, patient: str) -> DenseResult:
    """Measure one case.

    Args:
        predicted: (H, W) positive values.
        target: (H, W) positive values, NaN where there is none; somewhere there is one.
        sample_id: the manifest's id.
        patient: keyed hash of the patient.
    """
    known = target.isfinite()
    p, t = predicted[known].double(), target[known].double()
    return DenseResult(
        sample_id,
        patient,
        rmse=float((p - t).square().mean().sqrt()),
        abs_rel=float(((p - t).abs() / t).mean()),
        delta1=float((torch.maximum(p / t, t / p) < DELTA).double().mean()),
    )


def mean_dense_metrics(results: Sequence[DenseResult]) -> dict[str, float]:
    """Means over cases of `rmse`, `abs_rel` and `delta1`; nothing where there are no cases."""
    if not results:
        return {}
    return {name: math.fsum(getattr(result, name) for result in results) / len(results) for name in METRICS}


def dense_evidence(
    results: Sequence[DenseResult],
    *,
    dataset: str,
    backbone: str,
    features: str,
    head: str,
    patient_unit: str,
    pretraining_patients: Collection[str] | None = (),
    seed: int = 0,
) -> list[EvidenceRow]:
    """Rows of evidence: an `outcome` for each case and metric, then a `summary` for each metric.

    A summary's value is the mean over cases, its interval from resampling patients; for the arguments see
    `segmentation_evidence`.
    """
    where: dict[str, Any] = {
        "task": "dense_regression",
        "dataset": dataset,
        "backbone": backbone,
        "features": features,
        "probe": head,
        "unit": "image",
        "patient_unit": patient_unit,
    }
    patients = list(dict.fromkeys(result.patient for result in results))
    seen = None if pretraining_patients is None else len(set(patients) & set(pretraining_patients))
    column = {patient: index for index, patient in enumerate(patients)}
    resamples = patient_counts(len(patients), REPLICATES, seed)[:, [column[result.patient] for result in results]]
    rows = []
    for metric in METRICS:
        values = np.array([getattr(result, metric) for result in results])
        rows += [
            EvidenceRow(
                kind="outcome", **where, metric=metric, unit_id=result.sample_id, patient=result.patient, value=value
            )
            for result, value in zip(results, values.tolist(), strict=True)
        ]
        low, high = percentile_interval(mean_over_cases(values[None], resamples)[:, 0])
        summary = EvidenceRow(
            kind="summary",
            **where,
            metric=metric,
            value=float(values.mean()),
            low=low,
            high=high,
            seed=seed,
            resamples=REPLICATES,
            patients=len(patients),
            patients_seen=seen,
        )
        rows.append(summary)
    return rows
