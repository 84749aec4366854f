"""Studies whose target is any number of labels a unit."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa

from medino.core import InputError
from medino.data import Manifest
from medino.probes.design import Design, Draws
from medino.probes.measures import PREDICTED_ABOVE, Measured, label_measures
from medino.probes.multilabel import draw_labelled, label_sets, one_against_rest
from medino.probes.sources import Source
from medino.probes.units import Units


class MultilabelDesign(Design):
    """At least k units with and k without each label; a label whose probability is above one half is predicted.

    Args:
        manifest: the labelled set, named in errors.
        units: its labelled units.
        draws: what is drawn.
        separator: what stands between a unit's labels; alone, it says that the unit has none.

    Attributes:
        member: (U, L) whether each unit has each label.

    Raises:
        InputError: labels or splits can't carry the study.
    """

    def __init__(self, manifest: Manifest, units: Units, draws: Draws, separator: str) -> None:
        super().__init__(manifest, units, draws)
        self.separator = separator
        sets = label_sets(units.labels, separator)
        self.classes = sorted(set().union(*(sets[unit] for unit in (*self.train, *self.test))))
        if not self.classes:
            raise InputError(f"no unit of {manifest.name} in train or test has a label besides {separator!r}")
        self.member = np.array([[label in own for label in self.classes] for own in sets], dtype=bool)
        self.check_apart()
        self._settle_labels()

    def _settle_labels(self) -> None:
        """Refuse labels that can't be learnt or tested, or leave them out."""
        problems = {label: self._problem(place) for place, label in enumerate(self.classes)}
        small = {label: problem for label, problem in problems.items() if problem}
        if not small:
            return
        if not self.draws.drop_small_classes:
            told = "; ".join(f"label {label!r} has {problem}" for label, problem in small.items())
            raise InputError(
                f"{told}; ask for fewer shots, label more {self.draws.draw}, or leave such labels out "
                "(drop_small_classes)"
            )
        kept = [place for place, label in enumerate(self.classes) if label not in small]
        if not kept:
            raise InputError(
                f"each of the {len(small)} labels has too few patients with or without it; ask for fewer shots"
            )
        self.classes_left_out = list(small)
        self.classes, self.member = [self.classes[place] for place in kept], self.member[:, kept]

    def _problem(self, label: int) -> str:
        """What a label lacks, in words; empty where it lacks nothing."""
        shots = max(self.draws.shots)
        for wanted, how in ((True, "with"), (False, "without")):
            has = self.member[:, label] == wanted
            owners = len(set(self.owners[has[self.train]].tolist()))
            if owners < shots:
                return f"{owners} training {self.draws.draw} {how} it, fewer than {shots} shots"
            if not has[self.test].any():
                return f"no test patient {how} it"
        return ""

    @cached_property
    def lacks_class(self) -> np.ndarray:
        """(R,) whether in each resample of the test patients all, or none, have one of the labels."""
        tested = self.member[self.test]
        positive = self.resamples @ tested.astype(np.float32)
        return ((positive == 0) | (positive == self.resamples.sum(axis=1, keepdims=True))).any(axis=1)

    def support(self, shots: int) -> list[np.ndarray]:
        """For each of E episodes the units that it learns from, in the order of the draw."""
        member = self.member[self.train]
        return [
            self.train[draw_labelled(member, self.owners, self.classes, shots, self.draws.seed, episode)]
            for episode in range(self.draws.episodes)
        ]

    def scores(self, probe: str, source: Source, support: Sequence[np.ndarray]) -> np.ndarray:
        """(E, N, L) float32 probabilities of the labels."""
        return one_against_rest(probe, source, support, self.member, self.patients, self.test, self.draws.seed)

    def measure(self, scores: np.ndarray) -> dict[str, Measured]:
        """All metrics of (E, N, L) probabilities."""
        return label_measures(self.member[self.test], scores, self.weights)

    def outcomes(self, scores: np.ndarray) -> dict[str, pa.Array]:
        """Columns of evidence for each episode and test unit in turn."""
        episodes, count, labels = scores.shape
        offsets = pa.array(np.arange(episodes * count + 1, dtype=np.int32) * labels)
        said = (scores > PREDICTED_ABOVE).reshape(-1, labels)
        return {
            "target": pa.array([self._joined(row) for row in self.member[self.test]] * episodes, pa.string()),
            "predicted": pa.array([self._joined(row) for row in said], pa.string()),
            "scores": pa.ListArray.from_arrays(offsets, pa.array(scores.reshape(-1))),
        }

    def _joined(self, has: np.ndarray) -> str:
        """Labels as the manifest writes them."""
        return self.separator.join(self.classes[label] for label in np.flatnonzero(has)) or self.separator
