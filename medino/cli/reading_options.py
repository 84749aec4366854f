"""The options of every verb that reads many files: who reads them, and what one file may take."""

import os
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

if TYPE_CHECKING:
    from medino.data.workers import Workers


def add_reading_options(parser: ArgumentParser) -> None:
    """Add --workers, --scheduler, --time_limit and --memory_limit; `chosen_workers` reads them."""
    parser.add_argument(
        "--workers",
        type=int | None,
        help="processes that read [one for each core]; the result does not depend on their number",
    )
    parser.add_argument(
        "--scheduler",
        type=str | None,
        help="address of a Dask scheduler (tcp://HOST:8786) whose workers read instead; they must see the files under "
        "the same paths and have medino installed. What they read crosses the network, and a scan sends them its "
        "secret key: use Dask's TLS where the network isn't yours alone. Needs medino[dask]",
    )
    parser.add_argument(
        "--time_limit",
        type=float | None,
        help="seconds that one file, or one frame, may take; then it is a reject [120]",
    )
    parser.add_argument(
        "--memory_limit",
        type=float | None,
        help="megabytes that one file, or one frame, may take; then it is a reject [8192]. Kept on Linux",
    )


def chosen_workers(config: Namespace) -> "Workers":
    """Who is to read, by the options of `add_reading_options`.

    Raises:
        InputError: a number that means nothing.
    """
    from medino.data.workers import Limits, Workers

    usual = Limits()
    limits = Limits(
        seconds=usual.seconds if config.time_limit is None else config.time_limit,
        megabytes=usual.megabytes if config.memory_limit is None else config.memory_limit,
    )
    processes = (os.cpu_count() or 1) if config.workers is None else config.workers
    return Workers(processes, limits, config.scheduler)
