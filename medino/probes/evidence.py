"""Evidence in and out of Parquet: one tidy table that grows, and the questions that figures and reports ask of it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medino.core import InputError, read_table, schema_of, write_table
from medino.probes.registry import END_TO_END
from medino.probes.schema import EVIDENCE_VERSION, EvidenceRow

EVIDENCE_SCHEMA = schema_of(EvidenceRow)

CELL = ("task", "features", "probe", "backbone", "dataset", "unit", "shots", "draw")
"""What is measured in one go, and replaced as a whole."""

KINDS = ("outcome", "support", "episode", "summary")


def evidence_table(rows: Iterable[EvidenceRow]) -> pa.Table:
    """A table of rows made one by one."""
    return pa.Table.from_pylist([vars(row) for row in rows], schema=EVIDENCE_SCHEMA)


def evidence_block(length: int, **columns: Any) -> pa.Table:
    """A table of `length` rows made column by column, for results too many to be made one by one.

    Args:
        length: number of rows.
        columns: an Arrow array of that length, or one value that all rows share; columns not named are null.
    """
    arrays = []
    for column in EVIDENCE_SCHEMA:
        value = columns.pop(column.name, None)
        is_array = isinstance(value, pa.Array)
        arrays.append(value.cast(column.type) if is_array else pa.repeat(pa.scalar(value, column.type), length))
    if columns:
        raise ValueError(f"evidence has no columns {', '.join(columns)}")
    return pa.Table.from_arrays(arrays, schema=EVIDENCE_SCHEMA)


def merge_evidence(tables: Sequence[pa.Table]) -> pa.Table:
    """Put tables of evidence one below the other."""
    return pa.concat_tables([EVIDENCE_SCHEMA.empty_table(), *tables])


def write_evidence(path: str | Path, rows: pa.Table | Iterable[EvidenceRow]) -> None:
    """Write evidence, whole or not at all, in place of what was there."""
    table = rows if isinstance(rows, pa.Table) else evidence_table(rows)
    write_table(path, table, "evidence", EVIDENCE_VERSION, {})


def read_evidence(path: str | Path) -> pa.Table:
    """Read evidence. Columns that may be null and that a file written before lacks are null in all of its rows.

    Raises:
        InputError: the file is missing, holds another table or another schema version.
    """
    table, _ = read_table(path, "evidence", EVIDENCE_VERSION)
    for column in EVIDENCE_SCHEMA:
        if column.nullable and column.name not in table.column_names:
            table = table.append_column(column, pa.nulls(len(table), column.type))
    try:
        return table.select(EVIDENCE_SCHEMA.names).cast(EVIDENCE_SCHEMA)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise InputError(f"{path} does not fit the evidence's schema ({error}); run the study again") from error


def append_evidence(path: str | Path, rows: pa.Table | Iterable[EvidenceRow]) -> None:
    """Add evidence to a file, which is made if it is not there.

    Rows of the same task, dataset, backbone, features, probe, unit, shots and draw are replaced, so that a study run
    twice is there once. A paired difference to a backbone that is replaced goes, too: what it was compared with is no
    longer there.
    """
    table = rows if isinstance(rows, pa.Table) else evidence_table(rows)
    if Path(path).is_file():
        known = read_evidence(path)
        new, cells = set(_cells(table)), _cells(known)
        kept = np.array([cell not in new for cell in cells], dtype=bool)
        replaced = {_compared(*cell) for cell, stays in zip(cells, kept, strict=True) if not stays}
        for row, reference in enumerate(known["compared_with"].to_pylist()):
            if reference is not None:
                kept[row] &= not replaced & _references(cells[row], reference)
        table = merge_evidence([known.filter(pa.array(kept)), table])
    write_evidence(path, table)


def _cells(table: pa.Table) -> list[tuple[Any, ...]]:
    """`CELL` of each row."""
    return list(zip(*(table[key].to_pylist() for key in CELL), strict=True))


def _compared(task: str, features: str, probe: str, backbone: str, *where: Any) -> tuple[Any, ...]:
    """What a cell is to those that are compared with it: heads for masks need not read the same layers."""
    return (task, None if task == "segmentation" else features, probe, backbone, *where)


def _references(cell: tuple[Any, ...], reference: str) -> set[tuple[Any, ...]]:
    """What a difference in this cell may be to: the same probe of another backbone, or one trained on images."""
    task, features, probe, _, *where = cell
    return {_compared(task, features, one, reference, *where) for one in (probe, END_TO_END)}


def of_kind(evidence: pa.Table, kind: str, **equal: str | int) -> pa.Table:
    """The rows of a kind whose columns have the given values."""
    chosen = pc.equal(evidence["kind"], kind)
    for name, value in equal.items():
        chosen = pc.and_(chosen, pc.equal(evidence[name], value))
    return evidence.filter(chosen)


def summaries(evidence: pa.Table, **equal: str | int) -> list[EvidenceRow]:
    """The summary rows without a comparison: a metric's mean over episodes, its interval and spread."""
    rows = of_kind(evidence, "summary", **equal)
    return _rows(rows.filter(pc.is_null(rows["compared_with"])))


def differences(evidence: pa.Table, **equal: str | int) -> list[EvidenceRow]:
    """The summary rows of paired differences, `backbone - compared_with`."""
    rows = of_kind(evidence, "summary", **equal)
    return _rows(rows.filter(pc.is_valid(rows["compared_with"])))


def _rows(table: pa.Table) -> list[EvidenceRow]:
    """The rows as objects."""
    return [EvidenceRow(**row) for row in table.to_pylist()]
