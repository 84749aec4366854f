"""Continuous targets: numbers as labels, which units an episode learns from, and the probes that predict a number.

An episode has k labelled patients in all, spread over the range of values: the training patients are put in the order
of their values and cut into k groups of nearly equal size, and of each group one is drawn.
"""

import math
from collections.abc import Callable

import numpy as np

from medino.core import InputError, numpy_generator
from medino.probes.registry import EPISODES_AT_ONCE
from medino.probes.ridge import ridge
from medino.probes.sources import FeatureSource, Source

Regression = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""From support (E, S, D), values (E, S), queries (Q, D) and patients (E, S), as integers, to values (E, Q)."""

REGRESSIONS: dict[str, Regression] = {"ridge": ridge}


def numbers(labels: np.ndarray, name: str) -> np.ndarray:
    """Labels as numbers.

    Args:
        labels: (U,) texts.
        name: of the labelled set, for errors.

    Returns:
        (U,) float64.

    Raises:
        InputError: labels that are no finite numbers.
    """
    values = np.array([_number(label) for label in labels], dtype=np.float64)
    broken = np.flatnonzero(~np.isfinite(values))
    if len(broken):
        raise InputError(
            f"{len(broken)} of {len(labels)} labelled units of {name} have a label that is no finite number, such as "
            f"{labels[broken[0]]!r}; correct them, or leave them without a label (a continuous target needs numbers "
            "with a decimal point)"
        )
    return values


def draw_spread(values: np.ndarray, owners: np.ndarray, shots: int, seed: int, episode: int) -> np.ndarray:
    """Draw one support set.

    Args:
        values: (U,) of the units that may be drawn.
        owners: (U,) integers: whose unit it is; of each owner one unit is drawn at most.
        shots: k, at most the number of owners.
        seed: the study's seed.
        episode: which draw.

    Returns:
        (k,) indices of units, their values ascending.
    """
    generator = numpy_generator(seed, "support", shots, episode)
    shuffled = generator.permutation(len(values))
    _, first = np.unique(owners[shuffled], return_index=True)
    of_owner = shuffled[first]
    ascending = of_owner[np.argsort(values[of_owner], kind="stable")]
    return np.array([generator.choice(group) for group in np.array_split(ascending, shots)])


def probe_values(
    probe: str, source: Source, support: np.ndarray, values: np.ndarray, patients: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """(E, Q) values of all test units by a probe's name, of (E, S) units, their values and their patients.

    Raises:
        InputError: the source has no vectors.
    """
    if not isinstance(source, FeatureSource):
        raise InputError(f"{source.name!r} is no table of features, which {probe} learns from; leave it out")
    vectors, parts = source.vectors, range(EPISODES_AT_ONCE, len(support), EPISODES_AT_ONCE)
    some = zip(*(np.split(given, parts) for given in (support, values, patients)), strict=True)
    return np.concatenate([REGRESSIONS[probe](vectors[units], known, vectors[test], of) for units, known, of in some])


def _number(label: str) -> float:
    """The number that a text is; NaN where it is none."""
    try:
        return float(label)
    except ValueError:
        return math.nan
