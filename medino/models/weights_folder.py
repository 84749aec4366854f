"""Where published weights lie on this machine, and what a name or a path given as weights means."""

import os
from pathlib import Path

from medino.core import InputError
from medino.core.files import whole_file
from medino.models.known import KNOWN_WEIGHTS, KnownFile, KnownWeights, close_names

RECORD_SUFFIX = ".sha256"
"""Beside each download: its SHA-256 as `sha256sum -c` reads it."""


def weights_folder() -> Path:
    """Where downloads lie: `MEDINO_WEIGHTS`, or else `medino/weights` in the user's cache."""
    if given := os.environ.get("MEDINO_WEIGHTS"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medino" / "weights"


def known_path(known: KnownWeights, file: KnownFile | None = None, folder: Path | None = None) -> Path:
    """Where a published file lies once it is there: FOLDER/NAME/FILE.

    Args:
        known: whose.
        file: which; None means the backbone.
        folder: of the downloads; None means `weights_folder`.
    """
    return (folder or weights_folder()) / known.name / (file or known.file).name


def find_weights(weights: str | Path) -> tuple[Path, KnownWeights | None]:
    """The path that is meant by a path or by the name of known weights. What exists as a path is one.

    Returns:
        The path, and what is known of it where it is a known download.

    Raises:
        InputError: there is no such path or name, or the weights of that name are not on this machine.
    """
    path, known = _find(weights)
    if known is None or path.is_file():
        return path, known
    access = "" if known.gated is None else f" (access to them has to be asked for: {known.gated})"
    raise InputError(
        f"the weights '{known.name}' are not in {path.parent}; get them with `medino weights get {known.name}`"
        f"{access}, or give the path of a file"
    )


def find_heads(heads: str | Path) -> Path:
    """The path that is meant by a path or a name whose projection heads were published.

    Raises:
        InputError: there is no such path or name, or no heads are published under it or on this machine.
    """
    path, known = _find(heads)
    if known is None or Path(heads).exists():
        return path
    if known.heads is None:
        with_heads = ", ".join(name for name, entry in KNOWN_WEIGHTS.items() if entry.heads)
        raise InputError(f"no heads were published with '{known.name}'; those of {with_heads} were, or give a file")
    path = known_path(known, known.heads)
    if not path.is_file():
        raise InputError(
            f"the heads of '{known.name}' are not in {path.parent}; get them with "
            f"`medino weights get {known.name} --heads`, or give the path of a file"
        )
    return path


def known_weights(name: str) -> KnownWeights:
    """The entry of a name.

    Raises:
        InputError: there is none.
    """
    if name in KNOWN_WEIGHTS:
        return KNOWN_WEIGHTS[name]
    raise InputError(f"no weights are called {name!r}{_meant(name)}")


def recorded_sha256(path: Path) -> str | None:
    """The SHA-256 that was written down for a file when it came; None where none was."""
    record = path.with_name(path.name + RECORD_SUFFIX)
    if not record.is_file():
        return None
    return (record.read_text(encoding="utf-8").split() or [""])[0].lower()


def record_sha256(path: Path, sha256: str) -> None:
    """Write a file's SHA-256 down beside it."""
    with whole_file(path.with_name(path.name + RECORD_SUFFIX)) as temporary:
        temporary.write_text(f"{sha256}  {path.name}\n", encoding="utf-8")


def _find(given: str | Path) -> tuple[Path, KnownWeights | None]:
    """The path of something given, whether or not it exists, and what is known of it."""
    path = Path(given)
    if path.exists():
        # A download given by its path expects the same normalisation as by its name.
        known = KNOWN_WEIGHTS.get(path.resolve().parent.name)
        return path, known if known is not None and path.name == known.file.name else None
    if str(given) in KNOWN_WEIGHTS:
        known = KNOWN_WEIGHTS[str(given)]
        return known_path(known), known
    if path.name != str(given) or path.suffix:
        raise InputError(f"weights file {path} does not exist; check the path, or give a name of `medino weights list`")
    raise InputError(f"there is no file or folder {given}, and no weights are called so{_meant(str(given))}")


def _meant(name: str) -> str:
    close = close_names(name)
    meant = f"; did you mean {' or '.join(close)}? " if close else "; "
    return f"{meant}`medino weights list` lists the names"
