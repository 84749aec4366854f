"""How every verb reads its options: jsonargparse, with `--config` and `--print_config` alike, unknown keys refused."""

from collections.abc import Callable

from jsonargparse import ArgumentParser

from medino.cli.main import VERBS
from medino.cli.messages import OneLineErrors


def verb_parser(verb: str, configure: Callable[[ArgumentParser], None]) -> ArgumentParser:
    """The parser of a verb.

    Args:
        verb: its name, one of `VERBS`.
        configure: adds the verb's own options.
    """
    parser = OneLineErrors(prog=f"medino {verb}", description=VERBS[verb][0].upper() + VERBS[verb][1:] + ".")
    parser.add_argument("--config", action="config", help="YAML file with any of these options; repeat to override")
    configure(parser)
    return parser
