"""Which files lie in the folders to scan: in a fixed order, each once, links followed but never in circles."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from medino.core import InputError
from medino.data.archives import is_archive, list_archive
from medino.data.schema import Reject
from medino.data.source import Source


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
        return self.path if self.source.member is None else f"{self.path}/{self.source.member}"


@dataclass
class Walk:
    """What was found.

    Attributes:
        roots: the folders that the paths start from.
        files: sorted by path within their root, archives as their members.
        rejects: entries that are no files to read (broken links, sockets, folders without permission).
        repeated: how many entries lead to a file or folder that another entry leads to already.
    """

    roots: list[Path] = field(default_factory=list)
    files: list[FoundFile] = field(default_factory=list)
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
    """Remembers where the walk has been: every file and folder counts once, under the first name that leads to it."""

    def __init__(self, ignore: Iterable[str | Path]) -> None:
        self.ignored = {os.path.realpath(path) for path in ignore}
        self.seen: set[str] = set()
        self.found = Walk()

    def walk(self, paths: Iterable[str | Path]) -> Walk:
        for path in map(Path, paths):
            if not path.exists():
                raise InputError(f"{path} does not exist; check the path")
            folder = (path if path.is_dir() else path.parent).resolve()
            if folder not in self.found.roots:
                self.found.roots.append(folder)
            root = self.found.roots.index(folder)
            if self._is_new(os.path.realpath(path)):
                if path.is_dir():
                    self._folder(root, "", str(folder), str(folder))
                else:
                    self._file(root, path.name, str(folder / path.name))
        self.found.files.sort(key=lambda file: (file.root, file.path, file.source.member or ""))
        return self.found

    def _is_new(self, real: str) -> bool:
        if real in self.ignored:
            return False
        if real in self.seen:
            self.found.repeated += 1
            return False
        self.seen.add(real)
        return True

    def _folder(self, root: int, relative: str, folder: str, real_folder: str) -> None:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            self._reject(root, relative, "the folder can't be opened")
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            below = f"{relative}/{entry.name}" if relative else entry.name
            real = os.path.realpath(entry.path) if entry.is_symlink() else f"{real_folder}/{entry.name}"
            if entry.is_dir():
                if self._is_new(real):
                    self._folder(root, below, entry.path, real)
            elif not entry.is_file():
                self._reject(root, below, "a link to nothing" if entry.is_symlink() else "no regular file")
            elif self._is_new(real):
                self._file(root, below, entry.path)

    def _file(self, root: int, relative: str, full_path: str) -> None:
        try:
            relative.encode("utf-8")
        except UnicodeEncodeError:
            self._reject(root, relative, "the name of the file is no valid UTF-8: rename it")
            return
        path = Path(full_path)
        if not is_archive(relative):
            self.found.files.append(FoundFile(root, relative, Source(path)))
            return
        archive = list_archive(path)
        self.found.files += [FoundFile(root, relative, Source(path, member)) for member in archive.members]
        self.found.rejects += [Reject(root, relative, None, reason, member) for member, reason in archive.rejects]

    def _reject(self, root: int, relative: str, reason: str) -> None:
        text = relative.encode("utf-8", "backslashreplace").decode("utf-8")
        self.found.rejects.append(Reject(root, text, None, reason))
