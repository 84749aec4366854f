"""Many files through the readers, in several processes if wanted; what fails becomes a reason, never a crash."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from medino.core import UnreadableImageError, track
from medino.data.readers import ReadSettings, describe, read_pixels, sniff
from medino.data.schema import Sample
from medino.data.source import Source

NOT_AN_IMAGE = "not a DICOM, NIfTI, PNG, JPEG or TIFF file"

DECODER_DIED = "the decoder ended its process on this file: damaged, or made to do so"
AT_ONCE = 16
"""Tasks that a process is handed together."""

T = TypeVar("T")
R = TypeVar("R")


def read_all(function: Callable[[T], R], tasks: Sequence[T], workers: int, description: str) -> Iterator[R | str]:
    """Apply a function of this module to all tasks, in their order, and show progress.

    With several workers a decoder that takes its process with it (a fault in a library written in C) costs one file:
    the answer for that one is `DECODER_DIED`.

    Args:
        function: what to do with one task.
        tasks: what to do it with.
        workers: processes; 1 works in this one.
        description: what the progress bar says.
    """
    if workers <= 1:
        yield from track(map(function, tasks), description, total=len(tasks))
        return
    yield from track(_in_processes(function, tasks, workers), description, total=len(tasks))


def _in_processes(function: Callable[[T], R], tasks: Sequence[T], workers: int) -> Iterator[R | str]:
    done = 0
    while done < len(tasks):
        try:
            with ProcessPoolExecutor(workers) as pool:
                for answer in pool.map(function, islice(tasks, done, None), chunksize=AT_ONCE):
                    yield answer
                    done += 1
        except BrokenProcessPool:
            # Which file it was is not said: from here on each has a process of its own, until the culprit is found.
            for answer_or_death in _one_by_one(function, tasks[done:]):
                yield answer_or_death
                done += 1


def _one_by_one(function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R | str]:
    """The answers up to and with the first task that ends its process."""
    for task in tasks:
        try:
            with ProcessPoolExecutor(1) as pool:
                answer = pool.submit(function, task).result()
        except BrokenProcessPool:
            yield DECODER_DIED
            return
        yield answer


def frames_or_reason(task: tuple[Source, ReadSettings]) -> list[dict[str, Any]] | str:
    """The frames of a file as its reader describes them, or why there are none."""
    source, settings = task
    try:
        if source.size() == 0:
            return "the file is empty"
        return describe(source, settings) if sniff(source) else NOT_AN_IMAGE
    except UnreadableImageError as error:
        return str(error)
    except OSError as error:
        return f"the file can't be opened ({error.strerror})"


def why_undecodable(task: tuple[Source, Sample]) -> str | None:
    """Why a sample (its file, its row) can't be decoded; None if it can."""
    source, sample = task
    try:
        read_pixels(source, sample)
    except UnreadableImageError as error:
        return str(error)
    return None
