"""One few-shot study, of labels or of masks: its figures, the main metric's table, the other metrics folded away."""

from collections.abc import Sequence

import pyarrow as pa
from markupsafe import Markup

from medino.probes import EvidenceRow
from medino.tracking import html
from medino.tracking.figures import draw_fewshot, draw_forest
from medino.tracking.figures.drawn import Drawn
from medino.tracking.figures.fewshot import trained_alone
from medino.tracking.figures.forest import MOST_LINES
from medino.tracking.names import (
    backbone_order,
    capital,
    metric_name,
    panel_name,
    patients_tested,
    probe_name,
    shots_name,
)
from medino.tracking.report import Folded, Part
from medino.tracking.verdict import BETTER, WORSE, in_a_word, seen_or_unknown

Line = tuple[str, str, str | None, int | None]
"""Task, probe, class and shots: what a line of a table is of."""


def study_parts(
    name: str, rows: Sequence[EvidenceRow], compared: Sequence[EvidenceRow], evidence: pa.Table, main: str
) -> list[Part]:
    """The parts of a section that show one study.

    Args:
        name: what the study is of.
        rows: its summary rows without comparisons.
        compared: its paired differences.
        evidence: holds its rows of kind `episode`, where they were kept.
        main: the metric that is shown first and large.
    """
    order = backbone_order(rows, compared)
    of_main = [row for row in rows if row.metric == main]
    parts: list[Part] = [_scores_figure(name, of_main, evidence, main, order), _scores(of_main, order)]
    parts += _forests(name, [row for row in compared if row.metric == main], main, order)
    others = [metric for metric in dict.fromkeys(row.metric or "" for row in rows) if metric != main]
    if others:
        folded: list[str | Drawn] = [_other_scores([row for row in rows if row.metric in others], others, order)]
        paired = [row for row in compared if row.metric in others]
        if paired:
            folded.append(_other_differences(paired, [metric for metric in others if _has(paired, metric)]))
        parts.append(Folded(f"Other metrics: {', '.join(map(metric_name, others))}", folded))
    return parts


def _scores_figure(
    name: str, rows: Sequence[EvidenceRow], evidence: pa.Table, metric: str, order: Sequence[str]
) -> Drawn:
    draws = " Faint ticks: single support draws, each with other labelled cases." if _has_episodes(evidence) else ""
    each = ", each from another patient" if rows[0].draw == "patients" and rows[0].unit != "patient" else ""
    caption = (
        f"{capital(metric_name(metric))} on {name} over the number of {shots_name(rows[0])}{each}. Bars and bands: "
        f"95 % intervals over {patients_tested(rows)}, the same resamples for every backbone.{draws}"
    )
    drawn = draw_fewshot(rows, evidence, metric, order)
    return Drawn(f"shots {metric} {name}", drawn, f"{metric_name(metric)} over shots, {name}", caption)


def _forests(name: str, compared: Sequence[EvidenceRow], metric: str, order: Sequence[str]) -> list[Part]:
    """The paired differences as one forest plot, or as one for each probe where they are many."""
    compared = [row for row in compared if row.value is not None]
    if not compared:
        return []
    groups = [compared]
    if len(compared) > MOST_LINES:
        groups = [[row for row in compared if row.probe == one] for one in dict.fromkeys(row.probe for row in compared)]
    parts: list[Part] = []
    for group in groups:
        caption = (
            f"Paired differences in {metric_name(metric)} on {name}, with 95 % intervals over "
            f"{patients_tested(group)}; the same patients, support sets and resamples on both sides. An interval that "
            "holds zero (hollow marker) shows no difference."
        )
        if any(row.p_holm is not None for row in group):
            caption += f" p is two-sided, by Holm over {_families(group)}."
        of = f" {group[0].probe}" if len(groups) > 1 else ""
        title = f"paired differences in {metric_name(metric)}, {name}{of}"
        parts.append(Drawn(f"differences {metric} {name}{of}", draw_forest(group, metric, order), title, caption))
    return parts


def _families(compared: Sequence[EvidenceRow]) -> str:
    """Over which comparisons p is corrected: all of this metric with one reference, and of masks in one class."""
    numbers = {(row.compared_with, row.comparisons or 1): None for row in compared}
    told = ", ".join(f"{number} with {reference}" for reference, number in numbers)
    classes = {row.target for row in compared}
    return f"all comparisons with the same reference{' in the same class' if len(classes) > 1 else ''} ({told})"


def _scores(rows: Sequence[EvidenceRow], order: Sequence[str]) -> Markup:
    of = {(*_line(row), row.backbone): row for row in rows}
    # What is trained in a way of its own stands in every line, as in the figure.
    alone = trained_alone(rows)
    own_probe = {row.backbone: row.probe for row in rows if row.probe in alone}
    present = [name for name in order if any(row.backbone == name for row in rows)]
    lines = []
    for line in _lines([row for row in rows if row.probe not in alone]):
        task, probe, target, shots = line
        cells = [_score(of.get((task, own_probe.get(name, probe), target, shots, name))) for name in present]
        lines.append((*_named(line), *cells))
    seen = ", ".join(f"{_most_seen(rows, name)} by {name}" for name in present)
    caption = (
        f"{capital(metric_name(rows[0].metric))}: mean over support draws, 95 % interval over {patients_tested(rows)}, "
        f"± standard deviation over support draws. Test patients seen without labels in pretraining: {seen}."
    )
    named = [f"{name} ({probe_name(own_probe[name])})" if name in own_probe else name for name in present]
    return html.table((*_header(rows), *named), lines, caption)


def _other_scores(rows: Sequence[EvidenceRow], metrics: Sequence[str], order: Sequence[str]) -> Markup:
    """One line a probe, number of shots and backbone; one column a metric."""
    of = {(*_line(row), row.backbone, row.metric): row for row in rows}
    lines = [
        (
            *_named(line),
            name,
            *(_score(of.get((*line, name, metric)), spread=False) for metric in metrics),
        )
        for line in _lines(rows)
        for name in order
        if any((*line, name, metric) in of for metric in metrics)
    ]
    header = (*_header(rows), "backbone", *map(metric_name, metrics))
    return html.table(header, lines, f"Mean over support draws and 95 % interval over {patients_tested(rows)}.")


def _other_differences(rows: Sequence[EvidenceRow], metrics: Sequence[str]) -> Markup:
    of = {(*_line(row), row.backbone, row.compared_with, row.metric): row for row in rows}
    pairs = list(dict.fromkeys((row.backbone, row.compared_with) for row in rows))
    lines = [
        (
            *_named(line),
            f"{pair[0]} against {pair[1]}",
            *(_difference(of.get((*line, *pair, one))) for one in metrics),
        )
        for line in _lines(rows)
        for pair in pairs
        if any((*line, *pair, metric) in of for metric in metrics)
    ]
    header = (*_header(rows), "compared", *map(metric_name, metrics))
    caption = f"Paired differences, 95 % intervals over {patients_tested(rows)}; without a word: none is shown."
    return html.table(header, lines, caption)


def _score(row: EvidenceRow | None, spread: bool = True) -> str:
    if row is None:
        return html.MISSING
    told = "" if row.spread is None or not spread else f" ±{html.number(row.spread)}"
    return f"{html.number(row.value)} {html.interval(row.low, row.high)}{told}"


def _difference(row: EvidenceRow | None) -> str:
    if row is None:
        return html.MISSING
    found = f"{html.number(row.value, signed=True)} {html.interval(row.low, row.high, signed=True)}"
    shown = in_a_word(row)
    return f"{found} {shown}" if shown in (BETTER, WORSE) else found


def _line(row: EvidenceRow) -> Line:
    return row.task, row.probe, row.target, row.shots


def _lines(rows: Sequence[EvidenceRow]) -> list[Line]:
    """The lines of a table, in the order of the figure."""
    groups = list(dict.fromkeys(_line(row)[:3] for row in rows))
    return sorted({_line(row) for row in rows}, key=lambda line: (groups.index(line[:3]), line[3] or 0))


def _named(line: Line) -> tuple[object, ...]:
    task, probe, target, shots = line
    return panel_name(task, probe, target), shots


def _header(rows: Sequence[EvidenceRow]) -> tuple[str, str]:
    return ("head: class" if rows[0].task == "segmentation" else "probe", "shots")


def _most_seen(rows: Sequence[EvidenceRow], backbone: str) -> str:
    most = max((row for row in rows if row.backbone == backbone), key=seen_or_unknown).patients_seen
    return "not known how many" if most is None else str(most)


def _has(rows: Sequence[EvidenceRow], metric: str) -> bool:
    return any(row.metric == metric for row in rows)


def _has_episodes(evidence: pa.Table) -> bool:
    return "episode" in evidence["kind"].unique().to_pylist()
