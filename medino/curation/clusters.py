"""Balance by clusters of features: hierarchical k-means with resampling, then sampling from the top down.

Vo et al., "Automatic Data Curation for Self-Supervised Learning: A Clustering-Based Approach" (arXiv 2405.15613). Plain
k-means puts most of its centroids where most images are, so that one share from each cluster keeps the imbalance.
Clusters of centroids spread more evenly over what there is to see, and more so where each level is clustered anew on
no more than a few members of each cluster, those nearest its centroid (resampling).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from threadpoolctl import threadpool_limits

from medino.core import derive_seed, numpy_generator

LEVELS = 3
"""Levels of clusters; the paper takes four for its 743 million images."""

RESAMPLINGS = 10
"""How often a level is clustered anew, as in the configuration that the paper's authors published
(facebookresearch/ssl-data-curation, 4levels_web_based_images.yaml)."""

STANDING = 0.5
"""Members of a cluster that stand for it in a resampling, as a share of the mean cluster: as in that configuration."""

LARGEST_WHOLE = 20_000
"""Points up to which k-means sees all of them in every iteration. More come in batches, for the sake of memory, and are
not resampled, for the sake of time: that is the lowest level of a large table, which the published configuration does
not resample either."""

BATCH, EPOCHS = 4096, 10
MOST_CLUSTERS = 10_000
"""Clusters of the lowest level at most: 100 images each of a million. The published configuration has 74 each."""

ASSIGNED_AT_ONCE = 1 << 24
"""Distances that are held in memory together."""


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Clusters of clusters.

    Attributes:
        parents: for each level, from the lowest, the cluster of each of its points; the points of a level are the
            clusters of the one below.
        sizes: clusters of each level.
    """

    parents: tuple[np.ndarray, ...]
    sizes: tuple[int, ...]

    def cluster_of(self, level: int) -> np.ndarray:
        """(N,) the cluster of each image at a level, 0 the lowest."""
        cluster = self.parents[0]
        for parents in self.parents[1 : level + 1]:
            cluster = parents[cluster]
        return cluster


def level_sizes(count: int, levels: int = LEVELS) -> tuple[int, ...]:
    """Clusters of each level for so many images: evenly spaced in the exponent, the highest level the fewest.

    Ten thousand images make 1,000, 100 and 10 clusters. The paper's own numbers fall by a factor of 5 to 20 a level.
    """
    sizes = [max(1, round(count ** ((levels - level) / (levels + 1)))) for level in range(levels)]
    sizes = [min(size, MOST_CLUSTERS) for size in sizes]
    return tuple(sizes)


def build_hierarchy(
    vectors: np.ndarray,
    sizes: Sequence[int],
    *,
    seed: int,
    resamplings: int = RESAMPLINGS,
) -> Hierarchy:
    """Cluster vectors, then the centroids, and so on.

    Args:
        vectors: (N, D) features; they are compared by direction.
        sizes: clusters of each level, from the lowest; more than there are points is cut to that.
        seed: of k-means and of nothing else: the number of threads changes nothing.
        resamplings: how often each level is clustered anew.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    points = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    parents, found = [], []
    # Sums over several threads end in another last bit every time.
    with threadpool_limits(1):
        for level, size in enumerate(sizes):
            centroids = k_means(points, size, derive_seed(seed, "curation", level))
            cluster, squared = assigned(points, centroids)
            nearest = max(1, round(STANDING * len(points) / len(centroids)))
            for again in range(resamplings if len(points) <= LARGEST_WHOLE else 0):
                some = _closest(cluster, squared, nearest)
                centroids = k_means(points[some], size, derive_seed(seed, "curation", level, again))
                cluster, squared = assigned(points, centroids)
            used, cluster = np.unique(cluster, return_inverse=True)
            parents.append(cluster.reshape(-1))
            found.append(len(used))
            points = centroids[used]
    return Hierarchy(tuple(parents), tuple(found))


def balanced_sample(hierarchy: Hierarchy, target: int, *, seed: int) -> np.ndarray:
    """Choose images so that every cluster of the top level gives as many as the others, as far as it has them.

    The same holds for the clusters within a cluster, down to the lowest level, whose images are drawn at random.

    Args:
        hierarchy: the clusters.
        target: how many images.
        seed: draws the images.

    Returns:
        (target,) rows in order.
    """
    top = len(hierarchy.parents) - 1
    count = len(hierarchy.parents[0])
    weights: list[np.ndarray] = [np.bincount(hierarchy.parents[0], minlength=hierarchy.sizes[0])]
    for level, (_, size) in enumerate(pairwise(hierarchy.sizes), start=1):
        weights.append(np.bincount(hierarchy.parents[level], weights[-1], size).astype(np.int64))
    shares = equal_shares(weights[top], min(target, count), numpy_generator(seed, "curation share", top))
    for level in range(top, 0, -1):
        lower = np.zeros(hierarchy.sizes[level - 1], np.int64)
        for cluster, members in enumerate(_members(hierarchy.parents[level], hierarchy.sizes[level])):
            generator = numpy_generator(seed, "curation share", level - 1, cluster)
            lower[members] = equal_shares(weights[level - 1][members], int(shares[cluster]), generator)
        shares = lower
    chosen = [
        numpy_generator(seed, "curation image", cluster).permutation(members)[: shares[cluster]]
        for cluster, members in enumerate(_members(hierarchy.parents[0], hierarchy.sizes[0]))
    ]
    return np.sort(np.concatenate(chosen))


def equal_shares(sizes: np.ndarray, target: int, generator: np.random.Generator) -> np.ndarray:
    """The same number from each cluster, all of it where it has fewer; what is left over goes to drawn clusters.

    Args:
        sizes: (K,) images in each cluster.
        target: their sum at the end, at most that of `sizes`.
        generator: draws who gets one more.
    """
    low, high = 0, int(sizes.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(sizes, middle).sum() <= target else (low, middle - 1)
    shares = np.minimum(sizes, low)
    more = np.flatnonzero(sizes > low)
    shares[generator.permutation(more)[: target - int(shares.sum())]] += 1
    return shares


def k_means(points: np.ndarray, size: int, seed: int, starts: int = 1) -> np.ndarray:
    """(K, D) centroids.

    Args:
        points: (N, D) float32.
        size: clusters; more than there are points is cut to that.
        seed: of the starting centroids.
        starts: the best of so many is taken; of one where points come in batches.
    """
    size = min(size, len(points))
    if len(points) <= LARGEST_WHOLE:
        clustering = KMeans(size, n_init=starts, random_state=seed % 2**32)
    else:
        # k-means++ would look at all points once for each of the thousands of clusters.
        clustering = MiniBatchKMeans(
            size,
            init="random",
            n_init=1,
            max_iter=EPOCHS,
            batch_size=max(BATCH, size),
            random_state=seed % 2**32,
        )
    return clustering.fit(points).cluster_centers_.astype(np.float32)


def assigned(points: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid of each point, and the squared distance to it."""
    cluster, squared = np.empty(len(points), np.int64), np.empty(len(points), np.float32)
    lengths = (centroids**2).sum(axis=1)
    step = max(1, ASSIGNED_AT_ONCE // len(centroids))
    for start in range(0, len(points), step):
        some = points[start : start + step]
        distance = lengths - 2 * (some @ centroids.T)
        cluster[start : start + step] = distance.argmin(axis=1)
        squared[start : start + step] = distance.min(axis=1) + (some**2).sum(axis=1)
    return cluster, squared


def _closest(cluster: np.ndarray, squared: np.ndarray, nearest: int) -> np.ndarray:
    """Rows of the points nearest to their cluster's centroid."""
    order = np.lexsort((squared, cluster))
    rank = np.arange(len(order)) - np.searchsorted(cluster[order], cluster[order])
    return np.sort(order[rank < nearest])


def _members(cluster: np.ndarray, size: int) -> list[np.ndarray]:
    """The points of each cluster."""
    order = np.argsort(cluster, kind="stable")
    return np.split(order, np.searchsorted(cluster[order], np.arange(1, size)))
