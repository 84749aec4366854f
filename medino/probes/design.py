"""The design of a study: all that is the same for every backbone and probe, whatever the target is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from medino.core import InputError
from medino.data import Manifest
from medino.probes.bootstrap import jackknife_counts, patient_counts
from medino.probes.measures import Measured
from medino.probes.sources import Source
from medino.probes.units import Units, first_come

RESAMPLES_A_COMPARISON = 50
"""Resamples drawn for p-values, for each comparison that Holm's correction counts.

The least p of R resamples is 2 / (R + 1), and Holm's first step multiplies it by the number of comparisons m: below
.05, however clear a difference is, only with R of 40 m or more. Ten more leave room for resamples without a value.
"""


@dataclass(frozen=True)
class Draws:
    """What a study draws.

    Attributes:
        shots: numbers of labelled units that will be asked for: of each class, each label or in all.
        draw: patients or images, what the shots are.
        drop_small_classes: leave out classes that can't give the shots or are never tested, and don't refuse them.
        episodes: support sets drawn for each number of shots (E).
        replicates: resamples of the test patients for intervals (R).
        seed: of support sets and resamples.
        comparisons: at most so many differences of one metric are corrected together.
    """

    shots: Sequence[int]
    draw: str
    drop_small_classes: bool
    episodes: int
    replicates: int
    seed: int
    comparisons: int = 0

    @property
    def for_p(self) -> int:
        """Resamples for p-values (P), R or more; the first R of them are those of the intervals."""
        return max(self.replicates, RESAMPLES_A_COMPARISON * self.comparisons)


class Tested:
    """The units that are tested, those that may be drawn, and the resamples of the test patients.

    Args:
        manifest: the labelled set, named in errors.
        units: its labelled units.
        draws: what is drawn.

    Attributes:
        classes: the classes, or labels, in the order of the scores; empty for a continuous target.
        classes_left_out: those of too few patients.
        test: (N,) indices of the test units.
        train: indices of the units that may be drawn.

    Raises:
        InputError: labels or splits can't carry the study.
    """

    def __init__(self, manifest: Manifest, units: Units, draws: Draws) -> None:
        self.units, self.draws = units, draws
        self.classes: list[str] = []
        self.classes_left_out: list[str] = []
        self.test = np.flatnonzero(units.splits == "test")
        self.train = np.flatnonzero(units.splits == "train")
        if len(set(units.patients)) == 1:
            raise InputError(
                f"{manifest.name} has one labelled patient only; a study learns from some and tests others: label more"
            )
        for split, chosen in (("test", self.test), ("train", self.train)):
            if not len(chosen):
                raise InputError(
                    f"no labelled unit of {manifest.name} is in the split {split!r}; assign the splits by patient "
                    "(scan --split_fractions, or medino.data.assign_splits before embedding)"
                )

    @property
    def lacks_class(self) -> np.ndarray | None:
        """(R,) whether each resample of the test patients lacks one of the classes; None where there are none."""
        return None

    def check_apart(self) -> None:
        """Refuse patients on both sides.

        Raises:
            InputError: there are some.
        """
        both = set(self.units.patients[self.train]) & set(self.test_patients)
        if both:
            raise InputError(
                f"{len(both)} patients are in both train and test; assign the splits by patient before the study"
            )

    @property
    def test_patients(self) -> np.ndarray:
        """Keyed hashes of the test patients, in the order of their units."""
        return self._test_patients[0]

    @cached_property
    def _test_patients(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return first_come(self.units.patients[self.test])

    @cached_property
    def patients(self) -> np.ndarray:
        """(U,) the patient of each unit, as integers."""
        return first_come(self.units.patients)[2]

    @cached_property
    def owners(self) -> np.ndarray:
        """Whose the units that may be drawn are, as integers: each one's patient, or itself where images are drawn."""
        if self.draws.draw == "images":
            return np.arange(len(self.train))
        return first_come(self.units.patients[self.train])[2]

    @cached_property
    def weights(self) -> np.ndarray:
        """(1 + J + P, N) how often each test unit counts: once, in each jackknife sample, in each resample."""
        patients, seed = len(self.test_patients), self.draws.seed
        once, left_out = np.ones((1, patients), dtype=np.float32), jackknife_counts(patients, seed)
        counts = np.concatenate([once, left_out, patient_counts(patients, self.draws.for_p, seed)])
        return counts[:, self._test_patients[2]]

    @property
    def resamples(self) -> np.ndarray:
        """(R, N) how often each test unit counts in each resample of the intervals."""
        return self.weights[-self.draws.for_p :][: self.draws.replicates]


class Design(Tested, ABC):
    """Support sets and metrics as well; what the target is, a subclass knows."""

    @abstractmethod
    def support(self, shots: int) -> list[np.ndarray]:
        """For each of E episodes the (S,) units that it learns from."""

    @abstractmethod
    def scores(self, probe: str, source: Source, support: Sequence[np.ndarray]) -> np.ndarray:
        """What a probe says of the test units: (E, N, C) scores of the classes, or (E, N) values."""

    @abstractmethod
    def measure(self, scores: np.ndarray) -> dict[str, Measured]:
        """All metrics of a probe's scores."""

    @abstractmethod
    def outcomes(self, scores: np.ndarray) -> dict[str, pa.Array]:
        """Columns of evidence for each episode and test unit in turn: what is true, and what the scores say."""
