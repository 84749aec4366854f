"""What a study's units look like to a learner: the source of their vectors, bags of vectors, token maps or images.

A source knows all units of a study, training and test alike, by their index. What reads it sees no label.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medino.features import FeatureTable, MapStore
from medino.probes.bags import Bags, max_of_bags, mean_of_bags
from medino.probes.units import Units, rows_of_samples, sample_vectors


@dataclass(frozen=True, eq=False)
class Source:
    """What a study compares under one name; its kinds say in which shape they give the units.

    Attributes:
        name: of the backbone or baseline.
        units: the labelled units.
    """

    name: str
    units: Units


@dataclass(frozen=True, eq=False)
class FeatureSource(Source):
    """Units by a table of features.

    Attributes:
        table: features of all samples of the units.
        features: which of them the study asks for (see `FeatureTable.vectors`).

    Raises:
        InputError: samples without a vector, or vectors that are not finite.
    """

    table: FeatureTable
    features: str

    def __post_init__(self) -> None:
        # All backbones are looked at before the first of them is measured.
        _ = self.vectors

    @cached_property
    def vectors(self) -> np.ndarray:
        """(U, D) float32: one vector a unit, the mean over its samples."""
        return self.vectors_of(self.features)

    @cached_property
    def largest(self) -> np.ndarray:
        """(U, D) float32: one vector a unit, the maximum of each dimension over its samples."""
        return max_of_bags(self._samples(self.features), self.units.unit_of_sample, len(self.units))

    @cached_property
    def bags(self) -> Bags:
        """Each unit as the bag of its samples' vectors."""
        samples = self._samples(self.features)
        return Bags(samples[:, None], np.arange(len(samples)), self.units.unit_of_sample)

    def vectors_of(self, features: str) -> np.ndarray:
        """As `vectors`, of another choice of features than the study's."""
        return mean_of_bags(self._samples(features), self.units.unit_of_sample, len(self.units))

    def _samples(self, features: str) -> np.ndarray:
        """(N, D) float32: one vector a labelled sample."""
        return sample_vectors(self.units, self.table, features, self.name)


@dataclass(frozen=True, eq=False)
class MappedSource(FeatureSource):
    """Units by a table of features and by the patch tokens of the same backbone.

    Attributes:
        maps: of all samples of the units.
    """

    maps: MapStore

    @cached_property
    def tokens(self) -> Bags:
        """Each unit as the bag of all patch tokens of its samples; they stay on the disk."""
        rows = rows_of_samples(self.units, self.maps.sample_ids, f"maps {self.name!r}")
        as_is = self.maps.maps[:, 0]
        images, height, width, channels = as_is.shape
        return Bags(as_is.reshape(images, height * width, channels), rows, self.units.unit_of_sample)
