"""Studies whose target is one class a unit, with or without an order of the classes."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa

from medino.core import InputError
from medino.data import Manifest
from medino.probes.design import Design, Draws
from medino.probes.episodes import Episodes, check_enough, draw_support, too_small
from medino.probes.measures import Measured, class_measures, ordinal_measures
from medino.probes.registry import probe_scores
from medino.probes.sources import Source
from medino.probes.units import Units


class ClassDesign(Design):
    """Exactly k units a class; the class of highest score is the one predicted.

    Args:
        manifest: the labelled set, named in errors.
        units: its labelled units.
        draws: what is drawn.
        order: the classes from the least to the most, where they have an order.

    Attributes:
        targets: (N,) the test units' classes, as indices.

    Raises:
        InputError: labels or splits can't carry the study.
    """

    def __init__(self, manifest: Manifest, units: Units, draws: Draws, order: Sequence[str] = ()) -> None:
        super().__init__(manifest, units, draws)
        self.order = tuple(order)
        self.classes = sorted({*units.labels[self.train], *units.labels[self.test]})
        if self.order:
            self._put_in_order(manifest.name)
        self.classes_left_out = self._small_classes(max(draws.shots)) if draws.drop_small_classes else []
        if self.classes_left_out:
            self._leave_out()
        self._check_classes()
        self.check_apart()
        for number in draws.shots:
            check_enough(units.labels[self.train], units.patients[self.train], self.classes, number, draws.draw)
        code = {label: place for place, label in enumerate(self.classes)}
        self.targets = np.array([code[label] for label in units.labels[self.test]])

    def _put_in_order(self, name: str) -> None:
        """Take the stated order, which has to name every class once and no other."""
        unknown = [label for label in self.classes if label not in self.order]
        if unknown:
            raise InputError(
                f"the order of classes ({', '.join(self.order)}) lacks {', '.join(map(repr, unknown))}, which units of "
                f"{name} have; name all classes from the least to the most"
            )
        absent = [label for label in self.order if label not in self.classes]
        if absent:
            raise InputError(
                f"no unit of {name} in train or test has the class {absent[0]!r} of the order; name the classes that "
                "there are"
            )
        self.classes = list(self.order)

    def _small_classes(self, shots: int) -> list[str]:
        """Classes that can't give the shots, or that are never tested."""
        labels, tested = self.units.labels[self.train], set(self.units.labels[self.test])
        small = too_small(labels, self.units.patients[self.train], self.classes, shots, self.draws.draw)
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
        """Refuse one class only, and a class that is never tested."""
        if len(self.classes) < 2:
            raise InputError(f"all labelled units are of one class, {self.classes[0]!r}; a study needs two or more")
        tested = set(self.units.labels[self.test])
        for label in self.classes:
            if label not in tested:
                raise InputError(
                    f"class {label!r} has no test patients (there are {len(self.test_patients)} in all); assign the "
                    "splits again or leave such classes out (drop_small_classes)"
                )

    @cached_property
    def lacks_class(self) -> np.ndarray:
        """(R,) whether each resample of the test patients lacks one of the classes."""
        each = [self.resamples[:, self.targets == code].any(axis=1) for code in range(len(self.classes))]
        return ~np.logical_and.reduce(each)

    def support(self, shots: int) -> list[np.ndarray]:
        """For each of E episodes the (C * shots,) units that it learns from, class after class."""
        labels, patients = self.units.labels[self.train], self.units.patients[self.train]
        draws = self.draws
        return [
            self.train[draw_support(labels, patients, self.classes, shots, draws.draw, draws.seed, episode)]
            for episode in range(draws.episodes)
        ]

    def task(self, support: Sequence[np.ndarray]) -> Episodes:
        """What a learner is asked on support sets of this design."""
        classes = np.repeat(np.arange(len(self.classes)), len(support[0]) // len(self.classes))
        drawn = np.stack(support)
        return Episodes(drawn, self.patients[drawn], classes, self.test, len(self.classes), self.draws.seed)

    def scores(self, probe: str, source: Source, support: Sequence[np.ndarray]) -> np.ndarray:
        """(E, N, C) float32 scores of the classes."""
        return probe_scores(probe, source, self.task(support))

    def measure(self, scores: np.ndarray) -> dict[str, Measured]:
        """All metrics of (E, N, C) scores."""
        measured = class_measures(self.targets, scores, self.weights)
        return measured | ordinal_measures(self.targets, scores, self.weights) if self.order else measured

    def outcomes(self, scores: np.ndarray) -> dict[str, pa.Array]:
        """Columns of evidence for each episode and test unit in turn."""
        episodes, count, classes = scores.shape
        names = pa.array(self.classes, pa.string())
        offsets = pa.array(np.arange(episodes * count + 1, dtype=np.int32) * classes)
        return {
            "target": names.take(pa.array(np.tile(self.targets, episodes))),
            "predicted": names.take(pa.array(scores.argmax(axis=2).reshape(-1))),
            "scores": pa.ListArray.from_arrays(offsets, pa.array(scores.reshape(-1))),
        }
