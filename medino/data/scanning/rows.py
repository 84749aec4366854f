"""From the journal to what the manifest holds: which rows count, in which order, and which files can't be used."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medino.data.manifest import SAMPLE_SCHEMA, WIDE
from medino.data.scanning.headers import HASHED
from medino.data.scanning.journal import Segment
from medino.data.schema import Reject
from medino.data.walk import FileList, place_of

Place = tuple[int, str, str | None]
"""Root, path and member of a file."""


class Rows:
    """The readable frames of a scan, in the files' order, read from the journal column by column.

    Attributes:
        images: how many files have at least one row.
        image: for each row the number of its file among these.
        rejects: files and frames that can't be used.
    """

    def __init__(self, files: FileList, parts: Sequence[Segment], min_side: int) -> None:
        self._parts = parts
        number = np.concatenate([np.empty(0, dtype=np.int32), *(part.files for part in parts)])
        reason = self._read("reason")
        rows, columns = (self._read(name).fill_null(0).to_numpy() for name in ("rows", "columns"))
        readable = pc.is_null(reason).to_numpy(zero_copy_only=False) & (number >= 0)
        large = readable & (np.minimum(rows, columns) >= min_side)
        in_order = bool((np.diff(number) >= 0).all())
        order = (
            np.arange(len(number), dtype=np.int32) if in_order else np.argsort(number, kind="stable").astype(np.int32)
        )
        chosen = order[large[order]]
        self._length = len(chosen)
        # None where all rows count and lie in order: a million numbers less to keep.
        self._chosen = None if in_order and len(chosen) == len(number) else pa.array(chosen)
        starts = np.diff(number[chosen], prepend=-1) != 0
        self._first = pa.array(np.flatnonzero(starts).astype(np.int32))
        self.image = np.cumsum(starts, dtype=np.int32) - np.int32(1)
        images = number[chosen][starts]
        self.images = len(images)
        self._files = files.table if self.images == len(files) else files.table.take(pa.array(images))
        self.rejects = _unreadable(files, number, reason, (number >= 0) & ~readable)
        self.rejects += _too_small(files, number, self._read("frame"), large, readable & ~large, min_side)

    def __len__(self) -> int:
        return self._length

    def column(self, name: str) -> pa.Array:
        """One column of the journal, an entry a row; what repeats is encoded by a dictionary."""
        found = self._read(name)
        if self._chosen is not None:
            found = found.take(self._chosen)
        # Encoded in the files' order, so that equal rows make equal tables, whatever was read when.
        return found.dictionary_encode() if pa.types.is_string(found.type) and name not in WIDE else found

    def of_images(self, name: str) -> pa.Array:
        """One column of the journal, an entry an image file."""
        found = self.column(name)
        return found if self.images == len(self) else found.take(self._first)

    def of_rows(self, column: pa.Array) -> pa.Array:
        """Spread a column with an entry an image file over the rows."""
        return column if self.images == len(self) else column.take(pa.array(self.image))

    def files(self, name: str) -> pa.Array:
        """Root, path or member of the image files."""
        # The list's own chunk, as `combine_chunks` would copy it.
        column = self._files[name]
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

    def places(self, numbers: np.ndarray | None = None) -> Iterator[Place]:
        """Root, path and member of the image files, or of those with these numbers among them."""
        table = self._files if numbers is None else self._files.take(pa.array(numbers, type=pa.int64()))
        for batch in table.to_batches(max_chunksize=4096):
            yield from zip(*(batch.column(name).to_pylist() for name in FileList.SCHEMA.names), strict=True)

    def _read(self, name: str) -> pa.Array:
        chunks = [part.read(name).column(0) for part in self._parts]
        kind = pa.string() if name in (*HASHED, "reason") else SAMPLE_SCHEMA.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        return pa.chunked_array(chunks, type=kind).combine_chunks()


def file_place(root: int, path: str, member: str | None) -> str:
    """What a file's hash is of: its place in the scan."""
    return f"{root}/{place_of(path, member)}"


def _unreadable(files: FileList, number: np.ndarray, reason: pa.Array, chosen: np.ndarray) -> list[Reject]:
    """The rejects of files with a reason."""
    rows = np.flatnonzero(chosen)
    reasons = reason.take(pa.array(rows)).to_pylist()
    return [_reject(files, int(file), None, why) for file, why in zip(number[rows], reasons, strict=True)]


def _too_small(
    files: FileList, number: np.ndarray, frame: pa.Array, large: np.ndarray, small: np.ndarray, min_side: int
) -> list[Reject]:
    """The rejects of frames that are too small, or of a file where all are."""
    reason = f"smaller than the {min_side} pixels asked for (--min-side)"
    rows = np.flatnonzero(small)
    kept = set(np.intersect1d(number[rows], number[large]).tolist())
    rejects = [
        _reject(files, file, index, reason)
        for file, index in zip(number[rows].tolist(), frame.take(pa.array(rows)).to_pylist(), strict=True)
        if file in kept
    ]
    return rejects + [
        _reject(files, file, None, reason) for file in np.unique(number[rows]).tolist() if file not in kept
    ]


def _reject(files: FileList, number: int, frame: int | None, reason: str) -> Reject:
    root, path, member = (files.table[name][number].as_py() for name in FileList.SCHEMA.names)
    return Reject(root, path, frame, reason, member)
