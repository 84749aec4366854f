"""Progress bars for whatever takes longer than two seconds; silent for what does not."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")

QUIET_SECONDS = 2.0
"""Work shorter than this shows nothing."""

LOG_EVERY_SECONDS = 15.0
"""Where the output is no terminal (a log, CI), a line this often stands for the bar."""


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` and show how far it is on standard error, once two seconds have passed.

    Args:
        items: what to iterate over.
        description: what is being done, as the user would say it ("reading headers").
        total: how many items there are, where `items` has no length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    console = Console(file=sys.stderr)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True)
    started = last_line = time.monotonic()
    task = bar.add_task(description, total=total)
    shown = False
    try:
        for count, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if console.is_terminal:
                if not shown and now - started > QUIET_SECONDS:
                    bar.start()
                    shown = True
                bar.update(task, completed=count)
            elif now - started > QUIET_SECONDS and (not shown or now - last_line > LOG_EVERY_SECONDS):
                of = f" of {total}" if total is not None else ""
                print(f"{description}: {count}{of}, {now - started:.0f} s", file=sys.stderr, flush=True)
                shown, last_line = True, now
    finally:
        if shown and console.is_terminal:
            bar.stop()
