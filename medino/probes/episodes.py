"""Support sets: which labelled units an episode learns from, drawn by patient.

A class's shots come from as many different patients: patients are drawn first, then one of each one's units of that
class. Where the unit is the patient this is a draw of patients; for smaller units it keeps k shots from being k slices
of one patient. The draw depends on the seed, the shots and the episode, never on a backbone or a probe.
"""

import numpy as np

from medino.core import InputError, numpy_generator


def check_enough_patients(labels: np.ndarray, patients: np.ndarray, classes: list[str], shots: int) -> None:
    """Refuse a number of shots that a class's training patients can't give.

    Args:
        labels: (U,) labels of the units that may be drawn.
        patients: (U,) their patients.
        classes: the classes of the study.
        shots: units a class.

    Raises:
        InputError: which class has how many patients.
    """
    for label in classes:
        of_class = labels == label
        count = len(set(patients[of_class].tolist()))
        if count < shots:
            raise InputError(
                f"class {label!r} has {count} training patients ({int(of_class.sum())} units), "
                f"fewer than {shots} shots; ask for fewer shots or label more patients"
            )


def draw_support(
    labels: np.ndarray, patients: np.ndarray, classes: list[str], shots: int, seed: int, episode: int
) -> np.ndarray:
    """Draw one support set.

    Args:
        labels: (U,) labels of the units that may be drawn, in an order that does not depend on hashes.
        patients: (U,) their patients.
        classes: the classes of the study, in order.
        shots: units a class, each from another patient.
        seed: the study's seed.
        episode: which draw.

    Returns:
        (classes * shots,) indices of units, class after class.
    """
    generator = numpy_generator(seed, "support", shots, episode)
    chosen = []
    for label in classes:
        of_class = np.flatnonzero(labels == label)
        owners = list(dict.fromkeys(patients[of_class].tolist()))
        for owner in generator.choice(owners, size=shots, replace=False):
            chosen.append(generator.choice(of_class[patients[of_class] == owner]))
    return np.array(chosen)
