"""Numbers out of DICOM elements, whatever stands in them."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue


def first_number(dataset: Dataset, name: str) -> float | None:
    """The first value of a numeric element, None where it is absent, no number or not finite."""
    found = numbers(dataset, name)
    return found[0] if found else None


def numbers(dataset: Dataset, name: str) -> list[float]:
    """All values of a numeric element, empty where it is absent or one of them is no finite number."""
    try:
        value = dataset.get(name)
        if value is None or value == "":
            return []
        values = [float(item) for item in (value if isinstance(value, MultiValue | list) else [value])]
    except (TypeError, ValueError, OverflowError):
        return []
    return values if all(np.isfinite(values)) else []
