"""How figures and tables call what the evidence calls by its own names."""

import re
from collections.abc import Sequence

from medino.probes import EvidenceRow
from medino.probes.registry import END_TO_END

UNDEFINED = "_undefined"
"""Ends the name of a metric that counts the cases in which another one is not defined."""

_PROBES = {
    "nearest_mean": "nearest class mean",
    "knn": "nearest neighbours",
    "logistic": "logistic regression",
    "nearest_mean_max": "nearest class mean, maximum",
    "knn_max": "nearest neighbours, maximum",
    "logistic_max": "logistic regression, maximum",
    "abmil": "attention over images (ABMIL)",
    "attentive": "attention over patch tokens",
    "linear_grid": "grid of linear heads",
    "ridge": "ridge regression",
    END_TO_END: "trained end to end",
}
_TASKS = {
    "classification": "few-shot classification",
    "multilabel": "few-shot labels, several an image",
    "ordinal": "few-shot classification, ordered classes",
    "regression": "few-shot regression",
    "segmentation": "masks",
}
_METRICS = {
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "macro_f1": "macro F1",
    "kappa": "Cohen's kappa",
    "brier": "Brier score",
    "calibration_error": "expected calibration error",
    "dice": "Dice",
    "hausdorff95_mm": "95 % Hausdorff, mm",
    "hausdorff95_px": "95 % Hausdorff, px",
    "mae": "mean absolute error",
    "quadratic_kappa": "quadratic kappa",
}
_PLURALS = {"series": "series", "study": "studies"}
_STANDS_FOR_PATIENT = {"patient": "patients", "study": "studies", "file": "files"}
_FEATURES = {
    "class": "class token",
    "mean_patch": "mean patch token",
    "class_and_mean_patch": "class and mean patch token",
    "last_four": "class tokens of the last four blocks",
    "last_four_and_mean_patch": "class tokens of the last four blocks and mean patch token",
}


def probe_name(probe: str) -> str:
    """A probe's name as people say it."""
    return _PROBES.get(probe, probe.replace("_", " "))


def learner_name(row: EvidenceRow) -> str:
    """A probe's name, or a head's, which is told apart from what is trained from end to end."""
    is_head = row.task == "segmentation" and row.probe != END_TO_END
    return f"{probe_name(row.probe)} head" if is_head else probe_name(row.probe)


def task_name(task: str) -> str:
    """A task's name as people say it."""
    return _TASKS.get(task, task.replace("_", " "))


def metric_name(metric: str | None) -> str:
    """A metric's name as people say it."""
    known = (metric or "").removesuffix(UNDEFINED)
    tolerance = re.fullmatch(r"surface_dice_([\d.]+)(mm|px)", known)
    name = _METRICS.get(known, known.replace("_", " "))
    if tolerance:
        name = f"normalised surface distance at {tolerance[1]} {tolerance[2]}"
    return name if known == (metric or "") else f"cases without {name}"


def panel_name(task: str, probe: str, target: str | None) -> str:
    """A probe's name, or that of a head and the class that it looks for."""
    if task != "segmentation":
        return probe_name(probe)
    return f"{probe_name(probe)}: {target or 'all classes'}"


def shots_name(row: EvidenceRow) -> str:
    """What the number of shots counts."""
    if row.task == "segmentation":
        return "labelled patients"
    labelled = f"labelled {_PLURALS.get(row.unit, row.unit + 's')}"
    return labelled + {"regression": "", "multilabel": " with each label"}.get(row.task, " a class")


def patients_named(number: object, unit: str) -> str:
    """So many test patients, and what stands for them where that is not the patient: `83 test patients (files)`."""
    stands = " or ".join(_STANDS_FOR_PATIENT.get(one, one) for one in unit.split("+"))
    return f"{number} test patients" + ("" if unit == "patient" else f" ({stands})")


def patients_tested(rows: Sequence[EvidenceRow]) -> str:
    """On how many test patients the rows were measured, in the words of `patients_named`."""
    numbers = sorted({row.patients for row in rows if row.patients is not None})
    units = dict.fromkeys(unit for row in rows for unit in row.patient_unit.split("+"))
    return patients_named(" or ".join(map(str, numbers)), "+".join(units))


def features_name(features: str) -> str:
    """A kind of features as people say it."""
    return _FEATURES.get(features, features.replace("_", " "))


def capital(text: str) -> str:
    """The text with a capital first letter, the others as they are."""
    return text[:1].upper() + text[1:]


def backbone_order(rows: Sequence[EvidenceRow], compared: Sequence[EvidenceRow]) -> list[str]:
    """The backbones, those that others are compared with first, each in the order of its first row."""
    names = dict.fromkeys(row.backbone for row in rows)
    references = {row.compared_with for row in compared}
    return sorted(names, key=lambda name: name not in references)
