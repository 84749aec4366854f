"""The same reading on the workers of a Dask scheduler: each reads its share in processes of its own, under the
limits."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from medino.core import InputError, MedinoError
from medino.data.workers.limits import Limits
from medino.data.workers.pool import Pool

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10.0
WORKERS_SECONDS = 60.0
"""A scheduler answers at once or not at all; its workers may wait in a cluster's queue."""

BATCH_SECONDS = 1.0
"""Dask takes about a millisecond a task (its own documentation on efficiency), so that a second's work is a good
one."""

FIRST_BATCH, LARGEST_BATCH = 16, 1024
BATCHES_A_THREAD = 3
"""Batches begun for each thread of the workers: one at work, one waiting, one done that an earlier one holds up."""


def map_over_dask(
    function: Callable[[Any], Any], tasks: Iterable[Any], address: str, limits: Limits
) -> Generator[Any, None, None]:
    """The answers in the order of the tasks, as `Pool.map` gives them. Files must lie at the same paths over there.

    Args:
        function: a function that can be imported where the workers run.
        tasks: what to apply it to, drawn as needed.
        address: the scheduler's, such as `tcp://10.0.0.5:8786`.
        limits: what one task may take.

    Raises:
        InputError: Dask is not installed, the scheduler can't be reached or has no workers, or loses them all.
    """
    coming = iter(tasks)
    begun: deque[Any] = deque()
    size = FIRST_BATCH
    with _client(address) as client:
        while True:
            ahead = BATCHES_A_THREAD * max(sum(client.nthreads().values()), 1)
            while len(begun) < ahead and (batch := list(islice(coming, size))):
                begun.append(client.submit(_answers, function, batch, limits, pure=False))
            if not begun:
                return
            answers, seconds, error = begun.popleft().result()
            if error is not None:
                raise error
            yield from answers
            size = min(max(int(BATCH_SECONDS * len(answers) / max(seconds, 1e-6)), 1), LARGEST_BATCH)


def _answers(
    function: Callable[[Any], Any], tasks: list[Any], limits: Limits
) -> tuple[list[Any], float, Exception | None]:
    """What a worker of Dask does: a batch in a process of its own, so that no file can end Dask's.

    An error is handed back and not raised: Dask would write it to its log together with the tasks, whose paths name
    people.
    """
    started = time.monotonic()
    try:
        answers = list(Pool(function, 1, limits).map(tasks))
    except MedinoError as error:
        return [], 0.0, error
    except Exception as error:
        return [], 0.0, RuntimeError(f"a worker of the scheduler failed ({type(error).__name__})")
    return answers, time.monotonic() - started, None


@contextmanager
def _client(address: str) -> Iterator["Client"]:
    """A connection to the scheduler, whose failures are said in words."""
    try:
        from distributed import CancelledError, Client, KilledWorker
        from distributed.comm import CommClosedError
    except ImportError as error:
        raise InputError("--scheduler needs Dask, which is not installed: pip install 'medino[dask]'") from error
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address}; give the address that it prints when it starts, such as "
            "tcp://10.0.0.5:8786"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except (TimeoutError, ValueError) as error:
            raise InputError(f"the Dask scheduler at {address} has no workers; start some") from error
        try:
            yield client
        except KilledWorker as error:
            raise InputError(f"the workers of the Dask scheduler at {address} keep dying; see their logs") from error
        except (CancelledError, CommClosedError) as error:
            raise InputError(f"the Dask scheduler at {address} went away; start it and try again") from error
