"""Bags: the images of a series, a study or a patient, or the tiles of a slide, which share one label.

A probe of vectors is given one vector a bag: the mean of its images' vectors, or their maximum in each dimension, which
keeps what one image alone shows. Attention learns whom to listen to (see `attention`). An image by itself is a bag of
one, whose mean and maximum it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from medino.core import numpy_generator


def mean_of_bags(vectors: np.ndarray, bag: np.ndarray, count: int) -> np.ndarray:
    """(count, D) float32 means.

    Args:
        vectors: (N, D) of the instances.
        bag: (N,) the bag that each is in.
        count: of bags; none of them is empty.
    """
    total = np.zeros((count, vectors.shape[1]), dtype=np.float64)
    np.add.at(total, bag, vectors)
    return (total / np.bincount(bag, minlength=count)[:, None]).astype(np.float32)


def max_of_bags(vectors: np.ndarray, bag: np.ndarray, count: int) -> np.ndarray:
    """(count, D) float32 maxima of each dimension; arguments as in `mean_of_bags`."""
    largest = np.full((count, vectors.shape[1]), -np.inf, dtype=np.float32)
    np.maximum.at(largest, bag, vectors)
    return largest


@dataclass(frozen=True, eq=False)
class Bags:
    """Bags whose instances stay where they are, in memory or on the disk, until they are asked for.

    Attributes:
        instances: (N, T, D): T instances of each of N samples, as a table holds one vector of an image, or a store of
            maps the tokens of all its patches.
        rows: (M,) the rows of `instances` that are in a bag.
        bag: (M,) the bag that each is in.
    """

    instances: np.ndarray
    rows: np.ndarray
    bag: np.ndarray

    def of(self, bags: np.ndarray, at_most: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The instances of some bags.

        Args:
            bags: (B,) which ones.
            at_most: instances of a bag; of a larger one some samples are drawn, the same ones each time.
            seed: of that draw.

        Returns:
            (n, D) float32 and (n,) the place in `bags` of the bag that each is in.
        """
        samples, tokens = [], self.instances.shape[1]
        for number in bags:
            chosen = np.flatnonzero(self.bag == number)
            limit = max(1, at_most // tokens)
            if len(chosen) > limit:
                drawn = numpy_generator(seed, "instances", int(number)).choice(len(chosen), limit, replace=False)
                chosen = chosen[np.sort(drawn)]
            samples.append(chosen)
        place = np.repeat(np.arange(len(bags)), [len(chosen) * tokens for chosen in samples])
        return self.take(np.concatenate(samples)), torch.from_numpy(place)

    def in_parts(self, bags: np.ndarray, at_once: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All instances of some bags, part after part.

        Args:
            bags: (B,) which ones.
            at_once: instances of a part, and no fewer than those of one sample.

        Yields:
            (n, D) float32 and (n,) the place in `bags` of the bag that each is in.
        """
        samples, tokens = np.flatnonzero(np.isin(self.bag, bags)), self.instances.shape[1]
        place = np.empty(max(int(self.bag.max()), int(bags.max())) + 1, dtype=np.int64)
        place[bags] = np.arange(len(bags))
        for some in np.split(samples, range(step := max(1, at_once // tokens), len(samples), step)):
            yield self.take(some), torch.from_numpy(place[self.bag[some]].repeat(tokens))

    def take(self, samples: np.ndarray) -> torch.Tensor:
        """(n * T, D) float32 instances of some samples, given by their place in `rows`."""
        taken = self.instances[self.rows[samples]].astype(np.float32)
        return torch.from_numpy(taken.reshape(-1, taken.shape[-1]))
