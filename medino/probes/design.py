"""The design of a study: all that is the same for every backbone and probe."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from medino.core import InputError
from medino.data import Manifest
from medino.probes.bootstrap import jackknife_counts, patient_counts
from medino.probes.episodes import Episodes, check_enough, draw_support, too_small
from medino.probes.units import Units, first_come


class Design:
    """Classes, test units, support sets and resamples of the test patients.

    Args:
        manifest: the labelled set, named in errors.
        units: its labelled units.
        shots: numbers of units a class that will be asked for.
        draw: patients or images, what the shots of a class are.
        drop_small_classes: leave out classes that can't give the shots or are never tested, and don't refuse them.
        episodes: support sets drawn for each number of shots (E).
        replicates: resamples of the test patients (R).
        seed: of support sets and resamples.

    Attributes:
        classes: the labels of train and test units, sorted (C).
        classes_left_out: the labels of too few patients, sorted.
        test: (N,) indices of the test units.
        targets: (N,) their classes, as indices.
        test_patients: keyed hashes of the test patients, in the order of their units.

    Raises:
        InputError: labels or splits can't carry the study.
    """

    def __init__(
        self,
        manifest: Manifest,
        units: Units,
        *,
        shots: Sequence[int],
        draw: str,
        drop_small_classes: bool,
        episodes: int,
        replicates: int,
        seed: int,
    ) -> None:
        self.units, self.draw, self.episodes, self.replicates, self.seed = units, draw, episodes, replicates, seed
        self.test = np.flatnonzero(units.splits == "test")
        self.train = np.flatnonzero(units.splits == "train")
        for split, chosen in (("test", self.test), ("train", self.train)):
            if not len(chosen):
                raise InputError(
                    f"no labelled unit of {manifest.name} is in the split {split!r}; assign the splits by patient "
                    "(scan --split_fractions, or medino.data.assign_splits before embedding)"
                )
        self.classes: list[str] = sorted({*units.labels[self.train], *units.labels[self.test]})
        self.classes_left_out = self._small_classes(max(shots)) if drop_small_classes else []
        if self.classes_left_out:
            self._leave_out()
        self._check_classes()
        for number in shots:
            check_enough(units.labels[self.train], units.patients[self.train], self.classes, number, draw)
        code = {label: place for place, label in enumerate(self.classes)}
        self.targets = np.array([code[label] for label in units.labels[self.test]])
        self.test_patients, _, self._patient_of_unit = first_come(units.patients[self.test])

    def _small_classes(self, shots: int) -> list[str]:
        """Classes that can't give the shots, or that are never tested."""
        labels, tested = self.units.labels[self.train], set(self.units.labels[self.test])
        small = too_small(labels, self.units.patients[self.train], self.classes, shots, self.draw)
        return [label for label in self.classes if label in small or label not in tested]

    def _leave_out(self) -> None:
        """Go on without the units of the classes left out."""
        left, out = self.classes, self.classes_left_out
        self.classes = [label for label in left if label not in out]
        if len(self.classes) < 2:
            raise InputError(
                f"without the classes of too few patients ({', '.join(map(repr, out))}) {len(self.classes)} of "
                f"{len(left)} classes are left; a study needs two or more: ask for fewer shots"
            )
        self.test, self.train = (
            part[~np.isin(self.units.labels[part].astype(str), out)] for part in (self.test, self.train)
        )

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
                    "or leave such classes out (drop_small_classes)"
                )
        both = set(units.patients[self.train]) & tested
        if both:
            raise InputError(
                f"{len(both)} patients are in both train and test; assign the splits by patient before the study"
            )

    @cached_property
    def weights(self) -> np.ndarray:
        """(1 + J + R, N) how often each test unit counts: once, in each jackknife sample, in each resample."""
        patients = len(self.test_patients)
        once, left_out = np.ones((1, patients), dtype=np.float32), jackknife_counts(patients, self.seed)
        counts = np.concatenate([once, left_out, patient_counts(patients, self.replicates, self.seed)])
        return counts[:, self._patient_of_unit]

    @cached_property
    def lacks_class(self) -> np.ndarray:
        """(R,) whether each resample of the test patients lacks one of the classes."""
        resamples = self.weights[-self.replicates :]
        each = [resamples[:, self.targets == code].any(axis=1) for code in range(len(self.classes))]
        return ~np.logical_and.reduce(each)

    def support(self, shots: int) -> np.ndarray:
        """(E, C * shots) the units that each episode learns from, class after class."""
        labels, patients = self.units.labels[self.train], self.units.patients[self.train]
        drawn = [
            draw_support(labels, patients, self.classes, shots, self.draw, self.seed, episode)
            for episode in range(self.episodes)
        ]
        return self.train[np.stack(drawn)]

    def task(self, support: np.ndarray) -> Episodes:
        """What a learner is asked on (E, S) support sets of this design."""
        classes = np.repeat(np.arange(len(self.classes)), support.shape[1] // len(self.classes))
        return Episodes(support, classes, self.test, len(self.classes), self.seed)
