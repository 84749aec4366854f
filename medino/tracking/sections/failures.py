"""Where it fails: recall of each class with its interval, what is taken for what, the units most often wrong."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from medino.probes import EvidenceRow, of_kind, patient_counts, percentile_interval
from medino.tracking import html
from medino.tracking.headline import headline
from medino.tracking.names import probe_name
from medino.tracking.report import Section

HARDEST = 10
REPLICATES = 1000


@dataclass(frozen=True)
class Outcomes:
    """One backbone's outcomes, averaged over episodes.

    Attributes:
        units: (N,) keyed hashes of the test units, in the order of the study.
        patients: (N,) place of each unit's patient among the P test patients.
        targets: (N,) true classes.
        shares: (N, C) in which share of the episodes each class was predicted.
        classes: the C classes.
    """

    units: np.ndarray
    patients: np.ndarray
    targets: np.ndarray
    shares: np.ndarray
    classes: list[str]

    @property
    def right(self) -> np.ndarray:
        """(N,) share of the episodes in which the unit was classified rightly."""
        column = {label: place for place, label in enumerate(self.classes)}
        return self.shares[np.arange(len(self.units)), [column[label] for label in self.targets]]


def failures_section(evidence: pa.Table, title: str = "Where it fails") -> Section | None:
    """What goes wrong under the headline's probe and shots; None where no outcomes were kept."""
    found = headline(evidence)
    if found.after is None:
        return None
    after = outcomes(evidence, found.after)
    before = outcomes(evidence, found.before) if found.before is not None else None
    if after is None:
        return None
    if before is not None and (before.units != after.units).any():
        before = None
    row = found.after
    names = (found.before.backbone if found.before else "", row.backbone)
    intro = (
        f"{row.dataset}, {probe_name(row.probe)}, {row.shots} labelled units a class, the mean over support draws. "
        "A gain on average can hide a class that lost."
    )
    return Section(
        title,
        html.join(
            html.paragraph(intro),
            _recalls(before, after, names),
            _confusion(after, names),
            _hardest(before, after, names),
        ),
    )


def outcomes(evidence: pa.Table, of: EvidenceRow) -> Outcomes | None:
    """The outcomes behind a summary row; None where they were not kept."""
    where = {name: getattr(of, name) for name in ("task", "dataset", "backbone", "features", "probe", "unit", "shots")}
    kept = {name: value for name, value in where.items() if value is not None}
    rows = of_kind(evidence, "outcome", **kept)
    if not rows.num_rows:
        return None
    counted = rows.group_by(["unit_id", "patient", "target", "predicted"]).aggregate([([], "count_all")]).to_pylist()
    facts = {row["unit_id"]: (row["patient"], row["target"]) for row in counted}
    # As the study lists them: the order of hashes changes with the key, and with it what the resamples draw.
    units = list(dict.fromkeys(rows["unit_id"].to_pylist()))
    classes = sorted({row["target"] for row in counted} | {row["predicted"] for row in counted})
    shares = np.zeros((len(units), len(classes)))
    place = {unit: index for index, unit in enumerate(units)}
    column = {label: index for index, label in enumerate(classes)}
    for row in counted:
        shares[place[row["unit_id"]], column[row["predicted"]]] += row["count_all"]
    code = {patient: number for number, patient in enumerate(dict.fromkeys(facts[unit][0] for unit in units))}
    patients = np.array([code[facts[unit][0]] for unit in units])
    targets = np.array([facts[unit][1] for unit in units])
    return Outcomes(np.array(units), patients, targets, shares / shares.sum(axis=1, keepdims=True), classes)


def recall(found: Outcomes, label: str, other: Outcomes | None = None) -> tuple[float, float, float, int]:
    """Recall of a class (less that of `other`), with its 95 % interval over patients.

    Returns:
        Value, lower and upper end, and the number of patients that have the class.
    """
    own = found.targets == label
    right = found.right[own] - (other.right[own] if other is not None else 0)
    of_class, patients = np.unique(found.patients[own], return_inverse=True)
    total = np.bincount(patients)
    hits = np.bincount(patients, weights=right)
    counts = patient_counts(len(of_class), REPLICATES, seed=0).astype(np.float64)
    low, high = percentile_interval((counts @ hits) / (counts @ total))
    return float(right.mean()), float(low), float(high), len(of_class)


def _recalls(before: Outcomes | None, after: Outcomes, names: tuple[str, str]) -> str:
    lines = []
    for label in dict.fromkeys(sorted(after.targets.tolist())):
        value, low, high, patients = recall(after, label)
        line: list[object] = [label, patients]
        if before is not None:
            old, old_low, old_high, _ = recall(before, label)
            line += [f"{html.number(old)} {html.interval(old_low, old_high)}"]
        line += [f"{html.number(value)} {html.interval(low, high)}"]
        if before is not None:
            gain, gain_low, gain_high, _ = recall(after, label, before)
            line += [f"{html.number(gain, signed=True)} {html.interval(gain_low, gain_high, signed=True)}"]
        lines.append(line)
    compared = (*names, "difference") if before is not None else names[1:]
    return html.table(
        ("class", "patients", *compared), lines, "Recall of each class with its 95 % interval over patients."
    )


def _confusion(after: Outcomes, names: tuple[str, str]) -> str:
    labels = sorted(set(after.targets.tolist()))
    lines = [
        (f"is {label}", *(f"{100 * share:.0f} %" for share in after.shares[after.targets == label].mean(axis=0)))
        for label in labels
    ]
    header = ("", *(f"taken for {label}" for label in after.classes))
    return html.table(header, lines, f"What {names[1]} takes for what: shares of each true class.")


def _hardest(before: Outcomes | None, after: Outcomes, names: tuple[str, str]) -> str:
    order = np.argsort(after.right, kind="stable")[:HARDEST]
    lines = [
        (
            after.units[index],
            after.targets[index],
            *([f"{100 * (1 - before.right[index]):.0f} %"] if before is not None else []),
            f"{100 * (1 - after.right[index]):.0f} %",
        )
        for index in order
    ]
    compared = names if before is not None else names[1:]
    header = ("unit (keyed hash)", "class", *(f"wrong with {name}" for name in compared))
    caption = "The units most often wrong, over support draws. The hash finds them in the manifest."
    return html.table(header, lines, caption)
