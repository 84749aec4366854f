"""The summaries as one CSV that opens in a spreadsheet: columns that a person reads, one line a number."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from medino.core import whole_file
from medino.probes.evidence import of_kind

HEADINGS = {
    "dataset": "labelled set",
    "task": "task",
    "backbone": "backbone",
    "compared_with": "minus backbone",
    "features": "features",
    "probe": "probe or head",
    "unit": "what is counted",
    "shots": "shots",
    "draw": "a shot is one of",
    "metric": "metric",
    "target": "class",
    "value": "value or paired difference",
    "low": "95 % interval from",
    "high": "95 % interval to",
    "interval": "kind of interval",
    "low_percentile": "percentile interval from",
    "high_percentile": "percentile interval to",
    "low_bca": "BCa interval from",
    "high_bca": "BCa interval to",
    "spread": "standard deviation over draws",
    "p_value": "p, two-sided",
    "p_resamples": "resamples drawn for p",
    "p_holm": "p by Holm",
    "comparisons": "comparisons that Holm counts",
    "patients": "test patients",
    "patients_seen": "test patients seen in pretraining",
    "patient_unit": "a patient is a",
    "classes_left_out": "classes left out",
    "seed": "seed of draws and resamples",
    "resamples": "resamples drawn",
    "replicates": "resamples with a value",
    "replicates_lacking_class": "those that lack a class",
}
"""Columns of the evidence that a summary fills, in their order, and what the spreadsheet calls them."""

RUN = "run"
"""Heads the first column where there are several runs."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A text that begins so is a formula to a spreadsheet; a quote mark before it keeps it a text."""


def export_csv(path: str | Path, evidence: pa.Table | Mapping[str, pa.Table]) -> None:
    """Write the summary rows as CSV: commas, UTF-8 with the mark by which spreadsheets know it, lines as RFC 4180.

    Args:
        path: where to write.
        evidence: one table, or several by the name that the first column gives them.
    """
    tables = evidence if isinstance(evidence, Mapping) else {"": evidence}
    before = [RUN] if isinstance(evidence, Mapping) else []
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*before, *HEADINGS.values()])
        for name, table in tables.items():
            first = [name] if before else []
            for row in of_kind(table, "summary").select(list(HEADINGS)).to_pylist():
                writer.writerow([*map(_cell, first), *(_cell(row[column]) for column in HEADINGS)])


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
