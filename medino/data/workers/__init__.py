"""Many files through a function, in processes that may die of one without the others knowing."""

from collections.abc import Callable, Generator, Iterable, Sized
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from medino.core import InputError, track
from medino.data.workers.limits import Limits
from medino.data.workers.nursery import nursery
from medino.data.workers.pool import Pool

__all__ = ["Limits", "Workers", "get_ready", "read_all"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Workers:
    """Who reads files. What is read does not depend on it.

    Attributes:
        processes: how many processes of this machine.
        limits: what one file may take.
        scheduler: address of a Dask scheduler whose workers read instead; None reads on this machine.

    Raises:
        InputError: less than one process is asked for.
    """

    processes: int = 1
    limits: Limits = field(default_factory=Limits)
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise InputError(f"{self.processes} worker processes can't read anything; give at least 1")


def read_all(
    function: Callable[[T], R],
    tasks: Iterable[T],
    workers: int | Workers,
    description: str,
    total: int | None = None,
    decodes: bool = True,
) -> Generator[R | str, None, None]:
    """Apply a function to all tasks and give the answers in the tasks' order, with progress shown.

    The function always runs in other processes, also where one is asked for, so that a decoder that crashes, hangs or
    fills the memory costs its own file alone: the answer for that one is the reason, in words. Tasks are drawn and
    answers given as they come, so that neither are ever all in memory.

    Args:
        function: what to do with one task. It is pickled: a function of a module, or a `functools.partial` of one. What
            it raises becomes a reason too, except for a `MedinoError`, which is passed on.
        tasks: what to do it with; each is pickled.
        workers: who reads; a number is a number of processes.
        description: what the progress bar says.
        total: how many tasks there are, where `tasks` has no length.
        decodes: whether the function decodes pixels; processes that read headers alone are there in half the time.

    Raises:
        InputError: the scheduler can't be reached.
    """
    who = workers if isinstance(workers, Workers) else Workers(max(workers, 1))
    if total is None and isinstance(tasks, Sized):
        total = len(tasks)
    # Closed here and now where the caller takes no more: no worker outlives the wish for its answers.
    with closing(_map(function, tasks, who, decodes)) as answers:
        yield from track(answers, description, total=total)


def get_ready(workers: int | Workers) -> None:
    """Begin to load what workers need to read headers, while there is something else to do."""
    if not isinstance(workers, Workers) or workers.scheduler is None:
        nursery(decodes=False)


def _map(
    function: Callable[[Any], Any], tasks: Iterable[Any], who: Workers, decodes: bool
) -> Generator[Any, None, None]:
    if who.scheduler is None:
        return Pool(function, who.processes, who.limits, decodes).map(tasks)
    from medino.data.workers.scheduler import map_over_dask

    return map_over_dask(function, tasks, who.scheduler, who.limits)
