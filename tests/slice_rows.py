"""Manifests of slices for tests of volumes: generated ones, and real files without a scan."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from sample_rows import sample_of

from medino.data import Manifest
from medino.data.readers import describe

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def slice_row(position: Sequence[float], **facts: object) -> dict[str, object]:
    """One axial slice at a position."""
    known = {"format": "dicom", "rows": 4, "columns": 5, "spacing_row_mm": 1.0, "spacing_column_mm": 1.0}
    return {**known, "orientation": list(AXIAL), "position_mm": [float(value) for value in position], **facts}


def manifest_of(rows: Iterable[dict[str, object]], **facts: object) -> Manifest:
    """A manifest of described slices."""
    named = ({"sample_id": f"s{number}", "path": f"{number}.dcm", **row} for number, row in enumerate(rows))
    return Manifest.from_samples(map(sample_of, named), **facts)


def manifest_of_files(files: Sequence[Path], root: Path) -> Manifest:
    """A manifest of real files."""
    rows = [
        {**facts, "path": file.relative_to(root).as_posix(), "instance": str(facts["sop_instance_uid"])}
        for file in files
        for facts in describe(file)
    ]
    return manifest_of(rows, roots=(root,))


def shuffled(rows: Sequence[dict[str, object]], seed: int = 0) -> list[dict[str, object]]:
    """The same rows in an order that says nothing."""
    return [rows[index] for index in np.random.default_rng(seed).permutation(len(rows))]
