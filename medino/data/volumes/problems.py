"""What can be wrong with the volumes of a series, in words."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medino.data.volumes.arrangement import Arrangement

Kind = Literal[
    "tilt", "gaps", "line", "duplicates", "copies", "orientations", "sizes", "spacings", "thickness", "single", "mosaic"
]

BLOCKING = ("gaps", "line", "duplicates", "single", "mosaic")
"""Problems that keep slices from being a sound volume; the others are dealt with, and said."""


STEEPEST_TILT = 45.0
"""Gantries tilt by 30 degrees at most; slices that are moved further, degrees, are no tilted volume."""


@dataclass(frozen=True)
class Problem:
    """Something about a volume, or about the series that it is of, that a person should know.

    Attributes:
        kind: its name.
        words: what it is, with numbers.
    """

    kind: Kind
    words: str

    @property
    def blocks(self) -> bool:
        """Whether it keeps the slices from being a sound volume."""
        return self.kind in BLOCKING


def of_arrangement(found: Arrangement) -> list[Problem]:
    """Tilt, gaps, and slices that lie on no line."""
    problems = []
    if found.tilt > STEEPEST_TILT:
        problems.append(Problem("line", f"the slices are moved sideways, {found.tilt:.0f} degrees off their normal"))
    elif not found.straight:
        problems.append(Problem("line", f"the slices lie on no line: up to {found.off_line:.1f} mm beside it"))
    elif not found.even:
        # To a tenth of a millimetre, as the tolerance.
        counted = Counter(np.round(found.steps, 1).tolist())
        told = [f"{step:.1f} mm ({count}x)" for step, count in sorted(counted.items())]
        shown = ", ".join(told[:5]) + (f" and {len(told) - 5} more" if len(told) > 5 else "")
        problems.append(
            Problem("gaps", f"uneven distances from slice to slice: {shown}; even is within {found.tolerance:.2g} mm")
        )
    if found.straight and found.tilted and found.tilt <= STEEPEST_TILT:
        problems.append(Problem("tilt", f"the slices are sheared by a gantry tilt of {found.tilt:.1f} degrees"))
    return problems


def of_thickness(thickness: np.ndarray) -> list[Problem]:
    """Slices of several thicknesses in one volume; NaN where not known."""
    known = sorted({round(float(value), 2) for value in thickness if np.isfinite(value)})
    if len(known) < 2:
        return []
    return [Problem("thickness", f"slices of {', '.join(f'{value:g}' for value in known)} mm thickness")]


def of_series(sizes: int, spacings: int, orientations: int) -> list[Problem]:
    """What the images of a series differ in and are parted by."""
    problems = []
    if sizes > 1:
        problems.append(Problem("sizes", f"the series holds images of {sizes} sizes, each taken for itself"))
    if spacings > 1:
        problems.append(Problem("spacings", f"the series holds {spacings} pixel spacings, each taken for itself"))
    if orientations > 1:
        problems.append(Problem("orientations", f"the series holds {orientations} orientations, each taken for itself"))
    return problems
