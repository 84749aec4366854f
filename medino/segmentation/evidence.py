"""Test results of a segmentation to evidence: each case's outcome, and means with intervals over test patients."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from medino.probes import EvidenceRow, patient_counts, percentile_interval
from medino.segmentation.case_values import mean_over_cases
from medino.segmentation.metrics import UNDEFINED, CaseResult, can_be_undefined, measures

REPLICATES = 1000


def segmentation_evidence(
    results: Sequence[CaseResult],
    *,
    dataset: str,
    backbone: str,
    features: str,
    head: str,
    patient_unit: str,
    pretraining_patients: Collection[str] | None = (),
    seed: int = 0,
) -> list[EvidenceRow]:
    """Rows of evidence: an `outcome` for each case, class and metric, then a `summary` for each class and metric.

    A summary's value is the mean over cases; its interval comes from resampling patients, all cases of a patient
    together, with the same resamples for every metric. The row of metric `dice` without a target is the mean over
    classes; `surface_dice_2mm` is the normalised surface distance at that tolerance. `hausdorff95_mm` and
    `hausdorff95_px` leave out the cases where they are undefined;
    `hausdorff95_mm_undefined` and `hausdorff95_px_undefined` count these.

    Args:
        results: `Segmentation.test_results`.
        dataset: name of the labelled set.
        backbone: name of the backbone.
        features: the layers used.
        head: name of the head.
        patient_unit: what stands for the patient, as the manifest says.
        pretraining_patients: keyed hashes of the patients whose images the backbone was pretrained on; None where
            nobody can tell whether they are among these.
        seed: of the resamples.
    """
    where: dict[str, Any] = {
        "task": "segmentation",
        "dataset": dataset,
        "backbone": backbone,
        "features": features,
        "probe": head,
        "unit": "image",
        "patient_unit": patient_unit,
    }
    patients = list(dict.fromkeys(result.patient for result in results))
    seen = None if pretraining_patients is None else len(set(patients) & set(pretraining_patients))
    where_summary = {**where, "patients_seen": seen, "seed": seed}
    column = {patient: index for index, patient in enumerate(patients)}
    resamples = patient_counts(len(patients), REPLICATES, seed)

    rows, overall = [], []
    for (class_name, metric), measured in measures(results).items():
        facts = {**where, "metric": metric, "target": class_name}
        rows += [
            EvidenceRow(kind="outcome", **facts, unit_id=result.sample_id, patient=result.patient, value=value)
            for result, value in measured
        ]
        defined = [(column[result.patient], value) for result, value in measured if value is not None]
        facts = {**where_summary, "metric": metric, "target": class_name}
        if defined:
            of_case, values = np.array([place for place, _ in defined]), np.array([value for _, value in defined])
            mean, replicates = float(values.mean()), mean_over_cases(values[None], resamples[:, of_case])[:, 0]
            rows.append(_summary(mean, replicates, len(np.unique(of_case)), facts))
            if metric == "dice":
                overall.append((mean, replicates))
        if can_be_undefined(metric):
            facts["metric"] = f"{metric}{UNDEFINED}"
            count = float(len(measured) - len(defined))
            rows.append(EvidenceRow(kind="summary", **facts, value=count, patients=len(patients)))
    means, of_class = zip(*overall, strict=True)
    rows.append(
        _summary(float(np.mean(means)), np.mean(of_class, axis=0), len(patients), {**where_summary, "metric": "dice"})
    )
    return rows


def _summary(mean: float, replicates: np.ndarray, patients: int, facts: dict[str, Any]) -> EvidenceRow:
    low, high = percentile_interval(replicates)
    drawn = len(replicates)
    return EvidenceRow(kind="summary", **facts, value=mean, low=low, high=high, resamples=drawn, patients=patients)
