"""A worker: takes batches of tasks from a connection and gives answers back, each task under the limits of a file."""

import mmap
import os
import pickle
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO

from medino.core import MedinoError, UnreadableImageError
from medino.data.workers.limits import Limits

CURRENT = struct.Struct("q")
"""What a worker notes in the memory that it shares with its keeper: the task of its batch that it is at."""

BETWEEN_TASKS = -1

HEADER = struct.Struct("=cId")
"""Before each message: its kind, how many answers it holds, and the seconds that they took."""

ANSWERS, FAILURE = b"a", b"f"

SEND_AFTER_SECONDS = 0.02
"""Answers are sent when this much time has passed: few messages, and little to do again where a worker dies."""


def serve(connection: Connection, current: mmap.mmap) -> None:
    """Work until the connection ends. The first message says what the work is, each other one is a batch of tasks."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what a crash leaves would hold the patient's image
    current[:] = CURRENT.pack(BETWEEN_TASKS)
    size = _own_size()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            function, limits = _instructed(connection.recv_bytes())
        except Exception as error:
            _send(connection, FAILURE, RuntimeError(f"a worker can't load what it is to do: {error!r}"))
            return
        while True:
            _work(connection, current, size, function, limits, pickle.loads(connection.recv_bytes()))


def _instructed(message: bytes) -> tuple[Callable[[Any], Any], Limits]:
    path, function, limits = pickle.loads(message)
    sys.path[:] = path
    return pickle.loads(function), limits


def _work(
    connection: Connection,
    current: mmap.mmap,
    size: BinaryIO | None,
    function: Callable[[Any], Any],
    limits: Limits,
    tasks: list[Any],
) -> None:
    """Answer the tasks of a batch in order."""
    answers: list[Any] = []
    since = time.monotonic()
    for place, task in enumerate(tasks):
        current[:] = CURRENT.pack(place)
        try:
            with _limited(limits, size):
                answers.append(function(task))
        except MemoryError:
            answers.append(limits.out_of_memory)
        except UnreadableImageError as error:
            answers.append(str(error))
        except MedinoError as error:
            _send(connection, FAILURE, error)
            return
        except Exception as error:
            # A reader says in words what it can't read, so that this is a fault of its own. It costs the one file,
            # and the name of the exception is all that is passed on: its text may quote the file.
            answers.append(f"the reader failed on this file ({type(error).__name__}), which is a fault of medino's")
        current[:] = CURRENT.pack(BETWEEN_TASKS)
        now = time.monotonic()
        if now - since > SEND_AFTER_SECONDS or place == len(tasks) - 1:
            _send(connection, ANSWERS, answers, len(answers), now - since)
            answers, since = [], time.monotonic()


def _send(connection: Connection, kind: bytes, content: object, count: int = 0, seconds: float = 0.0) -> None:
    connection.send_bytes(HEADER.pack(kind, count, seconds) + pickle.dumps(content, pickle.HIGHEST_PROTOCOL))


@contextmanager
def _limited(limits: Limits, size: BinaryIO | None) -> Iterator[None]:
    """The kernel's own limits: they hold inside a decoder written in C, where no Python runs.

    An alarm that nobody handles ends the process. The memory that may be addressed is what it is now and what the file
    may take, set anew for each file, so that its answer does not depend on the files that its worker read before.
    """
    pages = _pages(size)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if pages is not None:
        limit = pages * mmap.PAGESIZE + int(limits.megabytes * 2**20)
        resource.setrlimit(resource.RLIMIT_AS, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))
    # The interval, which never comes to pass, keeps the limit for `next_frame`.
    signal.setitimer(signal.ITIMER_REAL, limits.seconds, limits.seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if pages is not None:
            resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _own_size() -> BinaryIO | None:
    """The file in which the system tells this process its size; None where it doesn't.

    Kept open, as to open it takes ten times as long as to read it, and it is read before each file.
    """
    try:
        return Path("/proc/self/statm").open("rb", buffering=0)
    except OSError:
        return None


def _pages(size: BinaryIO | None) -> int | None:
    """The pages of memory that this process addresses, None where the system doesn't say."""
    return None if size is None else int(os.pread(size.fileno(), 64, 0).split()[0])


def keep(connection: Connection, note: Connection) -> None:
    """Start a worker in a process of its own, and tell how it ended.

    Args:
        connection: the worker's.
        note: where to tell this process's id, by whose group both can be ended, and then the exit code of the worker
            and the task that it was at.
    """
    os.setpgid(0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    note.send(os.getpid())
    current = mmap.mmap(-1, CURRENT.size)
    worker = os.fork()
    if worker == 0:
        note.close()
        serve(connection, current)
        os._exit(0)
    connection.close()
    _, status = os.waitpid(worker, 0)
    with suppress(OSError):
        note.send((os.waitstatus_to_exitcode(status), CURRENT.unpack(current[:])[0]))
