"""Which files lie in the folders to scan: in a fixed order, each once, links followed but never in circles."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medino.core import InputError
from medino.data.archives import is_archive, list_archive
from medino.data.schema import Reject
from medino.data.source import Source

_AT_ONCE = 65536
"""Files that are gathered as Python objects before they are packed."""
_LINK = "\0"
"""Behind the name of a link; no name on a disk holds it."""


@dataclass(frozen=True)
class FoundFile:
    """A file or an archive's member to scan: `path` is relative to the folder of index `root`, with forward slashes.

    The members of an archive share its `path`; `source.member` tells them apart.
    """

    root: int
    path: str
    source: Source

    @property
    def place(self) -> str:
        """The path below the root, with an archive as the folder of its members."""
        return place_of(self.path, self.source.member)


def place_of(path: str, member: str | None) -> str:
    """A path with an archive as the folder of its members."""
    return path if member is None else f"{path}/{member}"


class FileList(Sequence[FoundFile]):
    """Files to scan, packed: a million of them take their names' bytes and little more.

    Attributes:
        roots: the folders that the paths start from.
        table: columns `root`, `path` and `member`.
    """

    SCHEMA = pa.schema([("root", pa.int32()), ("path", pa.string()), ("member", pa.string())])

    def __init__(self, roots: Sequence[Path], table: pa.Table) -> None:
        self.roots = roots
        self.table = table.combine_chunks()

    def __len__(self) -> int:
        return self.table.num_rows

    @overload
    def __getitem__(self, index: int) -> FoundFile: ...
    @overload
    def __getitem__(self, index: slice) -> "FileList": ...
    def __getitem__(self, index: int | slice) -> "FoundFile | FileList":
        """One file, or a part of the list."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError("a part of a list of files has no gaps")
            return FileList(self.roots, self.table.slice(start, max(stop - start, 0)))
        return self._file(*(self.table[name][index].as_py() for name in self.SCHEMA.names))

    def __iter__(self) -> Iterator[FoundFile]:
        return (self._file(*place) for place in self.places())

    def of(self, numbers: np.ndarray) -> "FileList":
        """The files with these numbers."""
        return FileList(self.roots, self.table.take(pa.array(numbers)))

    def places(self) -> Iterator[tuple[int, str, str | None]]:
        """Root, path and member of each file."""
        for batch in self.table.to_batches(max_chunksize=4096):
            yield from zip(*(batch.column(name).to_pylist() for name in self.SCHEMA.names), strict=True)

    def _file(self, root: int, path: str, member: str | None) -> FoundFile:
        return FoundFile(root, path, Source(self.roots[root] / path, member))


@dataclass
class Walk:
    """What was found.

    Attributes:
        roots: the folders that the paths start from.
        files: sorted by path within their root, archives as their members.
        rejects: entries that are no files to read (broken links, sockets, folders without permission).
        repeated: how many entries lead to a file or folder that another entry leads to already.
    """

    roots: list[Path]
    files: FileList
    rejects: list[Reject] = field(default_factory=list)
    repeated: int = 0


def walk(paths: Iterable[str | Path], ignore: Iterable[str | Path] = ()) -> Walk:
    """List the files of folders, and single files; names that start with a dot are left out.

    Args:
        paths: folders and files. A single file's root is its folder.
        ignore: folders and files that are left out wherever they are met.

    Raises:
        InputError: one of the paths does not exist.
    """
    return _Walker(ignore).walk(paths)


class _Walker:
    """Remembers where the walk has been: every file and folder counts once, under the first name that leads to it.

    Of files it remembers only those that a link or an argument led to: all others are known by their folder.
    """

    def __init__(self, ignore: Iterable[str | Path]) -> None:
        self.ignored = {os.path.realpath(path) for path in ignore}
        self.folders: set[str] = set()
        # Of the folders that are being walked: the name that it has come to.
        self.come_to: dict[str, str] = {}
        self.linked: set[str] = set()
        self.roots: list[Path] = []
        self.rejects: list[Reject] = []
        self.repeated = 0
        self.packed: list[pa.RecordBatch] = []
        self.loose: list[tuple[int, str, str | None]] = []

    def walk(self, paths: Iterable[str | Path]) -> Walk:
        in_order = True
        for path in map(Path, paths):
            if not path.exists():
                raise InputError(f"{path} does not exist; check the path")
            folder = (path if path.is_dir() else path.parent).resolve()
            if folder in self.roots:
                in_order = False
            else:
                self.roots.append(folder)
            root, real = self.roots.index(folder), os.path.realpath(path)
            if real in self.ignored:
                continue
            if path.is_dir():
                if self._is_new_folder(real):
                    self._folders(root, str(folder))
            elif self._is_new_link(real):
                self._file(root, path.name)
        self._pack()
        table = pa.Table.from_batches(self.packed, FileList.SCHEMA)
        if not in_order:
            table = table.sort_by([(name, "ascending") for name in FileList.SCHEMA.names])
        return Walk(self.roots, FileList(self.roots, table), self.rejects, self.repeated)

    def _is_new_folder(self, real: str) -> bool:
        if real in self.folders:
            self.repeated += 1
            return False
        self.folders.add(real)
        return True

    def _is_new_link(self, real: str) -> bool:
        """Whether a file that something else than its own name leads to was not met before."""
        folder, name = os.path.split(real)
        come_to = self.come_to.get(folder)
        walked = folder in self.folders and not name.startswith(".") and (come_to is None or name < come_to)
        if walked or real in self.linked:
            self.repeated += 1
            return False
        self.linked.add(real)
        return True

    def _folders(self, root: int, top: str) -> None:
        """A folder and all below it, without recursion: a hostile tree is deeper than Python's stack."""
        waiting = [(top, "", self._entries(root, top, ""))]
        while waiting:
            real, relative, entries = waiting[-1]
            name = next(entries, None)
            if name is None:
                self.come_to.pop(real, None)
                waiting.pop()
                continue
            is_link, name = name.endswith(_LINK), name.removesuffix(_LINK)
            self.come_to[real] = name
            below, place = f"{relative}{name}", f"{real}/{name}".rstrip("/")
            if is_link:
                place = os.path.realpath(f"{top}/{below}")
            if place in self.ignored:
                continue
            if name.endswith("/"):
                if self._is_new_folder(place):
                    waiting.append((place, below, self._entries(root, f"{top}/{below}", below)))
            elif is_link:
                if self._is_new_link(place):
                    self._file(root, below)
            elif place in self.linked:
                self.repeated += 1
            else:
                self._file(root, below)

    def _entries(self, root: int, folder: str, relative: str) -> Iterator[str]:
        """The names in a folder, sorted: those of folders end with a slash, those of links with a mark besides.

        So sorted, the files come in the order of their whole paths. Many names are packed: Python's own take four times
        as much memory.
        """
        packed: list[pa.Array] = []
        found: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith("."):
                        continue
                    kind, is_link = _kind(entry), entry.is_symlink()
                    if kind is None:
                        self._reject(root, f"{relative}{name}", "a link to nothing" if is_link else "no regular file")
                        continue
                    found.append(f"{name}{kind}{_LINK if is_link else ''}")
                    if len(found) >= _AT_ONCE:
                        packed.append(_bytes(found))
                        found.clear()
        except OSError:
            self._reject(root, relative.rstrip("/"), "the folder can't be opened")
        if not packed:
            return iter(sorted(found))
        return _sorted(pa.chunked_array([*packed, _bytes(found)]))

    def _file(self, root: int, relative: str) -> None:
        try:
            relative.encode("utf-8")
        except UnicodeEncodeError:
            self._reject(root, relative, "the name of the file is no valid UTF-8: rename it")
            return
        if is_archive(relative):
            archive = list_archive(self.roots[root] / relative)
            self.loose += [(root, relative, member) for member in archive.members]
            self.rejects += [Reject(root, relative, None, reason, member) for member, reason in archive.rejects]
        else:
            self.loose.append((root, relative, None))
        if len(self.loose) >= _AT_ONCE:
            self._pack()

    def _pack(self) -> None:
        if self.loose:
            columns = zip(FileList.SCHEMA.types, zip(*self.loose, strict=True), strict=True)
            arrays = [pa.array(values, type=kind) for kind, values in columns]
            self.packed.append(pa.RecordBatch.from_arrays(arrays, schema=FileList.SCHEMA))
            self.loose.clear()

    def _reject(self, root: int, relative: str, reason: str) -> None:
        text = relative.encode("utf-8", "backslashreplace").decode("utf-8")
        self.rejects.append(Reject(root, text, None, reason))


def _bytes(names: list[str]) -> pa.Array:
    return pa.array([os.fsencode(name) for name in names], type=pa.binary())


def _sorted(names: pa.ChunkedArray) -> Iterator[str]:
    order = pc.sort_indices(names)
    for start in range(0, len(order), 4096):
        yield from map(os.fsdecode, names.take(order.slice(start, 4096)).to_pylist())


def _kind(entry: os.DirEntry[str]) -> str | None:
    """What is put behind the entry's name: a slash for a folder, nothing for a file; None for what is neither."""
    try:
        if entry.is_dir():
            return "/"
        return "" if entry.is_file() else None
    except OSError:  # a link to itself
        return None
