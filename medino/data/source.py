"""Where the bytes of an image come from: a file, or a member of an archive, opened alike."""

import io
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO


@dataclass(frozen=True)
class Source:
    """A file to read.

    Attributes:
        path: the file on disk.
        member: its part that is meant: a file inside a zip archive (with forward slashes), an array of an NPZ file.
    """

    path: Path
    member: str | None = None

    @classmethod
    def of(cls, file: "str | Path | Source") -> "Source":
        """The source of a plain file; a source stays what it is."""
        return file if isinstance(file, Source) else cls(Path(file))

    @property
    def name(self) -> str:
        """The last part of its name; what a format may be told by where the bytes don't tell."""
        return self.path.name if self.member is None else PurePosixPath(self.member).name

    @property
    def stamp(self) -> tuple[int, int]:
        """Size of the file on disk in bytes and the time of its last change in ns: what is read anew if they differ.

        Raises:
            OSError: the file is not there.
        """
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns

    def size(self) -> int:
        """The bytes that `open` will give.

        Raises:
            OSError: the file is not there.
        """
        return self.stamp[0] if self.member is None else len(_unpacked(self.path, self.member, self.stamp))

    def open(self) -> BinaryIO:
        """The bytes, as a file that can seek.

        Raises:
            OSError, zipfile.BadZipFile, KeyError: they can't be had.
        """
        if self.member is None:
            return self.path.open("rb")
        return io.BytesIO(_unpacked(self.path, self.member, self.stamp))

    def read_bytes(self) -> bytes:
        """All of the bytes."""
        with self.open() as file:
            return file.read()


# The frames of one member are often read one after the other.
@lru_cache(maxsize=2)
def _unpacked(path: Path, member: str, stamp: tuple[int, int]) -> bytes:
    """A member of a zip archive; `stamp` keeps a rewritten archive from the cache."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(member)
