"""Studies whose target is a number, such as an age or a severity."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from medino.core import InputError
from medino.data import Manifest
from medino.probes.continuous import draw_spread, numbers, probe_values
from medino.probes.design import Design, Draws
from medino.probes.measures import Measured, value_measures
from medino.probes.sources import Source
from medino.probes.units import Units


class ContinuousDesign(Design):
    """k labelled units in all, spread over the range of values.

    Args:
        manifest: the labelled set, named in errors.
        units: its labelled units.
        draws: what is drawn.

    Attributes:
        values: (U,) the units' values.

    Raises:
        InputError: labels or splits can't carry the study.
    """

    def __init__(self, manifest: Manifest, units: Units, draws: Draws) -> None:
        super().__init__(manifest, units, draws)
        self.values = numbers(units.labels, manifest.name)
        for split, chosen in (("test", self.test), ("train", self.train)):
            if len(np.unique(self.values[chosen])) < 2:
                raise InputError(
                    f"all labelled units of {manifest.name} in the split {split!r} have one value, "
                    f"{units.labels[chosen[0]]}; a study of a continuous target needs two or more"
                )
        self.check_apart()
        available = len(set(self.owners.tolist()))
        if available < max(draws.shots):
            raise InputError(
                f"{manifest.name} has {available} labelled training {draws.draw}, fewer than {max(draws.shots)} shots; "
                f"ask for fewer shots, or label more {draws.draw}"
            )

    def support(self, shots: int) -> list[np.ndarray]:
        """For each of E episodes the (shots,) units that it learns from, their values ascending."""
        values = self.values[self.train]
        return [
            self.train[draw_spread(values, self.owners, shots, self.draws.seed, episode)]
            for episode in range(self.draws.episodes)
        ]

    def scores(self, probe: str, source: Source, support: Sequence[np.ndarray]) -> np.ndarray:
        """(E, N) float64 predicted values."""
        drawn = np.stack(support)
        return probe_values(probe, source, drawn, self.values[drawn], self.patients[drawn], self.test)

    def measure(self, scores: np.ndarray) -> dict[str, Measured]:
        """All metrics of (E, N) predicted values."""
        return value_measures(self.values[self.test], scores, self.weights)

    def outcomes(self, scores: np.ndarray) -> dict[str, pa.Array]:
        """Columns of evidence for each episode and test unit in turn."""
        return {
            "target_value": pa.array(np.tile(self.values[self.test], len(scores))),
            "predicted_value": pa.array(scores.reshape(-1)),
        }
