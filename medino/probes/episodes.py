"""Support sets: which labelled units an episode learns from, drawn by patient or by unit.

Drawn by patient, a class's shots come from as many different patients: patients are drawn first, then one of each one's
units of that class. Where the unit is the patient this is a draw of patients; for smaller units it keeps k shots from
being k slices of one patient. Drawn by unit ("images"), all units of a class are alike and several may be one
patient's. The draw depends on the seed, the shots and the episode, never on a backbone or a probe.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medino.core import InputError, numpy_generator

DRAWS = ("patients", "images")


@dataclass(frozen=True, eq=False)
class Episodes:
    """What a learner is asked: from each episode's few labelled units, the classes of the test units.

    Attributes:
        support: (E, S) indices of the units that each episode learns from.
        patients: (E, S) the patient of each of them, as integers.
        classes: (S,) the class of each column of `support`.
        test: (Q,) indices of the test units.
        num_classes: C.
        seed: of whatever a learner draws.
    """

    support: np.ndarray
    patients: np.ndarray
    classes: np.ndarray
    test: np.ndarray
    num_classes: int
    seed: int


def too_small(
    labels: np.ndarray, patients: np.ndarray, classes: Sequence[str], shots: int, draw: str
) -> dict[str, tuple[int, int]]:
    """The classes that can't give a number of shots, with their patients and units.

    Args:
        labels: (U,) labels of the units that may be drawn.
        patients: (U,) their patients.
        classes: the classes of the study.
        shots: units a class.
        draw: patients or images, what has to be that many.
    """
    small = {}
    for label in classes:
        of_class = labels == label
        counts = len(set(patients[of_class].tolist())), int(of_class.sum())
        if counts[DRAWS.index(draw)] < shots:
            small[label] = counts
    return small


def check_enough(labels: np.ndarray, patients: np.ndarray, classes: Sequence[str], shots: int, draw: str) -> None:
    """Refuse a number of shots that classes of the training split can't give; arguments as in `too_small`.

    Raises:
        InputError: which classes have how many patients and units.
    """
    small = too_small(labels, patients, classes, shots, draw)
    if small:
        counted = [
            f"{label!r} has {owners} training patients ({units} units)" for label, (owners, units) in small.items()
        ]
        way = "label more patients" if draw == "patients" else "label more images"
        raise InputError(
            f"class {', class '.join(counted)}, fewer than {shots} shots; ask for fewer shots, {way}, or leave such "
            "classes out (drop_small_classes)"
        )


def draw_support(
    labels: np.ndarray,
    patients: np.ndarray,
    classes: Sequence[str],
    shots: int,
    draw: str,
    seed: int,
    episode: int,
) -> np.ndarray:
    """Draw one support set.

    Args:
        labels: (U,) labels of the units that may be drawn, in an order that does not depend on hashes.
        patients: (U,) their patients.
        classes: the classes of the study, in order.
        shots: units a class.
        draw: patients, each shot from another patient, or images, whosever they are.
        seed: the study's seed.
        episode: which draw.

    Returns:
        (classes * shots,) indices of units, class after class.
    """
    generator = numpy_generator(seed, "support", shots, episode)
    chosen: list[int] = []
    for label in classes:
        of_class = np.flatnonzero(labels == label)
        if draw == "images":
            chosen.extend(generator.choice(of_class, size=shots, replace=False).tolist())
            continue
        owners = list(dict.fromkeys(patients[of_class].tolist()))
        for owner in generator.choice(owners, size=shots, replace=False):
            chosen.append(int(generator.choice(of_class[patients[of_class] == owner])))
    return np.array(chosen)
