"""The design of a study: all that is the same for every backbone and probe."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from medino.core import InputError
from medino.data import Manifest
from medino.probes.bootstrap import patient_counts
from medino.probes.episodes import check_enough_patients, draw_support
from medino.probes.units import Units, first_come


class Design:
    """Classes, test units, support sets and resamples of the test patients.

    Args:
        manifest: the labelled set, named in errors.
        units: its labelled units.
        shots: numbers of units a class that will be asked for.
        episodes: support sets drawn for each number of shots (E).
        replicates: resamples of the test patients (R).
        seed: of support sets and resamples.

    Attributes:
        classes: the labels of train and test units, sorted (C).
        test: (N,) indices of the test units.
        targets: (N,) their classes, as indices.
        test_patients: keyed hashes of the test patients, in the order of their units.

    Raises:
        InputError: labels or splits can't carry the study.
    """

    def __init__(
        self, manifest: Manifest, units: Units, *, shots: Sequence[int], episodes: int, replicates: int, seed: int
    ) -> None:
        self.units, self.episodes, self.replicates, self.seed = units, episodes, replicates, seed
        self.test = np.flatnonzero(units.splits == "test")
        self.train = np.flatnonzero(units.splits == "train")
        for split, chosen in (("test", self.test), ("train", self.train)):
            if not len(chosen):
                raise InputError(
                    f"no labelled unit of {manifest.name} is in the split {split!r}; assign the splits by patient "
                    "(scan --split_fractions, or medino.data.assign_splits before embedding)"
                )
        self.classes: list[str] = sorted({*units.labels[self.train], *units.labels[self.test]})
        self._check_classes()
        for number in shots:
            check_enough_patients(units.labels[self.train], units.patients[self.train], self.classes, number)
        code = {label: place for place, label in enumerate(self.classes)}
        self.targets = np.array([code[label] for label in units.labels[self.test]])
        self.test_patients, _, self._patient_of_unit = first_come(units.patients[self.test])

    def _check_classes(self) -> None:
        """Refuse one class only, a class that is never tested, and patients on both sides."""
        units = self.units
        if len(self.classes) < 2:
            raise InputError(f"all labelled units are of one class, {self.classes[0]!r}; a study needs two or more")
        tested = set(units.patients[self.test])
        for label in self.classes:
            if not (units.labels[self.test] == label).any():
                raise InputError(
                    f"class {label!r} has no test patients (there are {len(tested)} in all); assign the splits again "
                    "or leave that class out"
                )
        both = set(units.patients[self.train]) & tested
        if both:
            raise InputError(
                f"{len(both)} patients are in both train and test; assign the splits by patient before the study"
            )

    @cached_property
    def weights(self) -> np.ndarray:
        """(R, N) how often each test unit counts in each resample of the test patients."""
        return patient_counts(len(self.test_patients), self.replicates, self.seed)[:, self._patient_of_unit]

    def support(self, shots: int) -> np.ndarray:
        """(E, C * shots) the units that each episode learns from, class after class."""
        labels, patients = self.units.labels[self.train], self.units.patients[self.train]
        drawn = [
            draw_support(labels, patients, self.classes, shots, self.seed, episode) for episode in range(self.episodes)
        ]
        return self.train[np.stack(drawn)]
