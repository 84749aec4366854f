"""Few-shot outcomes of several trainings side by side: their mean, and the paired interval of a difference.

Seeds are averaged inside each resample of the test patients, and all trainings share the resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medino.probes import balanced_accuracy_replicates, of_kind, patient_counts, percentile_interval

REPLICATES, EPISODES = 2000, 50


@dataclass(frozen=True)
class Outcomes:
    """What a probe said of every test image in every episode.

    Attributes:
        predicted: (E, N) classes as integers.
        targets: (N,) true classes.
        patients: (N,) places of the patients among all test patients.
    """

    predicted: np.ndarray
    targets: np.ndarray
    patients: np.ndarray

    @property
    def test_patients(self) -> int:
        """How many patients were tested."""
        return len(np.unique(self.patients))


@dataclass(frozen=True)
class Difference:
    """A paired difference of balanced accuracy: mean over seeds, 95 % interval, each seed's own."""

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]

    def __str__(self) -> str:
        return f"**{self.value:+.3f}** [{self.low:+.3f}, {self.high:+.3f}]"


def outcomes(evidence: pa.Table, backbone: str, probe: str, shots: int) -> Outcomes:
    """The outcomes of one backbone, probe and number of shots in a study's evidence."""
    rows = of_kind(evidence, "outcome", shots=shots, probe=probe)
    rows = rows.filter(pc.equal(rows["backbone"], backbone))
    rows = rows.sort_by([("episode", "ascending"), ("unit_id", "ascending")])
    episodes = pc.max(rows["episode"]).as_py() + 1
    one_episode = rows.slice(0, len(rows) // episodes)
    names = one_episode["patient"].to_pylist()
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    classes, targets = np.unique(one_episode["target"].to_pylist(), return_inverse=True)
    return Outcomes(
        predicted=np.searchsorted(classes, rows["predicted"].to_pylist()).reshape(episodes, -1),
        targets=targets,
        patients=np.array([places[name] for name in names]),
    )


def together(probes: Sequence[Outcomes]) -> Outcomes:
    """What several probes said of the same test images, as one: each counts alike."""
    return replace(probes[0], predicted=np.concatenate([probe.predicted for probe in probes]))


def accuracy(seeds: Sequence[Outcomes], weights: np.ndarray | None = None) -> np.ndarray:
    """(R,) balanced accuracy, averaged over seeds, where the test images count as `weights` (R, N) say; (1,): alike."""
    targets = seeds[0].targets
    if weights is None:
        weights = np.ones((1, len(targets)), dtype=np.float32)
    return balanced_accuracy_replicates(targets, np.concatenate([seed.predicted for seed in seeds]), weights)


def difference(after: Sequence[Outcomes], before: Sequence[Outcomes]) -> Difference:
    """How much better the one is than the other, seed by seed on the same test images."""
    patients = after[0].patients
    drawn = patient_counts(after[0].test_patients, REPLICATES, seed=0)[:, patients]
    low, high = percentile_interval(accuracy(after, drawn) - accuracy(before, drawn))
    by_seed = tuple(float(accuracy([one])[0] - accuracy([other])[0]) for one, other in zip(after, before, strict=True))
    return Difference(float(accuracy(after)[0] - accuracy(before)[0]), low, high, by_seed)
