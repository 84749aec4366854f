"""A CSV file with labels, and which image each of its rows means.

The header says how rows and images join: a column `path`, `image`, `series`, `study` or `patient` (the finest that is
there), beside it `label`, and where wanted `patient` and `split`. Identifiers are hashed as they are read.
"""

import csv
import io
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from medino.core import InputError, existing_file
from medino.data.identity import IdentityKey, Kind, clean
from medino.data.splits import SPLITS

JoinKey = Literal["path", "image", "series", "study", "patient"]

COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "path": ("path", "filepath"),
    "image": ("image", "imageid", "file", "filename", "sopinstanceuid"),
    "series": ("series", "seriesid", "seriesuid", "seriesinstanceuid"),
    "study": ("study", "studyid", "studyuid", "studyinstanceuid", "accession", "accessionnumber"),
    "patient": ("patient", "patientid", "subject", "subjectid", "group"),
    "label": ("label",),
    "split": ("split",),
}
"""What a column means by its name (letters' case, spaces, `_` and `-` aside); the first that is there counts."""

JOIN_KEYS: tuple[JoinKey, ...] = ("path", "image", "series", "study", "patient")

_SPLIT_NAMES = {**{name: name for name in SPLITS}, "training": "train", "val": "validation", "valid": "validation"}


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One row: its line in the file, the keys that images are found by, and what it says of them."""

    line: int
    keys: tuple[str, ...]
    label: str | None
    patient: str | None
    split: str | None


@dataclass(frozen=True)
class JoinKeys:
    """What an image file can be found by; all but paths are hashes.

    Attributes:
        paths: relative and absolute.
        instance: of the SOP instance UID.
        names: of the file's name with and without extension.
        series: of the series' UID.
        studies: of the study's UID and the accession number.
        patient: of the patient's id.
    """

    paths: tuple[str, ...]
    instance: str | None = None
    names: tuple[str, ...] = ()
    series: str | None = None
    studies: tuple[str, ...] = ()
    patient: str | None = None

    def of(self, kind: JoinKey) -> tuple[str, ...]:
        """The keys for a column of this kind, the surest first."""
        if kind == "path":
            return self.paths
        if kind == "study":
            return self.studies
        if kind == "image":
            return (self.instance, *self.names) if self.instance else self.names
        one = self.series if kind == "series" else self.patient
        return (one,) if one else ()


@dataclass(frozen=True)
class LabelTable:
    """The labels of a CSV file, by what their rows are joined with.

    Attributes:
        name: the file's name.
        kind: what the rows are joined by.
        rows: all of them.
    """

    name: str
    kind: JoinKey
    rows: tuple[LabelRow, ...]
    _by_key: dict[str, LabelRow] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            for key in row.keys:
                other = self._by_key.setdefault(key, row)
                if (other.label, other.patient, other.split) != (row.label, row.patient, row.split):
                    raise InputError(
                        f"lines {other.line} and {row.line} of {self.name} say different things of the same "
                        f"{self.kind}; keep one of them"
                    )

    def join(self, images: Iterable[JoinKeys]) -> tuple[list[LabelRow | None], int]:
        """Find the row of each image file.

        Returns:
            The row or None for each image, and the number of rows that mean none of them.

        Raises:
            InputError: no row means any of the images, or one row of a single image's label fits several files.
        """
        found: list[LabelRow | None] = []
        files_of: dict[LabelRow, int] = defaultdict(int)
        for image in images:
            key = next((key for key in image.of(self.kind) if key in self._by_key), None)
            row = self._by_key[key] if key is not None else None
            found.append(row)
            # Copies of one DICOM instance share its label; files that only share a name must not.
            if row is not None and self.kind in ("path", "image") and key != image.instance:
                files_of[row] += 1
                if files_of[row] > 1:
                    raise InputError(
                        f"line {row.line} of {self.name} fits several of the files by its column {self.kind}; "
                        "give a column `path` with the folders in it"
                    )
        matched = {key for row in {id(row): row for row in found if row is not None}.values() for key in row.keys}
        unmatched = sum(matched.isdisjoint(row.keys) for row in self.rows)
        if unmatched == len(self.rows):
            raise InputError(
                f"none of the {len(self.rows)} rows of {self.name} means a scanned image by its column {self.kind}; "
                "check that the column holds what the files hold"
            )
        return found, unmatched


def read_labels(path: str | Path, key: IdentityKey, label_column: str | None = None) -> LabelTable:
    """Read a CSV file (comma, semicolon or tab; UTF-8) and hash the identifiers in it.

    Args:
        path: the file. Relative paths in it start from a scanned folder, or from the CSV file's own.
        key: hashes identifiers.
        label_column: the column with the labels, where its name is not `label`.

    Raises:
        InputError: no label column, no column to join by, or rows that can't be understood.
    """
    path = existing_file(path, "labels' file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text; save it as CSV with UTF-8") from error
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    columns = _columns(list(reader.fieldnames or ()), path.name, label_column)
    kind = cast(JoinKey, next((kind for kind in JOIN_KEYS if kind in columns), None))
    if kind is None:
        found = ", ".join(reader.fieldnames or ())
        raise InputError(f"{path.name} has no column path, image, series, study or patient to join by; found: {found}")
    rows = tuple(_rows(reader, columns, kind, path, key))
    if not rows:
        raise InputError(f"{path.name} has a header and no rows; add the labels")
    return LabelTable(path.name, kind, rows)


def normalised_path(path: str) -> str:
    """A path as it is compared: forward slashes, no `./`, no `a/../`."""
    return os.path.normpath(path.replace("\\", "/"))


def _columns(header: list[str], name: str, label_column: str | None) -> dict[str, str]:
    """The file's column for each meaning."""
    plain = [column.lower().translate(str.maketrans("", "", " _-")) for column in header]
    found: dict[str, str] = {}
    for meaning, names in COLUMN_NAMES.items():
        for wanted in names:
            places = [place for place, column in enumerate(plain) if column == wanted]
            if len(places) > 1:
                raise InputError(f"{name} has {len(places)} columns that mean {meaning}: rename all but one")
            if places and meaning not in found:
                found[meaning] = header[places[0]]
    if label_column is not None:
        if header.count(label_column) != 1:
            raise InputError(f"{name} has no column {label_column!r} for the labels; found: {', '.join(header)}")
        found = {meaning: column for meaning, column in found.items() if column != label_column}
        found["label"] = label_column
    if "label" not in found:
        raise InputError(
            f"{name} has no column `label`; found: {', '.join(header) or 'nothing'}; rename the one with the labels, "
            "or name it by --label-column"
        )
    return found


def _rows(
    reader: csv.DictReader, columns: Mapping[str, str], kind: JoinKey, path: Path, key: IdentityKey
) -> Iterator[LabelRow]:
    for raw in reader:
        line = reader.line_num
        if None in raw:
            raise InputError(f"line {line} of {path.name} has more fields than the header; put quotes around the text")
        cells = {meaning: clean(raw[column]) for meaning, column in columns.items()}
        split = cells.get("split", "").lower()
        if split and split not in _SPLIT_NAMES:
            raise InputError(f"line {line} of {path.name} has a split that is none of {', '.join(SPLITS)}; rename it")
        patient = cells.get("patient") if kind != "patient" else None
        yield LabelRow(
            line=line,
            keys=_keys(cells[kind], kind, path, key),
            label=sys.intern(cells["label"]) or None,
            patient=key.hash("patient", patient) if patient else None,
            split=_SPLIT_NAMES[split] if split else None,
        )


def _keys(cell: str, kind: JoinKey, path: Path, key: IdentityKey) -> tuple[str, ...]:
    if not cell:
        return ()
    if kind != "path":
        return (key.hash(cast(Kind, kind), cell),)
    plain = normalised_path(cell)
    here = normalised_path(f"{path.resolve().parent}/{plain}")
    return (plain, os.path.realpath(plain)) if plain.startswith("/") else (plain, here)
