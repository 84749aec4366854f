"""The manifest: which images there are, whose they are, where they lie, and which files can't be used.

Two Parquet files, `cohort.parquet` and `cohort.rejects.parquet` beside it. The rows are `Sample`s and `Reject`s; the
scanned folders, the mask folders and the scan's settings are kept in the first file's metadata.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medino.core import InputError, read_table, schema_of, table_fingerprint, whole_file
from medino.core.tables import write_parquet
from medino.data.location import check_remote, is_remote, located
from medino.data.schema import MANIFEST_VERSION, Reject, Sample
from medino.data.source import Source
from medino.data.values import Values

WIDE = ("sample_id", "path", "member", "instance", "mask_path", "mask_member")
"""Columns of text in which nearly every row has a value of its own; those of all others repeat."""


def _sample_schema() -> pa.Schema:
    """The columns of `Sample`, narrow: repeated text as numbers into a dictionary, whole numbers in 32 bits."""
    fields = []
    for field in schema_of(Sample):
        if field.name not in WIDE and pa.types.is_string(field.type):
            field = field.with_type(pa.dictionary(pa.int32(), pa.string()))
        elif field.name != "file_bytes" and pa.types.is_int64(field.type):
            field = field.with_type(pa.int32())
        fields.append(field)
    return pa.schema(fields)


SAMPLE_SCHEMA = _sample_schema()
REJECT_SCHEMA = schema_of(Reject)

PATIENT_UNITS = ("patient", "study", "file")
"""What a row's `patient` can stand for, the surest first."""

PLACES = ("root", "path", "member", "mask_root", "mask_path", "mask_member")
"""The columns that say where files lie. They can name people, and change when a folder is moved."""


def rejects_path(path: str | Path) -> Path:
    """Where the rejects of the manifest at `path` lie."""
    path = Path(path)
    return path.with_name(f"{path.stem}.rejects.parquet")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Manifest:
    """The table of samples with its rejects and the folders that its paths start from.

    Attributes:
        table: one row a sample, columns as `Sample`.
        rejects: the files and frames that can't be used, with reasons.
        roots: the scanned folders; `root` in a row is an index into them. A location elsewhere that shards were packed
            to is a string: its fsspec URL.
        mask_roots: the mask folders; `mask_root` is an index into them.
        name: what figures and tables call this set of images.
        settings: how the scan was made, JSON-plain.

    Raises:
        InputError: a column is missing, of another type, or null where it must not be.
    """

    table: pa.Table
    rejects: tuple[Reject, ...] = ()
    roots: tuple[Path | str, ...] = ()
    mask_roots: tuple[Path | str, ...] = ()
    name: str = "cohort"
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [name for name in SAMPLE_SCHEMA.names if name not in self.table.column_names]
        if missing:
            raise InputError(f"the manifest {self.name} lacks the columns {', '.join(missing)}; scan again")
        try:
            table = self.table.select(SAMPLE_SCHEMA.names).cast(SAMPLE_SCHEMA)
            if any(column.num_chunks > 1 for column in table.columns):
                table = table.combine_chunks()
        except (pa.ArrowInvalid, ValueError) as error:
            raise InputError(f"the manifest {self.name} does not fit its schema ({error}); scan again") from error
        object.__setattr__(self, "table", table)

    def __repr__(self) -> str:
        # Neither folders nor values: what is printed ends up in logs.
        return f"Manifest({self.name!r}, {len(self)} rows, {len(self.rejects)} rejects)"

    @classmethod
    def from_samples(cls, samples: Iterable[Sample], **facts: Any) -> "Manifest":
        """Make a manifest of rows in memory; `facts` are the other attributes."""
        rows = [vars(sample) for sample in samples]
        return cls(table=pa.Table.from_pylist(rows, schema=SAMPLE_SCHEMA), **facts)

    @classmethod
    def read(cls, path: str | Path) -> "Manifest":
        """Read a manifest and the rejects beside it.

        Raises:
            InputError: one of the two files is missing, is no such table, lacks metadata or has another version.
        """
        table, facts = read_table(
            path, "manifest", MANIFEST_VERSION, needed=("roots", "mask_roots", "name", "settings")
        )
        rejects, _ = read_table(rejects_path(path), "rejects", MANIFEST_VERSION)
        return cls(
            table=table,
            rejects=tuple(Reject(**row) for rows in rejects.to_batches(4096) for row in rows.to_pylist()),
            roots=roots_from_json(facts["roots"], path),
            mask_roots=roots_from_json(facts["mask_roots"], path),
            name=facts["name"],
            settings=json.loads(facts["settings"]),
        )

    def write(self, path: str | Path) -> None:
        """Write both files, whole or not at all: none takes its place before both are on the disk.

        The rejects come first: if the process dies in between, no sample has vanished from both.

        Raises:
            InputError: the disk is full.
        """
        rejects = pa.Table.from_pylist([vars(reject) for reject in self.rejects], schema=REJECT_SCHEMA)
        facts = {
            "roots": roots_to_json(self.roots, path),
            "mask_roots": roots_to_json(self.mask_roots, path),
            "name": self.name,
            "settings": json.dumps(dict(self.settings)),
        }
        with whole_file(path) as manifest_file, whole_file(rejects_path(path)) as rejects_file:
            write_parquet(manifest_file, self.table, "manifest", MANIFEST_VERSION, facts)
            write_parquet(rejects_file, rejects, "rejects", MANIFEST_VERSION, {})

    def without_places(self) -> "Manifest":
        """The manifest for handing on: which images there are, but not where; its rejects keep their reasons alone."""
        table = self.table
        for name in PLACES:
            field = SAMPLE_SCHEMA.field(name)
            blank = {"root": 0, "path": ""}.get(name)
            values = (
                pa.nulls(len(self), field.type) if blank is None else pa.repeat(pa.scalar(blank, field.type), len(self))
            )
            table = table.set_column(SAMPLE_SCHEMA.get_field_index(name), field, values)
        rejects = tuple(Reject(0, "", reject.frame, reject.reason) for reject in self.rejects)
        return dataclasses.replace(self, table=table, rejects=rejects, roots=(), mask_roots=())

    def __len__(self) -> int:
        return self.table.num_rows

    def sample(self, index: int) -> Sample:
        """The row at `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a manifest of {len(self)} rows")
        return Sample(**self._values.row(index))

    def samples(self) -> Iterator[Sample]:
        """All rows in order."""
        for batch in self.table.to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                yield Sample(**row)

    def source(self, index: int) -> Source:
        """Where the bytes of a row's image lie."""
        root, path, member = (self._values.value(name, index) for name in ("root", "path", "member"))
        return located(self.roots[root], path, member)

    def mask_source(self, index: int) -> Source | None:
        """Where the bytes of a row's mask lie, if it has one."""
        root, path, member = (self._values.value(name, index) for name in ("mask_root", "mask_path", "mask_member"))
        return None if path is None else located(self.mask_roots[root], path, member)

    def check_roots(self) -> None:
        """See that the folders and locations that rows lie in are still there.

        Raises:
            InputError: one is not (without this, an unmounted disk would look like a cohort of unreadable files), or
                the manifest was exported without places.
        """
        for column, places, roots in (("root", "path", self.roots), ("mask_root", "mask_path", self.mask_roots)):
            for index in pc.unique(self.table[column]).drop_null().to_pylist():
                if not 0 <= index < len(roots):
                    raise InputError(
                        f"the manifest {self.name} does not say where its images lie, as one made by scan --export; "
                        "give the one that was made by -o"
                    )
                root = roots[index]
                if isinstance(root, str):
                    first = pc.index(self.table[column], index).as_py()
                    check_remote(root, self.table[places][first].as_py())
                elif not root.is_dir():
                    raise InputError(f"the scanned folder {root} is not there; bring it back, or scan where it is now")

    def check_sides(self, least: int) -> None:
        """See that no image is smaller than a backbone's patch: enlarged, it would show nothing but its own blur.

        Args:
            least: the shortest side that is accepted, pixels.

        Raises:
            InputError: an image is smaller.
        """
        small = np.flatnonzero(np.minimum(self.table["rows"].to_numpy(), self.table["columns"].to_numpy()) < least)
        if len(small):
            first = self.sample(int(small[0]))
            raise InputError(
                f"{len(small)} of {len(self)} images are smaller than a patch of {least} pixels (the first is "
                f"{first.path}: {first.rows} x {first.columns}); scan again with --min-side {least} to leave them out"
            )

    def column(self, name: str) -> np.ndarray:
        """One column as an object array with None where it is null; rows of one repeated text share one object."""
        found = self.table[name].combine_chunks()
        if pa.types.is_dictionary(found.type):
            known = np.array([*found.dictionary.to_pylist(), None], dtype=object)
            return known[found.indices.fill_null(len(known) - 1).to_numpy()]
        values = np.empty(len(self), dtype=object)
        values[:] = found.to_pylist()
        return values

    def codes(self, name: str) -> tuple[np.ndarray, list[str]]:
        """One of the columns of repeated text as numbers, (rows,) int32 with -1 for null, and what they stand for."""
        found = self.table[name].combine_chunks()
        return found.indices.fill_null(-1).to_numpy(), found.dictionary.to_pylist()

    def select(self, rows: Sequence[int] | Sequence[bool] | np.ndarray) -> "Manifest":
        """The manifest of some rows, given as a boolean for each row or as indices."""
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise ValueError(f"a choice of shape {chosen.shape} for a manifest of {len(self)} rows")
            chosen = np.flatnonzero(chosen)
        return dataclasses.replace(self, table=self.table.take(pa.array(chosen.astype(np.int64))))

    def with_column(self, name: str, values: Sequence[Any] | np.ndarray) -> "Manifest":
        """The manifest with one of its columns replaced; None is null."""
        place = SAMPLE_SCHEMA.get_field_index(name)
        array = pa.array(list(values), type=SAMPLE_SCHEMA.field(name).type)
        return dataclasses.replace(self, table=self.table.set_column(place, SAMPLE_SCHEMA.field(name), array))

    @cached_property
    def _values(self) -> Values:
        return Values(self.table)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the rows without the places of files: a moved archive keeps it."""
        return table_fingerprint(self.table.drop_columns(list(PLACES)))

    @property
    def patient_unit(self) -> str:
        """What stands for a patient: "patient", "study", "file", or a mixture such as "patient+study"."""
        found = set(pc.unique(self.table["patient_unit"]).to_pylist())
        return "+".join(unit for unit in PATIENT_UNITS if unit in found)

    @property
    def labels(self) -> list[str]:
        """The distinct labels, sorted."""
        return sorted(pc.unique(self.table["label"]).drop_null().to_pylist())


def roots_to_json(roots: Sequence[Path | str], manifest: str | Path) -> str:
    """How a manifest's file keeps its folders: absolute, `.` for its own, so that the two can be moved together."""
    own = Path(manifest).absolute().parent
    return json.dumps(
        [root if isinstance(root, str) else "." if root.absolute() == own else str(root.absolute()) for root in roots]
    )


def roots_from_json(text: str, manifest: str | Path) -> tuple[Path | str, ...]:
    """The folders and locations that `roots_to_json` kept."""
    own = Path(manifest).absolute().parent
    return tuple(root if is_remote(root) else own / root for root in json.loads(text))
