"""Runs one verb, and turns what goes wrong into one line and an exit status."""

import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from medino.cli.parser import verb_parser
from medino.core import InterruptedRunError, MedinoError

LIGHTNING_VERBS = dict.fromkeys(("fit", "validate", "test", "predict"), "lightning") | {"plan": "plan"}
"""The verbs that LightningCLI parses itself, and the modules that they live in."""


def dispatch(verb: str, words: Sequence[str]) -> int:
    """Run a verb.

    Args:
        verb: its name, one of `medino.cli.main.VERBS`.
        words: the arguments after it.

    Returns:
        The exit status; errors that the user can act on are printed on one line of standard error.
    """
    try:
        with one_line_warnings(verb):
            if verb in LIGHTNING_VERBS:
                import_module(f"medino.cli.{LIGHTNING_VERBS[verb]}").run(verb, list(words))
            else:
                module = import_module(f"medino.cli.{verb}")
                parser = verb_parser(verb, module.configure)
                # A verb that answers a question says its answer by its status; the others return nothing.
                return module.run(parser.parse_args(with_underscores(words))) or 0
    except InterruptedRunError as stopped:
        print(f"medino {verb}: {stopped}", file=sys.stderr)
        return stopped.exit_status
    except MedinoError as error:
        print(f"medino {verb}: error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return _interrupted(verb, signal.SIGINT)
    except SystemExit as left:
        # Lightning's ways of leaving when it is interrupted; it says nothing, and a status that says something else.
        if isinstance(left.__context__, KeyboardInterrupt):
            return _interrupted(verb, signal.SIGINT)
        if type(left).__name__ == "SIGTERMException":
            return _interrupted(verb, signal.SIGTERM)
        raise
    return 0


def _interrupted(verb: str, number: signal.Signals) -> int:
    print(f"medino {verb}: interrupted", file=sys.stderr)
    return 128 + number


@contextmanager
def one_line_warnings(verb: str) -> Iterator[None]:
    """Show warnings as the command's own words: without the place in the code, which the user can't act on."""

    def show(message: Warning | str, *place: Any, **more: Any) -> None:
        print(f"medino {verb}: warning: {' '.join(str(message).split())}", file=sys.stderr)

    usual, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = usual


def with_underscores(words: Sequence[str]) -> list[str]:
    """The same words with `--patient-pattern` read as `--patient_pattern`: options go by the names of arguments."""
    spelt = []
    for word in words:
        option, equals, value = word.partition("=")
        spelt.append(
            (option.replace("-", "_").replace("__", "--", 1) if option.startswith("--") else option) + equals + value
        )
    return spelt
