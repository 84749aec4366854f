"""Values out of DICOM elements, whatever stands in them."""

import math
from functools import cache
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag


def value_of(dataset: Dataset, name: str) -> Any:
    """The value of an element by its keyword, None where it is absent.

    As `Dataset.get`, which takes ten times as long to find that an element is absent: most of those asked for are.
    """
    tag = _tag(name)
    return dataset[tag].value if tag in dataset.keys() else None  # noqa: SIM118 - `in dataset` makes a tag of the tag


@cache
def _tag(name: str) -> BaseTag:
    tag = tag_for_keyword(name)
    if tag is None:
        raise ValueError(f"{name} is no keyword of the standard")
    return BaseTag(tag)


def first_number(dataset: Dataset, name: str) -> float | None:
    """The first value of a numeric element, None where it is absent, no number or not finite."""
    found = numbers(dataset, name)
    return found[0] if found else None


def numbers(dataset: Dataset, name: str) -> list[float]:
    """All values of a numeric element, empty where it is absent or one of them is no finite number."""
    try:
        value = value_of(dataset, name)
        if value is None or value == "":
            return []
        values = [float(item) for item in (value if isinstance(value, MultiValue | list) else [value])]
    except (TypeError, ValueError, OverflowError):
        return []
    return values if all(map(math.isfinite, values)) else []
