"""The probes of a study by name, and the one way in which it asks each of them.

Most are functions of vectors, one a unit (`Probe`). What reads more than that (bags of vectors, token maps, images) is
a `Learner` of its own, which takes what it needs from the source.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from medino.probes.attention import Gated, LearnedQuery, attention
from medino.probes.classifiers import knn, nearest_mean
from medino.probes.end_to_end import ImageSource, end_to_end
from medino.probes.episodes import Episodes
from medino.probes.linear_grid import linear_grid
from medino.probes.logistic import logistic
from medino.probes.sources import FeatureSource, MappedSource, Source

Probe = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
"""From support (E, S, D), classes (S,), queries (Q, D) and the number of classes C to scores (E, Q, C)."""

ChoosingProbe = Callable[[np.ndarray, np.ndarray, np.ndarray, int, np.ndarray], np.ndarray]
"""The same with patients (E, S), as integers, whom a probe that chooses a setting on the support set keeps together."""

AnySource = TypeVar("AnySource", bound=Source)

EPISODES_AT_ONCE = 64
"""Episodes whose support vectors are gathered at once."""


@dataclass(frozen=True)
class Learner(Generic[AnySource]):
    """A probe as a study asks it.

    Attributes:
        reads: the kind of source that it learns from.
        scores: from such a source and episodes to (E, Q, C) scores of the test units; the class of highest score is
            the one predicted.
    """

    reads: type[AnySource]
    scores: Callable[[AnySource, Episodes], np.ndarray]


def choosing_nothing(probe: Probe) -> ChoosingProbe:
    """A probe without a setting to choose, which needs no patients, as one that is given them."""
    return lambda support, classes, queries, num_classes, patients: probe(support, classes, queries, num_classes)


def on_vectors(probe: ChoosingProbe, largest: bool = False) -> Learner[FeatureSource]:
    """A probe of vectors as a learner: one vector a unit, some episodes at a time.

    Args:
        probe: of vectors.
        largest: the vector of a unit of several images is the maximum of theirs, and not the mean.
    """

    def scores(source: FeatureSource, episodes: Episodes) -> np.ndarray:
        vectors, parts = source.largest if largest else source.vectors, []
        for start in range(0, len(episodes.support), EPISODES_AT_ONCE):
            some = slice(start, start + EPISODES_AT_ONCE)
            support, patients = vectors[episodes.support[some]], episodes.patients[some]
            parts.append(probe(support, episodes.classes, vectors[episodes.test], episodes.num_classes, patients))
        return np.concatenate(parts)

    return Learner(FeatureSource, scores)


ATTENTIVE = "attentive"
"""What is asked only of backbones whose patch tokens were kept."""

ON_VECTORS: dict[str, ChoosingProbe] = {
    "nearest_mean": choosing_nothing(nearest_mean),
    "knn": choosing_nothing(knn),
    "logistic": logistic,
}

PROBES: dict[str, Learner[Any]] = {
    **{name: on_vectors(probe) for name, probe in ON_VECTORS.items()},
    **{f"{name}_max": on_vectors(probe, largest=True) for name, probe in ON_VECTORS.items()},
    "linear_grid": Learner(FeatureSource, linear_grid),
    "abmil": Learner(FeatureSource, lambda source, episodes: attention(Gated, source.bags, episodes)),
    ATTENTIVE: Learner(MappedSource, lambda source, episodes: attention(LearnedQuery, source.tokens, episodes)),
}
"""What a study can be asked for."""

END_TO_END = "end_to_end"
"""What is asked of images, whatever probes of features are asked for: a small network trained on the shots alone."""

LEARNERS: dict[str, Learner[Any]] = {**PROBES, END_TO_END: Learner(ImageSource, end_to_end)}


def probe_scores(probe: str, source: Source, episodes: Episodes) -> np.ndarray:
    """(E, Q, C) float32 scores of all test units by a learner's name, episode by episode."""
    return np.asarray(LEARNERS[probe].scores(source, episodes), dtype=np.float32)
