"""Places for shards: a folder on this machine, or any location that fsspec knows, by its URL (`s3://bucket/folder`)."""

import hashlib
import os
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa

from medino.core import InputError, MedinoError, whole_file
from medino.data.source import Source

CACHE_VARIABLE = "MEDINO_CACHE"
"""Environment variable with the folder that shards from elsewhere are kept in, whole, once they were asked for. Without
it single rows are read over the network."""


def is_remote(location: str) -> bool:
    """Whether a location is a URL and no path of this machine."""
    return "://" in location and not location.startswith("file://")


def as_root(location: str) -> Path | str:
    """What a manifest's `roots` say of a location: an absolute folder, or the URL without a slash at its end."""
    if is_remote(location):
        return location.rstrip("/")
    return Path(location.removeprefix("file://")).absolute()


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system that a URL belongs to, and the path in it.

    Raises:
        InputError: fsspec does not know the protocol, or lacks the package for it.
    """
    try:
        return fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise InputError(
            f"the location {url.split('://')[0]}://... can't be used ({error}); install what fsspec asks for, or give "
            "another location"
        ) from error


def check_remote(root: str, path: str) -> None:
    """See that a location can be reached and has a file.

    Args:
        root: the location's URL.
        path: a file below it.

    Raises:
        InputError: it has not.
    """
    system, below = file_system(f"{root}/{path}")
    try:
        system.size(below)
    except FileNotFoundError as error:
        raise InputError(f"the location {root} has no {path}; bring it back, or pack again") from error
    except Exception as error:
        # Each file system raises its own: a bucket's, a proxy's, a resolver's.
        raise InputError(f"the location {root} can't be reached ({type(error).__name__}); bring it back") from error


def file_names(root: Path | str) -> list[str]:
    """Names of the files that lie directly in a location; none where it does not exist yet."""
    if isinstance(root, Path):
        return sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
    system, below = file_system(root)
    system.invalidate_cache()
    try:
        return sorted(str(name).rstrip("/").rsplit("/", 1)[-1] for name in system.ls(below, detail=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def located(root: Path | str, path: str, member: str | None = None) -> Source:
    """The source of a file below a folder or a location."""
    return Source(Path(path), member, root) if isinstance(root, str) else Source(root / path, member)


def file_size(root: Path | str, name: str) -> int:
    """Bytes of a file in a location."""
    if isinstance(root, Path):
        return (root / name).stat().st_size
    system, below = file_system(f"{root}/{name}")
    return int(system.size(below))


def write_bytes(root: Path | str, name: str, data: pa.Buffer) -> None:
    """Write a file of a location, whole or not at all where the location is a folder.

    Elsewhere an upload that was cut off may leave a part, as the location's own rules are.

    Raises:
        MedinoError: the place is full or can't be written; what was written before is kept.
    """
    try:
        if isinstance(root, Path):
            with whole_file(root / name) as temporary:
                temporary.write_bytes(memoryview(data))
        else:
            system, below = file_system(f"{root}/{name}")
            system.makedirs(below.rsplit("/", 1)[0], exist_ok=True)
            system.pipe_file(below, data.to_pybytes())
    except MedinoError:
        raise
    except Exception as error:
        # Each file system elsewhere raises its own.
        reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
        raise MedinoError(
            f"the location {root} can't be written ({reason}); mend that and start the same command again: what is "
            "finished there is kept"
        ) from error


def remove_parts(root: Path | str) -> None:
    """Remove what a process that was killed has left of files that it was writing in a folder."""
    if isinstance(root, Path):
        for part in root.glob(".*.arrow.*.part"):
            part.unlink(missing_ok=True)


def local_copy(url: str) -> Path | None:
    """The file of a URL in the folder that `MEDINO_CACHE` names, fetched if it is not there; None without that folder.

    Written whole or not at all, so that many processes can share the folder. A file elsewhere that has got another
    size is fetched again.

    Raises:
        OSError: it can't be fetched or kept.
    """
    folder = os.environ.get(CACHE_VARIABLE)
    if not folder:
        return None
    system, below = file_system(url)
    size = system.size(below)
    digest = hashlib.blake2b(f"{url} {size}".encode(), digest_size=16).hexdigest()
    kept = Path(folder) / f"{digest}.arrow"
    if not kept.is_file():
        with whole_file(kept) as temporary:
            system.get_file(below, str(temporary))
    return kept
