"""The settings of a run as they may be kept and shown: without the paths, which can name people."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PRIVATE_PATH = "<path not stored>"
"""What stands in a config for a path outside the run. What lay there is told by its fingerprint in provenance.json."""

DATA_SUFFIXES = frozenset(
    {".ckpt", ".csv", ".dcm", ".dicom", ".gz", ".h5", ".jpeg", ".jpg", ".json", ".key", ".nii", ".npy", ".npz"}
    | {".parquet", ".pkl", ".png", ".pt", ".pth", ".safetensors", ".svs", ".tar", ".tif", ".tiff", ".tsv", ".txt"}
    | {".xlsx", ".yaml", ".yml", ".zip"}
)
"""Endings by which a value is taken for a file's name even where it has no folder before it and nothing lies there."""


def public_config(config: Any, run: str | Path) -> Any:
    """The same settings without private paths, JSON-plain.

    Folders and files of a hospital are named after patients, studies and people, and a home folder after its user, so
    no path is kept: one inside the run becomes relative to it, any other value that looks like a path (it has a
    separator, starts with "~", ends in a known file ending, or names something that is there) becomes `PRIVATE_PATH`.
    When in doubt the value goes: a setting lost to the reader is the smaller harm.

    Args:
        config: mappings, sequences and scalars, nested.
        run: the run's folder.
    """
    if isinstance(config, Mapping):
        return {_public_key(str(key)): public_config(value, run) for key, value in config.items()}
    if isinstance(config, (list, tuple, set, frozenset)):
        return [public_config(value, run) for value in config]
    if config is None or isinstance(config, (bool, int, float)):
        return config
    # A path type of its own (pathlib's, jsonargparse's) is a path even where its text does not look like one.
    return _public(str(config), run, certain=not isinstance(config, str))


def _public_key(key: str) -> str:
    """A setting's name stays, whatever folder of that name is about; one that is spelt like a path does not."""
    return PRIVATE_PATH if _is_spelt_like_a_path(key) else key


def _public(text: str, run: str | Path, certain: bool = False) -> str:
    if not (certain or _looks_like_a_path(text)):
        return text
    inside = Path(os.path.relpath(text, run)) if _is_absolute_or_there(text) else None
    return PRIVATE_PATH if inside is None or inside.parts[:1] == ("..",) else inside.as_posix()


def _looks_like_a_path(text: str) -> bool:
    if not text or text == PRIVATE_PATH:
        return False
    return _is_spelt_like_a_path(text) or _is_absolute_or_there(text)


def _is_spelt_like_a_path(text: str) -> bool:
    if "/" in text or "\\" in text or text.startswith("~") or text in (".", ".."):
        return True
    return Path(text).suffix.lower() in DATA_SUFFIXES


def _is_absolute_or_there(text: str) -> bool:
    try:
        return Path(text).is_absolute() or Path(text).exists()
    except (OSError, ValueError):
        return False
