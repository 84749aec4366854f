"""What is wrong with options or a configuration, said in one line instead of jsonargparse's usage and report."""

import os
import re
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from medino.core import InputError, MedinoError

LEFT_OUT = ("Does not validate against any of the Union", "Subtypes:", "Errors:", "Expected a <class 'NoneType'>")
"""Lines of jsonargparse's report on its own types: every option that may be absent is a union with nothing."""

HELP = "; --help lists the options"

WEIGHTS_HELP = (
    "a name that `medino weights list` shows, a file in the layout of medino, Meta, Hugging Face or timm, one of "
    "Hugging Face's folders, or the folder of a run"
)
INTERPOLATION_HELP = (
    "whose way to resize the position embedding away from its native grid: meta, hf or timm "
    "[that of the weights' family]"
)

GIVEN = "Given value"
"""What follows such a line repeats all of the settings."""


NO_SETTINGS = "Unexpected config"
"""What jsonargparse says of a file that holds something else, and then all of the file."""


class OneLineErrors(ArgumentParser):
    """A parser whose errors are `InputError`s of one line."""

    def parse_path(self, path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Namespace:
        """Read a configuration file, naming it in what is wrong with it."""
        try:
            return super().parse_path(path, *args, **kwargs)
        except (InputError, TypeError, UnicodeDecodeError) as error:
            what = str(error).removesuffix(HELP)
            if isinstance(error, UnicodeDecodeError) or NO_SETTINGS in what:
                what = "it holds no settings; give a YAML file of them"
            raise InputError(f"the configuration {path} can't be used: {one_line(what)}") from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage and leaving the process."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise InputError(f"{one_line(message)}{HELP}") from ex


def one_line(report: str) -> str:
    """A report of jsonargparse's in one line: which key, which class, what is wrong."""
    text = ""
    for line in report.splitlines():
        line = line.strip().removeprefix("- ")
        if not line or line.startswith((*LEFT_OUT, GIVEN)):
            continue
        line = re.sub(r' in "<(unicode|byte) string>",', "", f" {line}").strip()
        text += ("" if not text else " " if text.endswith(":") else "; ") + line
    return text


def said_by_medino(error: BaseException) -> MedinoError | None:
    """The error of medino's that led to another library's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MedinoError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None
