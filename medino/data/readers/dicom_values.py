"""Values out of DICOM elements, whatever stands in them."""

import math
from functools import cache
from struct import Struct
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

_BLANK = " \0\t\r\n"
_TEXT = frozenset(("AS", "CS", "LO", "SH", "UI"))
_NUMBERS = frozenset(("DS", "IS"))
_BINARY = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d"}
_UNPACK = {(vr, little): Struct("><"[little] + code) for vr, code in _BINARY.items() for little in (False, True)}
_PLAIN_BYTES = 128
"""Plain values are worked out anew each time that they are asked for; pydicom keeps what it has converted."""


def tag_of(name: str) -> BaseTag:
    """The tag of a keyword: the same object each time, as two of one number are compared by Python code of pydicom's.

    Raises:
        ValueError: the keyword is none of the standard's.
    """
    return _known(name)[0]


def value_of(dataset: Dataset, name: str) -> Any:
    """The value of an element by its keyword, None where it is absent.

    As `Dataset.get`, which takes ten times as long to find that an element is absent: most of those asked for are.
    """
    return dataset[_known(name)[0]].value if _has(dataset, name) else None


def text_of(dataset: Dataset, name: str) -> str | None:
    """The text of an element, None where it is absent or blank."""
    if not _has(dataset, name):
        return None
    plain = _plain(dataset, name)
    if plain is not None:
        vr, value, _ = plain
        # One value, in letters that all character sets share (PS3.5 6.1.2): pydicom takes eight times as long.
        if vr in _TEXT and value.isascii() and b"\\" not in value and b"\x1b" not in value:
            return value.decode("ascii").strip(_BLANK) or None
    found = value_of(dataset, name)
    return ("" if found is None else str(found).strip(_BLANK)) or None


def is_given(dataset: Dataset, name: str) -> bool:
    """Whether an element is there with a value."""
    return _plain_numbers(dataset, name) is not None or text_of(dataset, name) is not None


def whole_of(dataset: Dataset, name: str) -> int:
    """The value of an element as a whole number.

    Raises:
        TypeError: it is absent, has several values, or what can be no number.
        ValueError: it is text that is no number.
    """
    plain = _plain_numbers(dataset, name)
    return int(plain[0] if plain is not None and len(plain) == 1 else value_of(dataset, name))


def first_number(dataset: Dataset, name: str) -> float | None:
    """The first value of a numeric element, None where it is absent, no number or not finite."""
    found = numbers(dataset, name)
    return found[0] if found else None


def numbers(dataset: Dataset, name: str) -> list[float]:
    """All values of a numeric element, empty where it is absent or one of them is no finite number."""
    if not _has(dataset, name):
        return []
    values = _plain_numbers(dataset, name)
    if values is None:
        try:
            value = value_of(dataset, name)
            if value is None or value == "":
                return []
            values = [float(item) for item in (value if isinstance(value, MultiValue | list) else [value])]
        except (TypeError, ValueError, OverflowError):
            return []
    return values if all(map(math.isfinite, values)) else []


def _plain_numbers(dataset: Dataset, name: str) -> list[float] | None:
    """The numbers of an element that is as the standard has it; None where it is not, and pydicom is to say."""
    plain = _plain(dataset, name)
    if plain is None:
        return None
    vr, value, little = plain
    try:
        if vr in _NUMBERS:
            kind = float if vr == "DS" else int
            return [float(kind(item)) for item in value.rstrip(b" \0").split(b"\\")]
        unpack = _UNPACK.get((vr, little))
        return [float(unpack.unpack(value)[0])] if unpack is not None and len(value) == unpack.size else None
    except (ValueError, OverflowError):
        return None


def _plain(dataset: Dataset, name: str) -> tuple[str, bytes, bool] | None:
    """Representation, bytes and byte order (little) of a short element that pydicom has not converted yet."""
    tag, vr = _known(name)
    element = dataset.get_item(tag)
    if not isinstance(element, RawDataElement) or not element.value or len(element.value) > _PLAIN_BYTES:
        return None
    return element.VR or vr, element.value, element.is_little_endian


def _has(dataset: Dataset, name: str) -> bool:
    return _known(name)[0] in dataset.keys()  # noqa: SIM118 - `in dataset` makes a tag of the tag


@cache
def _known(name: str) -> tuple[BaseTag, str]:
    """Tag and value representation of a keyword."""
    tag = tag_for_keyword(name)
    if tag is None:
        raise ValueError(f"{name} is no keyword of the standard")
    return BaseTag(tag), dictionary_VR(tag)
