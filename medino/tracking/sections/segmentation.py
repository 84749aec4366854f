"""Segmentation evidence: Dice of each class, the other metrics in a table, the worst cases."""

import pyarrow as pa

from medino.probes import EvidenceRow, of_kind, summaries
from medino.tracking import html
from medino.tracking.figures import draw_segmentation, to_svg
from medino.tracking.names import metric_name, probe_name
from medino.tracking.report import Section
from medino.tracking.verdict import cautions, seen_or_unknown

WORST = 8


def segmentation_section(evidence: pa.Table, title: str = "Segmentation") -> Section | None:
    """Dice and Hausdorff distance for each class; None where nothing was segmented."""
    rows = summaries(evidence, task="segmentation")
    if not rows:
        return None
    cases = [EvidenceRow(**row) for row in of_kind(evidence, "outcome", task="segmentation").to_pylist()]
    parts: list[str] = []
    for dataset in dict.fromkeys(row.dataset for row in rows):
        of_set = [row for row in rows if row.dataset == dataset]
        own = [case for case in cases if case.dataset == dataset]
        parts.append(html.heading(dataset))
        most_seen = max(of_set, key=seen_or_unknown)
        parts.extend(html.paragraph(text, "caution") for text in cautions(most_seen))
        if any(row.metric == "dice" for row in of_set):
            caption = (
                f"Dice of each class on {dataset}: the mean with its 95 % interval over "
                f"{max(row.patients or 0 for row in of_set)} test patients; each tick is one case."
            )
            parts.append(html.figure(to_svg(draw_segmentation(of_set, own), f"Dice on {dataset}"), caption))
        parts.append(_table(of_set))
        parts.append(_worst(own))
    return Section(title, html.join(*parts))


def _table(rows: list[EvidenceRow]) -> str:
    lines = [
        (
            row.target or "all classes",
            metric_name(row.metric),
            _head(row),
            html.number(row.value) if row.low is not None else f"{row.value:g}",
            html.interval(row.low, row.high) if row.low is not None else html.MISSING,
            row.patients,
            row.patients_seen,
        )
        for row in rows
        if row.value is not None
    ]
    header = ("class", "metric", "backbone and head", "mean", "95 % interval", "patients", "seen before")
    unit = "" if rows[0].patient_unit == "patient" else f" What counts as a patient: {rows[0].patient_unit}."
    return html.table(header, lines, f"Mean over cases; 95 % interval over test patients.{unit}")


def _worst(cases: list[EvidenceRow]) -> str:
    measured = sorted((case for case in cases if case.metric == "dice" and case.value is not None), key=_value)
    if not measured:
        return ""
    lines = [
        (
            case.unit_id or html.MISSING,
            case.target,
            _head(case),
            html.number(case.value),
        )
        for case in measured[:WORST]
    ]
    caption = f"Where it fails: the lowest of {len(measured)} cases. The hash finds the image in the manifest."
    return html.table(("image (keyed hash)", "class", "backbone and head", "Dice"), lines, caption)


def _head(row: EvidenceRow) -> str:
    return f"{row.backbone}, {probe_name(row.probe)} head"


def _value(row: EvidenceRow) -> float:
    return 0.0 if row.value is None else row.value
