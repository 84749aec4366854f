"""Masks: how sure the numbers are, of each class and, in few-shot studies, over the number of labelled patients."""

import pyarrow as pa

from medino.probes import EvidenceRow, differences, of_kind, summaries
from medino.tracking import html
from medino.tracking.figures import draw_segmentation
from medino.tracking.figures.drawn import Drawn
from medino.tracking.names import UNDEFINED, learner_name, metric_name, patients_tested
from medino.tracking.report import Folded, Part, Section, section_of
from medino.tracking.sections.study import study_parts
from medino.tracking.verdict import cautions, seen_or_unknown

MAIN = "dice"


def segmentation_section(evidence: pa.Table, title: str = "How sure: masks") -> Section | None:
    """Dice and distances for each class; None where nothing was segmented."""
    rows = summaries(evidence, task="segmentation")
    if not rows:
        return None
    compared = differences(evidence, task="segmentation")
    parts: list[Part] = []
    for dataset in dict.fromkeys(row.dataset for row in rows):
        of_set = [row for row in rows if row.dataset == dataset]
        parts.append(html.heading(dataset))
        parts.extend(html.paragraph(text, "caution") for text in cautions(max(of_set, key=seen_or_unknown)))
        studied = _each_once([row for row in of_set if row.shots is not None])
        if studied:
            paired = _each_once([row for row in compared if row.dataset == dataset and row.shots is not None])
            main = MAIN if any(row.metric == MAIN for row in studied) else studied[0].metric or ""
            parts.extend(study_parts(dataset, studied, paired, evidence, main))
        whole = _each_once([row for row in of_set if row.shots is None])
        if whole:
            parts.extend(_whole(dataset, whole, evidence))
    return section_of(title, parts)


def _each_once(rows: list[EvidenceRow]) -> list[EvidenceRow]:
    """The rows without the means over classes where there is one class: they say again what its own say."""
    named = [row for row in rows if row.target is not None]
    if len({row.target for row in named}) != 1:
        return rows
    told = {row.metric for row in named}
    return [row for row in rows if row.target is not None or row.metric not in told]


def _whole(dataset: str, rows: list[EvidenceRow], evidence: pa.Table) -> list[Part]:
    """Heads trained on all labelled patients."""
    parts: list[Part] = []
    if any(row.metric == MAIN for row in rows):
        found = of_kind(evidence, "outcome", task="segmentation", dataset=dataset, metric=MAIN)
        cases = [EvidenceRow(**row) for row in found.to_pylist() if row["shots"] is None]
        caption = (
            f"Dice of each class on {dataset}: the mean with its 95 % interval over "
            f"{patients_tested([row for row in rows if row.metric == MAIN])}; each tick is one case."
        )
        parts.append(Drawn(f"dice {dataset}", draw_segmentation(rows, cases), f"Dice on {dataset}", caption))
    main, others = ([row for row in rows if (row.metric == MAIN) == is_main] for is_main in (True, False))
    parts += [_table(main)] if main else []
    if others:
        named = dict.fromkeys(metric_name((row.metric or "").removesuffix(UNDEFINED)) for row in others)
        parts.append(Folded(f"Other metrics: {', '.join(named)}", [_table(others)]))
    return parts


def _table(rows: list[EvidenceRow]) -> str:
    lines = [
        (
            row.target or "all classes",
            metric_name(row.metric),
            f"{row.backbone}, {learner_name(row)}",
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
