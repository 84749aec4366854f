"""The few-shot study as people read it: a table of scores and a table of paired differences."""

from collections.abc import Sequence

import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table

from medino.probes import EvidenceRow, differences, summaries

METRICS = {
    "classification": ("balanced_accuracy", "auroc"),
    "multilabel": ("auroc", "auprc"),
    "ordinal": ("quadratic_kappa", "mae"),
    "regression": ("mae", "concordance"),
}
"""What the tables show of each task."""

SCORES = "score [95 % interval over test patients] ± spread over support draws"
DIFFERENCES = "paired difference [95 % interval] ± spread, p by Holm"

WIDTH = 150
"""Of the tables where the output is no terminal, columns."""

FOR_TWO = 140
"""Columns that two metrics take side by side; a narrower terminal shows the first one."""


def show_study(evidence: pa.Table) -> None:
    """Print the summaries of one study.

    Args:
        evidence: the study's rows, of one dataset and one kind of features.
    """
    console = wide_console()
    rows, compared = summaries(evidence), differences(evidence)
    first = rows[0]
    shown = METRICS[first.task][: 2 if console.width >= FOR_TWO else 1]
    console.print(
        f"few-shot study of {first.dataset}: {first.patients} test patients (unit: {first.patient_unit}), "
        f"{'predicted' if first.task == 'regression' else 'classified'}: each {first.unit}, features: {first.features}"
    )
    if first.patient_unit != "patient":
        console.print(f"nobody knows the patient of all images: what is counted as one is the {first.patient_unit}")
    if first.classes_left_out:
        console.print(f"left out, of too few patients: {first.classes_left_out}")
    console.print(scores_table(rows, SCORES, shown))
    if compared:
        console.print(scores_table(compared, DIFFERENCES, shown, signed=True))
    others = [metric for metric in dict.fromkeys(row.metric or "" for row in rows) if metric not in shown]
    if others:
        console.print(f"also in the evidence and the CSV: {', '.join(others).replace('_', ' ')}")


def wide_console() -> Console:
    """The terminal, or where there is none something wide enough for the tables."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def scores_table(rows: list[EvidenceRow], title: str, metrics_shown: Sequence[str], signed: bool = False) -> Table:
    """One line for each number of shots, probe and backbone, one column a metric; `signed` for differences."""
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
    )
    names = [metric.replace("_", " ") for metric in metrics_shown]
    for heading in ("shots", "probe", "backbone", *names, "patients (seen)"):
        right = heading in ("shots", "patients (seen)")
        # Where there is no room, numbers go on in the next line: a name that is cut off tells nothing.
        wrapped = heading in names
        table.add_column(
            heading,
            justify="right" if right else "left",
            no_wrap=not wrapped,
            min_width=None if wrapped else _longest(rows, heading),
        )
    lines: dict[tuple[int, str, str], dict[str, EvidenceRow]] = {}
    for row in rows:
        lines.setdefault((row.shots or 0, row.probe, _name(row)), {})[row.metric or ""] = row
    before = None
    for (shots, probe, name), metrics in lines.items():
        if before not in (None, (shots, probe)):
            table.add_section()
        before = (shots, probe)
        any_row = next(iter(metrics.values()))
        cells = [_cell(metrics[metric], signed) if metric in metrics else "" for metric in metrics_shown]
        seen = "not known" if any_row.patients_seen is None else any_row.patients_seen
        table.add_row(str(shots), probe, name, *cells, f"{any_row.patients} ({seen})")
    return table


def _longest(rows: list[EvidenceRow], heading: str) -> int:
    """Columns that the words under a heading take."""
    if heading == "probe":
        return max(len(row.probe) for row in rows)
    if heading == "backbone":
        return max(len(_name(row)) for row in rows)
    return len(heading)


def _name(row: EvidenceRow) -> str:
    return row.backbone if row.compared_with is None else f"{row.backbone} - {row.compared_with}"


def _cell(row: EvidenceRow, signed: bool) -> str:
    """Value, interval, spread and, of a difference, its p-value."""
    sign = "+" if signed else ""
    numbers = [f"{value:{sign}.3f}" for value in (row.value, row.low, row.high) if value is not None]
    spread = "" if row.spread is None else f" ± {row.spread:.3f}"
    p_value = "" if row.p_holm is None else f", p {row.p_holm:.3f}"
    return f"{numbers[0]} \\[{numbers[1]}, {numbers[2]}]{spread}{p_value}"
