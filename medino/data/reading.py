"""Many files through the readers, in several processes if wanted; what fails becomes a reason, never a crash."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from medino.core import UnreadableImageError, track
from medino.data.readers import describe, read_pixels, sniff
from medino.data.schema import Sample

NOT_AN_IMAGE = "not a DICOM, NIfTI, PNG, JPEG or TIFF file"

T = TypeVar("T")
R = TypeVar("R")


def read_all(function: Callable[[T], R], tasks: Sequence[T], workers: int, description: str) -> Iterator[R]:
    """Apply a function of this module to all tasks, in their order, and show progress.

    Args:
        function: what to do with one task.
        tasks: what to do it with.
        workers: processes; 1 works in this one.
        description: what the progress bar says.
    """
    if workers <= 1:
        yield from track(map(function, tasks), description, total=len(tasks))
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from track(pool.map(function, tasks, chunksize=16), description, total=len(tasks))


def frames_or_reason(task: tuple[Path, int]) -> list[dict[str, Any]] | str:
    """The frames of a file (path, plane) as its reader describes them, or why there are none."""
    path, plane = task
    try:
        if path.stat().st_size == 0:
            return "the file is empty"
        return describe(path, plane) if sniff(path) else NOT_AN_IMAGE
    except UnreadableImageError as error:
        return str(error)
    except OSError as error:
        return f"the file can't be opened ({error.strerror})"


def why_undecodable(task: tuple[Path, Sample]) -> str | None:
    """Why a sample (its file, its row) can't be decoded; None if it can."""
    path, sample = task
    try:
        read_pixels(path, sample)
    except UnreadableImageError as error:
        return str(error)
    return None
