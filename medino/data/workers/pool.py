"""Tasks to workers and their answers back in order, whatever happens to a worker on the way."""

import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from medino.data.workers.limits import Limits
from medino.data.workers.nursery import nursery
from medino.data.workers.worker import ANSWERS, BETWEEN_TASKS, FAILURE, HEADER

BATCH_SECONDS = 0.1
"""A batch is to take about so long: long against what handing it over takes, short against what a person waits for."""

FIRST_BATCH, LARGEST_BATCH = 4, 64
SECOND_BATCH_BYTES = 2**15
"""A batch of at most this size waits in the connection while the worker is at another; it fits there on any system,
so that handing it over never blocks."""

MOST_AHEAD = 8192
MOST_AHEAD_BYTES = 2**26
"""Tasks begun behind the one whose turn it is, and the size of their answers: where that one takes long, the others
wait."""

MOST_DEATHS = 8
"""So many workers in a row that end without having answered anything are no fault of a file."""


@dataclass
class _Batch:
    """Tasks that follow one another.

    Attributes:
        first: the place of the first in the whole.
        tasks: what is to be done.
        again: a worker died of this (its only task) already.
        answered: how many of the tasks have their answers.
        message: the tasks as they are sent.
    """

    first: int
    tasks: list[Any]
    again: bool = False
    answered: int = 0
    message: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.message = pickle.dumps(self.tasks, pickle.HIGHEST_PROTOCOL)

    def part(self, start: int, stop: int, again: bool = False) -> list["_Batch"]:
        """The tasks from `start` to `stop` as a batch of their own; none where there are none."""
        return [_Batch(self.first + start, self.tasks[start:stop], again)] if start < stop else []


@dataclass
class _Worker:
    """A worker as seen from here: what it was given and has not answered, oldest first."""

    connection: Connection
    note: Connection
    batches: deque[_Batch] = field(default_factory=deque)

    def end(self) -> tuple[int | None, int]:
        """Its exit code and the task it was at, as its keeper noted; None where nobody saw how it ended."""
        try:
            self.note.recv()
            exit_code, place = self.note.recv()
        except (EOFError, OSError):
            return None, BETWEEN_TASKS
        finally:
            self.close()
        return exit_code, place

    def kill(self) -> None:
        """End the worker and its keeper."""
        with suppress(EOFError, OSError):
            os.killpg(self.note.recv(), signal.SIGKILL)
        self.close()

    def close(self) -> None:
        self.connection.close()
        self.note.close()


class Pool:
    """A function, applied in processes that may die of it.

    What kills a worker is found exactly: each notes the task that it is at where its keeper can see it. Such a task
    is tried once more, alone in a new worker, as what died may have been hurt by an earlier one, or ended by a
    system short of memory.

    Args:
        function: a function that can be imported (or a `functools.partial` of one); given to each worker once.
        processes: how many workers, at least one.
        limits: what one task may take.
        decodes: whether the function decodes pixels, for which torch is loaded before workers are forked.
    """

    def __init__(self, function: Callable[[Any], Any], processes: int, limits: Limits, decodes: bool = True) -> None:
        self._decodes = decodes
        self._instructions = pickle.dumps((sys.path, pickle.dumps(function), limits))
        self._limits = limits
        self._processes = max(processes, 1)
        self._workers: list[_Worker] = []
        self._to_repeat: deque[_Batch] = deque()
        self._answered: dict[int, tuple[int, bytes]] = {}
        self._answered_bytes = 0
        self._turn = self._begun = 0
        self._seconds: float | None = None
        self._deaths = 0

    def map(self, tasks: Iterable[Any]) -> Generator[Any, None, None]:
        """The answers in the order of the tasks; for one that can't be had, the reason in words.

        Tasks are drawn as they are needed, and answers kept (pickled) until their turn has come.

        Raises:
            MedinoError: raised by the function for another cause than an unreadable file.
            RuntimeError: workers can't be started, or die whatever they are given.
        """
        coming = iter(tasks)
        try:
            while True:
                at_work = self._hand_out(coming)
                if self._turn in self._answered:
                    yield from self._take_turn()
                    self._collect(timeout=0.0)
                elif at_work:
                    self._collect(timeout=None)
                else:
                    return
        finally:
            for worker in self._workers:
                worker.kill()
            self._workers.clear()

    def _take_turn(self) -> list[Any]:
        count, pickled = self._answered.pop(self._turn)
        self._turn += count
        self._answered_bytes -= len(pickled)
        return pickle.loads(memoryview(pickled)[HEADER.size :])

    def _hand_out(self, coming: Iterator[Any]) -> bool:
        """Give each worker up to two batches; false where nothing is left to be answered."""
        for depth in (1, 2):
            for place in range(self._processes):
                if place < len(self._workers) and len(self._workers[place].batches) >= depth:
                    continue
                batch = self._next_batch(coming)
                if batch is None:
                    return any(worker.batches for worker in self._workers)
                if place == len(self._workers):
                    self._workers.append(self._start())
                if not self._hand(batch, self._workers[place]):
                    self._to_repeat.appendleft(batch)
        return True

    def _next_batch(self, coming: Iterator[Any]) -> _Batch | None:
        if self._to_repeat:
            return self._to_repeat.popleft()
        if self._begun - self._turn > MOST_AHEAD or self._answered_bytes > MOST_AHEAD_BYTES:
            return None
        size = FIRST_BATCH if self._seconds is None else int(BATCH_SECONDS / max(self._seconds, 1e-6))
        tasks = list(islice(coming, min(max(size, 1), LARGEST_BATCH)))
        self._begun += len(tasks)
        return _Batch(self._begun - len(tasks), tasks) if tasks else None

    def _hand(self, batch: _Batch, worker: _Worker) -> bool:
        """Send a batch to a worker; false where it has to wait until the worker is free."""
        if worker.batches and len(batch.message) > SECOND_BATCH_BYTES:
            return False
        worker.batches.append(batch)
        with suppress(BrokenPipeError, ConnectionResetError):  # it is dead, which shows when its answers are collected
            worker.connection.send_bytes(batch.message)
        return True

    def _start(self) -> _Worker:
        ours, theirs = Pipe(duplex=True)
        note, note_theirs = Pipe(duplex=False)
        with theirs, note_theirs:
            nursery(self._decodes).start(theirs, note_theirs)
        ours.send_bytes(self._instructions)
        return _Worker(ours, note)

    def _collect(self, timeout: float | None) -> None:
        """Take what workers have answered, and see to those that died."""
        working = {worker.connection: worker for worker in self._workers if worker.batches}
        for connection in wait(list(working), timeout):
            worker = working[connection]  # type: ignore[index]
            try:
                message = worker.connection.recv_bytes()
            except (EOFError, OSError):
                self._bury(worker)
                continue
            self._deaths = 0
            kind, count, seconds = HEADER.unpack_from(message)
            if kind == FAILURE:
                raise pickle.loads(memoryview(message)[HEADER.size :])
            batch = worker.batches[0]
            self._keep(batch.first + batch.answered, count, message)
            batch.answered += count
            if batch.answered == len(batch.tasks):
                worker.batches.popleft()
            each = seconds / count
            self._seconds = each if self._seconds is None else 0.7 * self._seconds + 0.3 * each

    def _keep(self, first: int, count: int, message: bytes) -> None:
        self._answered[first] = (count, message)
        self._answered_bytes += len(message)

    def _bury(self, worker: _Worker) -> None:
        """See that what a dead worker left is done; the next to be handed a batch takes its place."""
        self._workers.remove(worker)
        exit_code, place = worker.end()
        batch, *others = worker.batches
        left = batch.part(batch.answered, len(batch.tasks), batch.again)
        if place == BETWEEN_TASKS:
            self._deaths += 1
            if self._deaths > MOST_DEATHS:
                raise RuntimeError("the processes that read end before they are given a file; is there memory left?")
        else:
            left = batch.part(batch.answered, place) + batch.part(place + 1, len(batch.tasks))
            if batch.again or exit_code == -signal.SIGALRM:
                reason = HEADER.pack(ANSWERS, 1, 0.0) + pickle.dumps([self._limits.cause_of_death(exit_code)])
                self._keep(batch.first + place, 1, reason)
            else:
                left = batch.part(batch.answered, place)
                left += batch.part(place, place + 1, again=True) + batch.part(place + 1, len(batch.tasks))
        self._to_repeat.extendleft(reversed([*left, *others]))
