"""Zip archives as folders: which members are to be read, which can't be and why, and the bytes of one.

Nothing is unpacked to disk. What a member claims to hold is believed only up to limits, so that a small file can't ask
for all of the memory.
"""

import io
import os
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from medino.core import UnreadableImageError
from medino.data.cache import ByteCache

SUFFIXES = (".zip", ".npz")
"""How files are named that the walk looks into; by names alone, so that it opens no other file."""

MAX_MEMBER_BYTES = 2**31
"""Most bytes of a member that is unpacked: a volume of 2**29 voxels of 32 bits. What is not compressed can be larger:
it is read in parts."""
MAX_RATIO = 1000
"""Most times that a member larger than `_HARMLESS_BYTES` may shrink: deflate's own limit is 1032 (zlib's technical
notes), and a volume of labels, nearly all zeros, stays below 700."""
_HARMLESS_BYTES = 2**24
KEPT_BYTES = 2**28
"""Unpacked members that a process keeps, bytes: the frames of one are often read one after the other."""

TOO_LARGE = "the member is larger than can be unpacked in memory: unpack it (an NPZ file: save it by numpy.savez)"
NESTED = "an archive inside an archive: unpack it"
_NESTED_SUFFIXES = (".zip", ".npz", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".7z", ".rar")
# Of the others, Python unpacks all that a block holds, whatever length it claims.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Archive:
    """What an archive holds.

    Attributes:
        members: to be read: names of files in a zip, names of arrays in an NPZ file; sorted.
        rejects: members (None: the archive itself) that can't be read, and why; sorted.
    """

    members: tuple[str, ...]
    rejects: tuple[tuple[str | None, str], ...] = ()


def is_archive(name: str) -> bool:
    """Whether a file of this name is looked into."""
    return name.lower().endswith(SUFFIXES)


def list_archive(path: Path) -> Archive:
    """The members of a zip file or the arrays of an NPZ file, from the archive's directory alone.

    The labels beside an NPZ file's images (`train_labels` of `train_images`) are left out: they are read with these.

    Folders, names that start with a dot and what macOS adds (`__MACOSX`) are left out, as on disk. The names of old
    archives, in no known encoding, are taken for code page 437, as the format's specification says (APPNOTE, D.1).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir() and not _is_hidden(info.filename)]
            packed = sum(info.compress_size for info in archive.infolist())
    except Exception as error:  # a hostile directory raises whatever it likes
        return Archive((), ((None, _why_closed(error)),))
    if packed > path.stat().st_size:
        return Archive((), ((None, "the members of the archive overlap: it is made to unpack without end"),))
    if not infos:
        return Archive((), ((None, "the archive is empty"),))
    if all(info.filename.endswith(".npy") for info in infos):
        infos = _without_labels(infos)
        names, twice = [info.filename.removesuffix(".npy") for info in infos], Counter[str]()
    else:
        names, twice = [info.filename for info in infos], Counter(info.filename for info in infos)
    members, rejects = set(), []
    for info, name in zip(infos, names, strict=True):
        reason = _why_not(info) or ("several members of the archive have this name" if twice[name] > 1 else None)
        if reason is None:
            members.add(name)
        else:
            rejects.append((name.encode("utf-8", "backslashreplace").decode("utf-8"), reason))
    return Archive(tuple(sorted(members)), tuple(sorted(set(rejects))))


def member_size(path: Path, member: str, stamp: tuple[int, int]) -> int:
    """The bytes of a member, unpacked.

    Raises:
        UnreadableImageError: the archive can't be opened, or has no such member.
    """
    return _member(path, member, stamp)[1].file_size


def read_member(path: Path, member: str, stamp: tuple[int, int]) -> bytes:
    """The bytes of a member; those asked for last are kept.

    Args:
        path: the archive.
        member: a file's name in it, or the name of an array of an NPZ file.
        stamp: the archive's size and time, which keep a rewritten one from the cache.

    Raises:
        UnreadableImageError: it can't be unpacked; the text is the reason.
    """
    return _KEPT.get((path, member, stamp), lambda: _unpack(path, member, stamp), len)


def open_member(path: Path, member: str, stamp: tuple[int, int]) -> BinaryIO:
    """A member as a file that can seek. One that is not compressed is read from the archive as it is asked for.

    Args:
        path: the archive.
        member: a file's name in it, or the name of an array of an NPZ file.
        stamp: the archive's size and time, which keep a rewritten one from the cache.

    Raises:
        UnreadableImageError: it can't be unpacked; the text is the reason.
    """
    _, info = _member(path, member, stamp)
    if info.compress_type != zipfile.ZIP_STORED or _why_not(info):
        return io.BytesIO(read_member(path, member, stamp))
    return cast(BinaryIO, io.BufferedReader(_Window(path, _begins(path, info), info.file_size)))


class _Window(io.RawIOBase):
    """A part of a file, to be read as if it were all of it."""

    name = ""
    """No file has the bytes under a name, and pydicom asks for one."""

    def __init__(self, path: Path, start: int, length: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._start, self._length, self._place = start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = max(offset + (0, self._place, self._length)[whence], 0)
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(self._length - self._place, 0)]
        self._file.seek(self._start + self._place)
        count = self._file.readinto(view) or 0
        self._place += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _begins(path: Path, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin in the archive's file."""
    # The local header, with name and extra field of lengths of its own (APPNOTE, 4.3.7).
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
    if len(header) < 30 or not header.startswith(b"PK\3\4"):
        raise UnreadableImageError("the archive is damaged")
    return info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")


_KEPT: ByteCache[bytes] = ByteCache(KEPT_BYTES)


def _without_labels(infos: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    labels = {
        f"{i.filename.removesuffix('_images.npy')}_labels.npy" for i in infos if i.filename.endswith("_images.npy")
    }
    return [info for info in infos if info.filename not in labels]


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(part == "__MACOSX" or (part.startswith(".") and part not in (".", "..")) for part in parts)


def _why_not(info: zipfile.ZipInfo) -> str | None:
    """Why a member is not to be read, by the archive's directory."""
    if info.flag_bits & 0x1:
        return "the member of the archive is encrypted: unpack it"
    if info.compress_type not in _METHODS:
        return "the member is packed by a method that is not known here: unpack it"
    if info.filename.lower().endswith(_NESTED_SUFFIXES):
        return NESTED
    if info.compress_type != zipfile.ZIP_STORED and info.file_size > MAX_MEMBER_BYTES:
        return TOO_LARGE
    if info.file_size > max(_HARMLESS_BYTES, MAX_RATIO * info.compress_size):
        return "the member claims to shrink more than any image does: it is made to fill the memory"
    return None


def _why_closed(error: Exception) -> str:
    """Why an archive can't be opened or a member not be unpacked; nothing of the error's own words."""
    if isinstance(error, FileNotFoundError):
        return "the file is not there"
    if isinstance(error, PermissionError):
        return "there is no permission to read the file"
    if isinstance(error, UnicodeError):
        return "the archive holds names that are not UTF-8 but claim to be: unpack it"
    if isinstance(error, MemoryError):
        return "the member would need more memory than there is"
    if isinstance(error, zipfile.BadZipFile | zlib.error | EOFError):
        return "the archive is truncated or damaged"
    return f"the archive can't be read ({type(error).__name__})"


def _unpack(path: Path, member: str, stamp: tuple[int, int]) -> bytes:
    archive, info = _member(path, member, stamp)
    reason = _why_not(info) or (TOO_LARGE if info.file_size > MAX_MEMBER_BYTES else None)
    if reason is not None:
        raise UnreadableImageError(reason)
    try:
        with archive.open(info) as opened:
            # With a length no more than that is unpacked; a checksum that fails is told.
            unpacked = opened.read(info.file_size)
    except Exception as error:
        raise UnreadableImageError(_why_closed(error)) from error
    if len(unpacked) < info.file_size:
        raise UnreadableImageError("the archive is truncated or damaged")
    return unpacked


def _member(path: Path, member: str, stamp: tuple[int, int]) -> tuple[zipfile.ZipFile, zipfile.ZipInfo]:
    try:
        archive = _opened(path, stamp, os.getpid())
    except Exception as error:
        raise UnreadableImageError(_why_closed(error)) from error
    for name in (member, f"{member}.npy"):
        if name in archive.NameToInfo:
            return archive, archive.getinfo(name)
    raise UnreadableImageError("the archive has no such member any more: scan again")


# The directory of an archive of a hundred thousand members is not to be read again for each of them. A process that is
# forked must not share the place in its parent's file.
@lru_cache(maxsize=4)
def _opened(path: Path, stamp: tuple[int, int], process: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
