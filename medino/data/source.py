"""Where the bytes of an image come from: a file here or elsewhere, or a member of an archive, opened alike."""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from medino.data.archives import member_size, open_member, read_member

START_BYTES = 2**14
"""What is read of a file to see what it is: most DICOM headers are in it as a whole, so that a file is opened once."""


@dataclass(frozen=True)
class Source:
    """A file to read.

    Attributes:
        path: the file on disk; where `remote` is given, the file below that location.
        member: its part that is meant: a file inside a zip archive (with forward slashes), an array of an NPZ file, a
            row of a shard.
        remote: a location elsewhere, as an fsspec URL (`s3://bucket/folder`); only shards are read from there.
    """

    path: Path
    member: str | None = None
    remote: str | None = None
    _stamp: tuple[int, int] | None = field(default=None, repr=False, compare=False)

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
        if self._stamp is not None:
            return self._stamp
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns

    def stamped(self) -> "Source":
        """The same source, whose stamp stays what it is now: for a file that is looked at once and then done with.

        Raises:
            OSError: the file is not there.
        """
        return replace(self, _stamp=self.stamp)

    def beside(self, name: str) -> "Source":
        """The file of another name in the same folder, of the disk or of the archive."""
        if self.member is None:
            return Source(self.path.with_name(name))
        return Source(self.path, str(PurePosixPath(self.member).with_name(name)))

    def size(self) -> int:
        """The bytes that `open` will give.

        Raises:
            OSError: the file is not there.
            UnreadableImageError: the archive can't be opened, or lacks the member.
        """
        stamp = self.stamp
        return stamp[0] if self.member is None else member_size(self.path, self.member, stamp)

    def open(self) -> BinaryIO:
        """The bytes, as a file that can seek.

        Raises:
            OSError: the file can't be opened.
            UnreadableImageError: the archive can't be opened, or its member can't be unpacked.
        """
        if self.member is None:
            return self.path.open("rb")
        return open_member(self.path, self.member, self.stamp)

    def start(self) -> bytes:
        """The first `START_BYTES` bytes; those of the file that was asked for last are kept.

        Raises:
            OSError: the file can't be opened.
            UnreadableImageError: the archive can't be opened, or its member can't be unpacked.
        """
        return _start(self, self.stamp)

    def read_bytes(self) -> bytes:
        """All of the bytes.

        Raises:
            OSError: the file can't be opened.
            UnreadableImageError: the archive can't be opened, or its member can't be unpacked.
        """
        if self.member is None:
            return self.path.read_bytes()
        return read_member(self.path, self.member, self.stamp)


@lru_cache(maxsize=1)
def _start(source: Source, stamp: tuple[int, int]) -> bytes:
    """The first bytes of a file; `stamp` keeps a rewritten one from the cache."""
    with source.open() as file:
        return file.read(START_BYTES)
