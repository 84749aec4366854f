"""Progress for whatever takes longer than two seconds; silence for what does not."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")

QUIET_SECONDS = 2.0
"""Work shorter than this shows nothing."""

LOG_EVERY_SECONDS = 15.0
"""Where the output is no terminal (a log, CI), a line this often stands for the bar."""


class ProgressBar:
    """How far a piece of work is, on standard error: a bar on a terminal, a line now and then in a log.

    Args:
        description: what is being done, as the user would say it ("reading headers").
        total: how many steps there are, where that is known.
    """

    def __init__(self, description: str, total: int | None) -> None:
        self.description = description
        self.total = total
        self._console = Console(file=sys.stderr)
        self._bar: Progress | None = None
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def update(self, completed: int, note: str = "") -> None:
        """Show that `completed` steps are done.

        Args:
            completed: steps done so far.
            note: a word on how it goes ("loss 3.21").
        """
        now = time.monotonic()
        if now - self._started < QUIET_SECONDS:
            return
        if self._console.is_terminal:
            self._show_bar(completed, note)
        elif self._last_line == self._started or now - self._last_line > LOG_EVERY_SECONDS:
            of = f" of {self.total}" if self.total is not None else ""
            note = f", {note}" if note else ""
            seconds = f"{now - self._started:.0f} s"
            print(f"{self.description}: {completed}{of}, {seconds}{note}", file=sys.stderr, flush=True)
            self._last_line = now

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def _show_bar(self, completed: int, note: str) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=self._console,
                transient=True,
            )
            self._bar.add_task(self.description, total=self.total, note=note)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=completed, note=note)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` and show how far it is, once two seconds have passed.

    Args:
        items: what to iterate over.
        description: what is being done, as the user would say it ("reading headers").
        total: how many items there are, where `items` has no length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with ProgressBar(description, total) as bar:
        for count, item in enumerate(items, start=1):
            yield item
            bar.update(count)
