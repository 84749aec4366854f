"""What `medino scan` shows: how many images of which kind, whose they are, and why files were rejected."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.table import Table

from medino.data import Manifest

SHOWN = 6
"""So many of a column's most frequent values have a line; the others share one."""

UNKNOWN = "not said"


def summary_table(manifest: Manifest) -> Table:
    """Images, files and patients for each format, modality, size and so on."""
    columns = {name: manifest.column(name) for name in manifest.table.column_names}
    files = np.array([f"{root}/{path}" for root, path in zip(columns["root"], columns["path"], strict=True)])
    sizes = [f"{rows} x {width}" for rows, width in zip(columns["rows"], columns["columns"], strict=True)]
    masks = ["yes" if path is not None else None for path in columns["mask_path"]]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column(manifest.name, footer="all")
    table.add_column("")
    table.add_column("images", justify="right", footer=f"{len(manifest):,}")
    table.add_column("files", justify="right", footer=f"{len(set(files)):,}")
    table.add_column(
        {"study": "studies", "file": "files as patients"}.get(manifest.patient_unit, "patients"),
        justify="right",
        footer=f"{len(set(columns['patient'])):,}",
    )
    groups: list[tuple[str, Sequence[str | None]]] = [
        ("format", list(columns["format"])),
        ("modality", list(columns["modality"])),
        ("manufacturer", list(columns["manufacturer"])),
        ("rows x columns", sizes),
        ("label", list(columns["label"])),
        ("mask", masks),
        ("split", list(columns["split"])),
        ("a patient is", [f"the {unit}" for unit in columns["patient_unit"]]),
    ]
    for name, values in groups:
        if name in ("mask", "split", "manufacturer", "modality", "label") and not any(values):
            continue
        _add_group(table, name, np.array([value or UNKNOWN for value in values]), files, columns["patient"])
    return table


def reject_table(manifest: Manifest) -> Table:
    """How many files or frames were rejected for each reason."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("rejects", justify="right")
    table.add_column("reason")
    for reason, count in Counter(reject.reason for reject in manifest.rejects).most_common():
        table.add_row(f"{count:,}", reason)
    return table


def _add_group(table: Table, name: str, values: np.ndarray, files: np.ndarray, patients: np.ndarray) -> None:
    """A line for each of the most frequent values, and one for all others."""
    counts = Counter(values.tolist())
    shown = [value for value, _ in counts.most_common(SHOWN if len(counts) > SHOWN + 1 else SHOWN + 1)]
    lines = [(value, values == value) for value in shown]
    others = ~np.isin(values, shown)
    if others.any():
        lines.append((f"{len(counts) - len(shown)} others", others))
    for place, (value, chosen) in enumerate(lines):
        table.add_row(
            name if place == 0 else "",
            value,
            f"{chosen.sum():,}",
            f"{len(set(files[chosen])):,}",
            f"{len(set(patients[chosen])):,}",
            end_section=place == len(lines) - 1,
        )
