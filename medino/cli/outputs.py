"""Names of files that a verb is to write, looked at before any work is done."""

from pathlib import Path

from medino.core import InputError


def names_file(path: Path, ending: str) -> bool:
    """Whether a path can be a file with this ending."""
    return path.suffix == ending and not path.is_dir()


def output_file(path: str | Path, ending: str, what: str = "output", option: str = "-o") -> Path:
    """The file that an option names.

    Args:
        path: what was given.
        ending: what its name has to end in, such as `.parquet`.
        what: what goes there, for the error.
        option: which option gives it, for the error.

    Raises:
        InputError: the name ends otherwise, or is a folder's.
    """
    if not names_file(Path(path), ending):
        raise InputError(f"the {what} {path} is no file name that ends in {ending}; give one by {option}")
    return Path(path)
