"""What `medino scan` shows: how many images of which kind, whose they are, and why files were rejected."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich import box
from rich.table import Table

from medino.data import Manifest

SHOWN = 6
"""So many of a column's most frequent values have a line; the others share one."""

UNKNOWN = "not said"

SPACINGS_MM = (0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0)
"""Ends of the intervals that spacings are counted in, from slides over radiographs and CT to nuclear images."""

_ALWAYS = ("format", "rows x columns", "a patient is")


def summary_table(manifest: Manifest) -> Table:
    """Images, files and patients for each format, modality, body part, size and so on.

    Counted in Arrow, so that a million rows take seconds.
    """
    counted = _columns(manifest.table)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column(manifest.name, footer="all")
    table.add_column("")
    table.add_column("images", justify="right", footer=f"{len(manifest):,}")
    table.add_column("files", justify="right", footer=f"{_distinct(counted['file']):,}")
    table.add_column(
        {"study": "studies", "file": "files as patients"}.get(manifest.patient_unit, "patients"),
        justify="right",
        footer=f"{_distinct(counted['patient']):,}",
    )
    for name in counted.column_names[2:]:
        if name in _ALWAYS or counted[name].null_count < len(counted):
            _add_group(table, name, counted)
    return table


def reject_table(manifest: Manifest) -> Table:
    """How many files or frames were rejected for each reason."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("rejects", justify="right")
    table.add_column("reason")
    for reason, count in Counter(reject.reason for reject in manifest.rejects).most_common():
        table.add_row(f"{count:,}", reason)
    return table


def _columns(rows: pa.Table) -> pa.Table:
    """The file and the patient of each image as numbers, then a column of text for each thing to count by."""

    def text(name: str) -> pa.ChunkedArray:
        return rows[name].cast(pa.string())

    files = pc.binary_join_element_wise(text("root"), text("path"), "/")
    masks = pc.if_else(pc.is_valid(text("mask_path")), "yes", pa.scalar(None, pa.string()))
    return pa.table(
        {
            "file": _numbered(files),
            "patient": _numbered(text("patient")),
            "format": text("format"),
            "modality": text("modality"),
            "body part": text("body_part"),
            "manufacturer": text("manufacturer"),
            "rows x columns": pc.binary_join_element_wise(text("rows"), text("columns"), " x "),
            "mm between rows": _intervals(rows["spacing_row_mm"]),
            "sex": text("sex"),
            "label": text("label"),
            "mask": masks,
            "split": text("split"),
            "may show a name": text("burned_in"),
            "a patient is": pc.binary_join_element_wise("the", text("patient_unit"), " "),
        }
    )


def _numbered(texts: pa.ChunkedArray) -> pa.Array:
    """The same number for the same text: what is counted is small."""
    return texts.combine_chunks().dictionary_encode().indices


def _distinct(numbers: pa.ChunkedArray) -> int:
    return int(pc.count_distinct(numbers).as_py())


def _intervals(lengths: pa.ChunkedArray) -> pa.ChunkedArray:
    """The interval of `SPACINGS_MM` that each length lies in, in words."""
    words = [f"up to {SPACINGS_MM[0]:g}"]
    words += [f"{low:g} to {high:g}" for low, high in pairwise(SPACINGS_MM)]
    told = pc.if_else(pc.is_valid(lengths), f"over {SPACINGS_MM[-1]:g}", pa.scalar(None, pa.string()))
    for high, word in reversed(list(zip(SPACINGS_MM, words, strict=True))):
        told = pc.if_else(pc.fill_null(pc.less_equal(lengths, high), False), word, told)
    return told


def _add_group(table: Table, name: str, counted: pa.Table) -> None:
    """A line for each of the most frequent values, and one for all others."""
    values = pc.fill_null(counted[name], UNKNOWN).combine_chunks().dictionary_encode()
    words, codes = values.dictionary.to_pylist(), values.indices.to_numpy()
    counts = np.bincount(codes, minlength=len(words))
    frequent = sorted(range(len(words)), key=lambda code: (-counts[code], words[code]))
    shown = frequent[: SHOWN if len(words) > SHOWN + 1 else SHOWN + 1]
    line_of = np.full(len(words), len(shown))
    line_of[shown] = np.arange(len(shown))
    names = [words[code] for code in shown]
    if len(words) > len(shown):
        names.append(f"{len(words) - len(shown)} others")
    lines = line_of[codes]
    images = np.bincount(lines, minlength=len(names))
    files, patients = (_distinct_by(lines, counted[each].to_numpy(), len(names)) for each in ("file", "patient"))
    for place, value in enumerate(names):
        numbers = (f"{each[place]:,}" for each in (images, files, patients))
        table.add_row(name if place == 0 else "", value, *numbers, end_section=place == len(names) - 1)


def _distinct_by(lines: np.ndarray, numbers: np.ndarray, count: int) -> np.ndarray:
    """How many different numbers there are in each of `count` lines."""
    # A sort of whole numbers takes a tenth of what Arrow's distinct count by group and numpy's `unique` take here.
    most = int(numbers.max(initial=0)) + 1
    pairs = np.sort(lines * most + numbers)
    return np.bincount(pairs[np.flatnonzero(np.diff(pairs, prepend=-1))] // most, minlength=count)
