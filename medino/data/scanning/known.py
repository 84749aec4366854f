"""Which files of a scan are known from its journal: same place, same size, same time of change."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from medino.data.walk import FileList

_STAT_THREADS = 8
"""Threads that ask for stamps: on a network drive each waits for its answer."""
_STAT_FILES = 1024
"""Files that a thread is given together."""


class KnownFiles:
    """The files in a journal as numbers: a million take some forty megabytes."""

    def __init__(self, expected: int) -> None:
        self._batches: list[tuple[np.ndarray, ...]] = []
        self._rows: list[int] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the files of one part of the journal, later ones over earlier ones."""
        first = np.flatnonzero(batch.column("ordinal").to_numpy() == 0)
        places = batch.select(["root", "path", "member"]).take(pa.array(first))
        keys = np.fromiter(
            (place_key(*place) for place in zip(*(column.to_pylist() for column in places.columns), strict=True)),
            dtype=np.uint64,
            count=len(first),
        )
        size, changed = (_stamps(batch.column(name))[first] for name in ("file_bytes", "changed_ns"))
        self._batches.append((keys, size, changed, first + sum(self._rows)))
        self._rows.append(batch.num_rows)

    def find(self, files: FileList) -> np.ndarray:
        """Where the rows of each file begin in the whole journal; -1 for files that are new or changed."""
        found = np.full(len(files), -1, dtype=np.int64)
        if not self._batches:
            return found
        keys, sizes, times, first = (np.concatenate(column) for column in zip(*self._batches, strict=True))
        if not len(keys):
            return found
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        wanted = np.fromiter(
            (place_key(str(files.roots[root]), path, member) for root, path, member in files.places()),
            dtype=np.uint64,
            count=len(files),
        )
        # Of equal keys the last counts: what was read later.
        at = np.searchsorted(keys, wanted, side="right") - 1
        candidates = np.flatnonzero((at >= 0) & (keys[np.maximum(at, 0)] == wanted))
        entries = order[at[candidates]]
        size, changed = _stamps_now(files, candidates)
        same = (size == sizes[entries]) & (changed == times[entries]) & (size >= 0)
        found[candidates[same]] = first[entries[same]]
        return found

    def files_of_rows(self, found: np.ndarray) -> Iterator[np.ndarray]:
        """For each part of the journal and each of its rows the file's number in the scan, -1 for rows not needed."""
        number = np.full(sum(self._rows), -1, dtype=np.int32)
        begins = np.zeros(len(number) + 1, dtype=bool)
        for _, _, _, first in self._batches:
            begins[first] = True
        known = np.flatnonzero(found >= 0)
        number[found[known]] = known
        # What stands in a file's first row holds for all of its rows.
        if len(number):
            number = number[np.maximum.accumulate(np.where(begins[:-1], np.arange(len(number)), 0))]
        ends = np.cumsum(self._rows)
        for rows, end in zip(self._rows, ends, strict=True):
            yield number[end - rows : end]


def place_key(root: str, path: str, member: str | None) -> int:
    """A file's place as a number of 64 bits: of a million files two collide once in ten million archives."""
    text = f"{root}\0{path}\0{member or ''}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _stamps(column: pa.Array) -> np.ndarray:
    return column.fill_null(-1).to_numpy()


def _stamps_now(files: FileList, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Size and time of change of some files as they are now; -1 where they can't be asked for."""
    paths = _paths(files, iter(numbers.tolist()))
    chunks = iter(lambda: list(islice(paths, _STAT_FILES)), [])
    sizes, times = [], []
    with ThreadPoolExecutor(_STAT_THREADS) as threads:
        while block := list(islice(chunks, 4 * _STAT_THREADS)):
            for found in threads.map(_stat, block):
                sizes += [size for size, _ in found]
                times += [changed for _, changed in found]
    return np.array(sizes, dtype=np.int64), np.array(times, dtype=np.int64)


def _paths(files: FileList, numbers: Iterator[int]) -> Iterator[str]:
    following = next(numbers, None)
    for number, (root, path, _) in enumerate(files.places()):
        if number == following:
            yield f"{files.roots[root]}/{path}"
            following = next(numbers, None)


def _stat(paths: Sequence[str]) -> list[tuple[int, int]]:
    found = []
    for path in paths:
        try:
            status = Path(path).stat()
            found.append((status.st_size, status.st_mtime_ns))
        except OSError:
            found.append((-1, -1))
    return found
