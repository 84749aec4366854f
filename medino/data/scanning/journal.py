"""The journal of a scan: what was read of each file, so that the next scan reads only what is new or changed.

A folder of Arrow files beside the manifest, each written whole: a scan that is killed leaves all but the last seconds
of its work. Its rows hold paths, as the manifest does, and of identifiers keyed hashes alone. What lies in it counts
for one key, one way of reading and one version of medino, which each file names; what does not fit is read anew.
"""

import fcntl
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from medino.core import InputError, whole_file
from medino.data.scanning.headers import KEPT_SCHEMA, Kept
from medino.data.scanning.known import KnownFiles
from medino.data.walk import FileList

SEGMENT_ROWS = 16384
"""Rows of one file of the journal: large enough that a million rows are some sixty files."""

SEGMENT_SECONDS = 10.0
"""After so much time what was read is written even if it is less: the most that a killed scan loses."""

JOURNAL_SCHEMA = pa.schema(
    [
        pa.field("root", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("member", pa.string()),
        pa.field("ordinal", pa.int32(), nullable=False),
        *KEPT_SCHEMA,
    ]
)
"""The scanned folder, the file, the row's place among the rows of its file, and what was kept of it."""

_LOCK = "lock"

_STAMPED = ("root", "path", "member", "ordinal", "file_bytes", "changed_ns")


@dataclass
class Segment:
    """A part of the journal.

    Attributes:
        place: its file; its bytes where the journal is kept in memory.
        files: for each row, the number of its file in this scan's list; -1 where that file is gone or was read anew.
    """

    place: Path | pa.Buffer
    files: np.ndarray

    def read(self, *columns: str) -> pa.RecordBatch:
        """Some of its columns."""
        return _read(self.place, columns)


class Journal:
    """What is known of the files of one scan.

    Args:
        folder: where it is kept; None keeps it in memory. The folder is made when there is the first to be written.
        facts: what all of it depends on (key, settings, versions), as text.
        before_writing: called once before anything is written for the first time.

    Raises:
        InputError: another scan is at work on the same journal.
    """

    def __init__(
        self, folder: Path | None, facts: Mapping[str, str], before_writing: Callable[[], None] = lambda: None
    ) -> None:
        self.folder = folder
        self.segments: list[Segment] = []
        self._schema = JOURNAL_SCHEMA.with_metadata(dict(facts))
        self._before_writing: Callable[[], None] | None = before_writing
        self._old: list[Path] = []
        self._next = 0
        self._rows: list[tuple] = []
        self._files: list[int] = []
        self._pieces: list[pa.RecordBatch] = []
        self._piece_files: list[np.ndarray] = []
        self._written_at = time.monotonic()
        self._locked: int | None = None
        if folder is not None and folder.is_dir():
            self._lock(folder)
            self._old = sorted(folder.glob("*.arrow"))
            self._next = max((int(path.stem) for path in self._old if path.stem.isdigit()), default=-1) + 1
            for part in folder.glob(".*.part"):  # of a scan that was killed as it wrote
                part.unlink(missing_ok=True)

    def recall(self, files: FileList) -> np.ndarray:
        """Take over what is known of files that are as they were.

        Returns:
            The numbers of the files that are to be read.
        """
        if not self._old:
            return np.arange(len(files))
        known = KnownFiles(len(files))
        for path in self._old:
            batch = _read(
                path, ("root", "path", "member", "ordinal", "file_bytes", "changed_ns"), self._schema.metadata
            )
            known.add(batch)
        found = known.find(files)
        for path, of_rows in zip(self._old, known.files_of_rows(found), strict=True):
            if len(of_rows) >= SEGMENT_ROWS // 2 and (of_rows >= 0).all():
                self.segments.append(Segment(path, of_rows))
            elif (of_rows >= 0).any():
                self._keep(_read(path, JOURNAL_SCHEMA.names).filter(pa.array(of_rows >= 0)), of_rows[of_rows >= 0])
        return np.flatnonzero(found < 0)

    def add(self, number: int, root: str, path: str, member: str | None, kept: Kept) -> None:
        """Note what was kept of the file that has this number in the scan's list."""
        self._rows += [(root, path, member, ordinal, *row) for ordinal, row in enumerate(kept)]
        self._files += [number] * len(kept)
        full = len(self._rows) >= SEGMENT_ROWS
        if full or (self.folder is not None and time.monotonic() - self._written_at > SEGMENT_SECONDS):
            self.write()

    def write(self) -> None:
        """Write what is not yet written.

        Raises:
            InputError: the disk is full.
        """
        self._pack()
        if self._pieces:
            batch = pa.concat_batches(self._pieces).replace_schema_metadata(self._schema.metadata)
            self.segments.append(Segment(self._place(batch), np.concatenate(self._piece_files)))
            self._pieces, self._piece_files = [], []
        self._written_at = time.monotonic()

    def finish(self) -> None:
        """Write the rest, and remove the files of earlier scans that this one has taken over or does not need."""
        self.write()
        needed = {segment.place for segment in self.segments if isinstance(segment.place, Path)}
        for path in self._old:
            if path not in needed:
                path.unlink(missing_ok=True)
        self._old = []

    def close(self) -> None:
        """Let other scans use the folder."""
        if self._locked is not None:
            os.close(self._locked)
            self._locked = None

    def parts(self) -> list[Segment]:
        """All of the journal, with what is not written yet packed in memory."""
        self._pack()
        loose = zip(self._pieces, self._piece_files, strict=True)
        return [*self.segments, *(Segment(_packed(batch), files) for batch, files in loose)]

    def _keep(self, batch: pa.RecordBatch, files: np.ndarray) -> None:
        self._pieces.append(batch)
        self._piece_files.append(files)
        if sum(map(len, self._piece_files)) >= SEGMENT_ROWS:
            self.write()

    def _pack(self) -> None:
        if self._rows:
            columns = zip(JOURNAL_SCHEMA, zip(*self._rows, strict=True), strict=True)
            arrays = [pa.array(values, type=field.type) for field, values in columns]
            self._pieces.append(pa.RecordBatch.from_arrays(arrays, schema=JOURNAL_SCHEMA))
            self._piece_files.append(np.array(self._files, dtype=np.int32))
            self._rows, self._files = [], []

    def _place(self, batch: pa.RecordBatch) -> Path | pa.Buffer:
        if self.folder is None:
            return _packed(batch)
        if self._before_writing is not None:
            self._before_writing()
            self._before_writing = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock(self.folder)
        path = self.folder / f"{self._next:08d}.arrow"
        self._next += 1
        with whole_file(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
            _write(sink, batch)
        return path

    def _lock(self, folder: Path) -> None:
        if self._locked is not None:
            return
        self._locked = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise InputError(f"another scan is writing to {folder}; wait for it, or give another output") from error
        except OSError:  # a file system without locks
            pass


def _packed(batch: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    _write(sink, batch)
    return sink.getvalue()


def _write(sink: pa.NativeFile, batch: pa.RecordBatch) -> None:
    with pa.ipc.new_file(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)


def _read(
    place: Path | pa.Buffer, columns: tuple[str, ...] | list[str], facts: Mapping[bytes, bytes] | None = None
) -> pa.RecordBatch:
    """Columns of one part; no row where it can't be read or does not depend on the same `facts`."""
    fields = sorted(JOURNAL_SCHEMA.get_field_index(name) for name in columns)
    schema = pa.schema([JOURNAL_SCHEMA.field(index) for index in fields])
    options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
    try:
        with pa.OSFile(str(place)) if isinstance(place, Path) else pa.BufferReader(place) as file:
            reader = pa.ipc.open_file(file, options=options)
            fits = facts is None or reader.schema.metadata == facts
            if fits and reader.schema.remove_metadata() == schema:
                return reader.get_batch(0).select(list(columns))
    except (pa.ArrowException, OSError):
        if facts is None:
            raise
    return pa.RecordBatch.from_pylist([], schema=schema)
