"""Few-shot evidence: figures, verdicts and the whole table, for each labelled set."""

from collections.abc import Sequence

import pyarrow as pa
from markupsafe import Markup

from medino.probes import EvidenceRow, differences, summaries
from medino.tracking import html
from medino.tracking.figures import draw_fewshot, to_svg
from medino.tracking.names import backbone_order, capital, features_name, metric_name, probe_name
from medino.tracking.report import Section
from medino.tracking.verdict import cautions, in_a_word, seen_or_unknown

METRICS = ("balanced_accuracy", "auroc")
"""Drawn in this order; the table holds whatever was measured."""


def fewshot_section(evidence: pa.Table, title: str = "Few-shot classification") -> Section | None:
    """Scores over shots, paired differences and the table; None where there is no few-shot evidence."""
    rows = summaries(evidence, task="classification")
    compared = differences(evidence, task="classification")
    if not rows:
        return None
    parts = []
    for study in dict.fromkeys(map(_study, rows)):
        of_study = [row for row in rows if _study(row) == study]
        paired = [row for row in compared if _study(row) == study]
        parts.append(_study_html(study, of_study, paired))
    return Section(title, html.join(*parts))


def _study(row: EvidenceRow) -> tuple[str, str, str]:
    return row.dataset, row.unit, row.features


def _study_html(
    study: tuple[str, str, str], rows: Sequence[EvidenceRow], compared: Sequence[EvidenceRow]
) -> Markup | str:
    dataset, unit, features = study
    name = f"{dataset}, {features_name(features)}, unit: {unit}"
    patients = max((row.patients or 0 for row in rows), default=0)
    parts = [html.heading(name)]
    parts.extend(html.paragraph(text, "caution") for text in cautions(max(rows, key=seen_or_unknown)))
    for metric in METRICS:
        if any(row.metric == metric for row in rows):
            caption = (
                f"{capital(metric_name(metric))} on {dataset} over the number of labelled units a class, for each "
                f"probe on frozen features. Bars and bands: 95 % intervals over {patients} test patients, the same "
                "resamples for every backbone."
            )
            if any(row.metric == metric for row in compared):
                caption += " Below: the paired difference; an interval that holds zero shows no difference."
            drawn = to_svg(draw_fewshot(rows, compared, metric), f"{metric_name(metric)}, {name}")
            parts.append(html.figure(drawn, caption))
    order = backbone_order(rows, compared)
    for metric in _metrics(rows):
        parts.append(_scores([row for row in rows if row.metric == metric], order))
        if paired := [row for row in compared if row.metric == metric]:
            parts.append(_differences(paired))
    return html.join(*parts)


def _metrics(rows: Sequence[EvidenceRow]) -> list[str]:
    """What was measured: the drawn metrics first."""
    found = dict.fromkeys(row.metric or "" for row in rows)
    return sorted(found, key=lambda metric: METRICS.index(metric) if metric in METRICS else len(METRICS))


def _lines(rows: Sequence[EvidenceRow]) -> list[tuple[str, int | None]]:
    """Probe and shots of each line of a table, in the order of the figure."""
    probes = list(dict.fromkeys(row.probe for row in rows))
    return sorted({(row.probe, row.shots) for row in rows}, key=lambda line: (probes.index(line[0]), line[1] or 0))


def _most_seen(rows: Sequence[EvidenceRow], backbone: str) -> str:
    most = max((row for row in rows if row.backbone == backbone), key=seen_or_unknown).patients_seen
    return "not known how many" if most is None else str(most)


def _scores(rows: Sequence[EvidenceRow], order: Sequence[str]) -> Markup:
    of = {(row.probe, row.shots, row.backbone): row for row in rows}
    lines = [
        (probe_name(probe), shots, *(_score(of.get((probe, shots, backbone))) for backbone in order))
        for probe, shots in _lines(rows)
    ]
    seen = ", ".join(f"{_most_seen(rows, backbone)} by {backbone}" for backbone in order)
    caption = (
        f"{capital(metric_name(rows[0].metric))}: mean over support draws, 95 % interval over {_patients(rows)} test "
        f"patients, ± standard deviation over support draws. Test patients seen without labels in pretraining: {seen}."
    )
    if rows[0].patient_unit != "patient":
        caption += f" What counts as a patient: {rows[0].patient_unit}."
    return html.table(("probe", "shots", *order), lines, caption)


def _score(row: EvidenceRow | None) -> str:
    if row is None:
        return html.MISSING
    spread = "" if row.spread is None else f" ±{html.number(row.spread)}"
    return f"{html.number(row.value)} {html.interval(row.low, row.high)}{spread}"


def _differences(rows: Sequence[EvidenceRow]) -> Markup:
    of = {(row.probe, row.shots, row.backbone, row.compared_with): row for row in rows}
    pairs = list(dict.fromkeys((row.backbone, row.compared_with) for row in rows))
    lines = [
        (probe_name(probe), shots, *(_difference(of.get((probe, shots, *pair))) for pair in pairs))
        for probe, shots in _lines(rows)
    ]
    header = ("probe", "shots", *(f"{backbone} against {other}" for backbone, other in pairs))
    caption = (
        f"{capital(metric_name(rows[0].metric))}: paired difference with its 95 % interval over {_patients(rows)} test "
        "patients; the same patients, support sets and resamples on both sides."
    )
    return html.table(header, lines, caption)


def _difference(row: EvidenceRow | None) -> str:
    if row is None:
        return html.MISSING
    return f"{html.number(row.value, signed=True)} {html.interval(row.low, row.high, signed=True)} {in_a_word(row)}"


def _patients(rows: Sequence[EvidenceRow]) -> str:
    return " or ".join(str(number) for number in sorted({row.patients for row in rows if row.patients is not None}))
