"""Small frozen dataclasses of settings, given as they are or, from YAML and checkpoints, as a mapping."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from medino.core import InputError

Settings = TypeVar("Settings")

NUMBERS: dict[str, Any] = {"float": (int, float), "int": int, "bool": bool}
"""What a value can be, by the annotation of its field."""


def settings_from(kind: type[Settings], given: Settings | Mapping[str, Any] | None, name: str) -> Settings | None:
    """The settings that were given; None, which is off, stays None.

    Args:
        kind: a dataclass whose fields are numbers or bools.
        given: one of these, or the values of its fields by name.
        name: of the argument, for errors.

    Raises:
        InputError: there is no such field, or a value is of another kind.
    """
    if given is None or isinstance(given, kind):
        return given
    assert isinstance(given, Mapping)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key, value in given.items():
        if key not in fields:
            raise InputError(f"{name} has no setting {key!r}; it has {', '.join(fields)}")
        wanted = getattr(fields[key].type, "__name__", str(fields[key].type))
        if not isinstance(value, NUMBERS[wanted]) or isinstance(value, bool) != (wanted == "bool"):
            raise InputError(f"{name}.{key} is {value!r}; give a {wanted}")
    return kind(**given)


def plain_settings(settings: Any) -> dict[str, Any] | None:
    """The fields of such a dataclass as JSON has them; None stays None."""
    return None if settings is None else dataclasses.asdict(settings)
