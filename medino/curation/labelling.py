"""What to label first: images that are typical of their surroundings and together show all that there is.

- typiclust: k-means into as many clusters as images are wanted, of each the most typical member (Hacohen, Dekel and
  Weinshall, Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets, ICML 2022, arXiv 2202.02794).
  The typicality of an image is the inverse of the mean distance to its nearest neighbours (equation 1).
- kmedoids: images of which one is near to every other, that is of least mean distance to the nearest one chosen (the
  facility location problem; Kaufman and Rousseeuw 1990): k-means++ seeds (Arthur and Vassilvitskii 2007), then the best
  swap of a chosen image for another one until none helps, all swaps weighed at once as in FastPAM (Schubert and
  Rousseeuw 2019, arXiv 1810.05691).

Vectors are compared by direction. Neighbours are those of other patients: the slices of one are no sign of how common
what they show is.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from medino.core import InputError, derive_seed, numpy_generator
from medino.curation.clusters import assigned, k_means
from medino.features.neighbours import in_parts, nearest, unit

METHODS = ("typiclust", "kmedoids")

NEIGHBOURS = 20
"""Nearest neighbours that typicality looks at; half of the cluster where that is less (K_NN of the authors' code)."""

MOST_CLUSTERS, SMALL = 500, 5
"""Clusters at most, and size up to which a cluster is passed over while there are larger ones: the constants
MAX_NUM_CLUSTERS and MIN_CLUSTER_SIZE of the authors' code (avihu111/TypiClust, typiclust.py)."""

STARTS = 10
"""k-means is started so often and its best clusters are taken: from one start it often splits a large group and misses
a rare one (the default of scikit-learn's KMeans when the authors' code called it)."""

MEMBERS = 20_000
"""Members of a cluster that are looked at: of a larger one so many are drawn, because all are compared with all."""

POINTS = 2_000
"""Vectors that medoids are looked for among: of more so many are drawn, the most patients first (CLARA's way, Kaufman
and Rousseeuw 1990, chapter 3), because each swap looks at the distances of all to all."""

LEAST_GAIN = 1e-9
"""Share of the mean distance that a swap has to gain, so that rounding is none."""


def choose_to_label(
    vectors: np.ndarray, patients: np.ndarray, count: int, *, method: str = "typiclust", per_patient: int = 1, seed: int
) -> np.ndarray:
    """Choose the rows to label first.

    Beside the vectors and one copy of them as float32 no array holds more than some 10^7 numbers, however many vectors
    there are.

    Args:
        vectors: (N, D) features.
        patients: (N,) integers, the patient of each.
        count: how many rows are wanted.
        method: typiclust or kmedoids.
        per_patient: rows of one patient at most.
        seed: of k-means and of all draws.

    Returns:
        (count,) rows; for typiclust those of the largest clusters first.

    Raises:
        InputError: there are not so many, a setting means nothing, or vectors are NaN or infinite.
    """
    if method not in METHODS:
        raise InputError(f"there is no method {method!r}; choose one of {', '.join(METHODS)}")
    check_budget(patients, count, per_patient)
    most = POINTS // 2
    if method == "kmedoids" and count > most:
        raise InputError(f"{count} medoids are asked for, more than {most}; choose fewer, or the method typiclust")
    points = np.empty(vectors.shape, np.float32)
    start = 0
    for part in in_parts(vectors)():
        points[start : start + len(part)] = unit(part)
        start += len(part)
    # Sums over several threads end in another last bit every time.
    with threadpool_limits(1), warnings.catch_warnings():
        # That there are fewer different vectors than clusters is dealt with here.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if method == "typiclust":
            return _typiclust(points, patients, count, per_patient, seed)
        return _k_medoids(points, patients, count, per_patient, seed)


def check_budget(patients: np.ndarray, count: int, per_patient: int) -> None:
    """See that so many rows can be chosen.

    Raises:
        InputError: they can't.
    """
    if count < 1 or per_patient < 1:
        raise InputError(f"{count} are to be chosen, {per_patient} of a patient at most; give numbers from 1")
    _, sizes = np.unique(patients, return_counts=True)
    possible = int(np.minimum(sizes, per_patient).sum())
    if count > possible:
        more = "" if possible == len(patients) else " or more of each patient"
        raise InputError(
            f"{count} are to be chosen, but {len(patients)} candidates of {len(sizes)} patients give {possible} with "
            f"at most {per_patient} of a patient; ask for fewer{more}"
        )


def typicality(points: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """(M,) inverse of the mean distance to the nearest members of other patients; 0 where there is none.

    Args:
        points: (M, D) of length 1, the members of a cluster.
        patients: (M,) integers.
    """
    found = nearest(points, patients, in_parts(points), patients, min(NEIGHBOURS, max(1, len(points) // 2)))
    there = found.rows >= 0
    distances = np.sqrt(np.maximum(2 - 2 * np.where(there, found.cosines, 1), 0))
    # As in the authors' code, so that equal images have a finite one.
    mean = distances.sum(axis=1) / np.maximum(there.sum(axis=1), 1) + 1e-5
    return np.where(there.any(axis=1), 1 / mean, 0)


def _typiclust(points: np.ndarray, patients: np.ndarray, count: int, per_patient: int, seed: int) -> np.ndarray:
    centroids = k_means(points, min(count, MOST_CLUSTERS), derive_seed(seed, "labelling"), STARTS)
    cluster, _ = assigned(points, centroids)
    sizes = np.bincount(cluster, minlength=len(centroids))
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]
    queues = {place: _most_typical_first(points, patients, np.flatnonzero(cluster == place), seed) for place in order}
    large = [place for place in order.tolist() if sizes[place] > SMALL]
    small = [place for place in order.tolist() if sizes[place] <= SMALL]
    chosen: list[int] = []
    taken: dict[int, int] = {}
    # Where clusters are fewer than images wanted, or a cluster's patients are taken, another round begins.
    for clusters in (large, large + small):
        before = -1
        while len(chosen) < count and len(chosen) > before:
            before = len(chosen)
            for place in clusters:
                row = next((row for row in queues[place] if taken.get(int(patients[row]), 0) < per_patient), None)
                if row is not None and len(chosen) < count:
                    chosen.append(row)
                    taken[int(patients[row])] = taken.get(int(patients[row]), 0) + 1
                    queues[place].remove(row)
    return np.array(chosen, np.int64)


def _most_typical_first(points: np.ndarray, patients: np.ndarray, members: np.ndarray, seed: int) -> list[int]:
    """A cluster's members, those that are not looked at last."""
    rest = members[:0]
    if len(members) > MEMBERS:
        drawn = numpy_generator(seed, "labelling members", int(members[0])).permutation(members)
        members, rest = np.sort(drawn[:MEMBERS]), drawn[MEMBERS:]
    return [
        *members[np.argsort(-typicality(points[members], patients[members]), kind="stable")].tolist(),
        *rest.tolist(),
    ]


def _k_medoids(points: np.ndarray, patients: np.ndarray, count: int, per_patient: int, seed: int) -> np.ndarray:
    drawn = _drawn(patients, numpy_generator(seed, "labelling points"))
    points, owners = points[drawn], patients[drawn]
    distances = np.sqrt(np.maximum(2 - 2 * (points @ points.T), 0))
    np.fill_diagonal(distances, 0)
    chosen = _seeds(distances, owners, count, per_patient, numpy_generator(seed, "labelling seeds"))
    while True:
        better = _best_swap(distances, owners, chosen, per_patient)
        if better is None:
            return drawn[chosen]
        chosen[better[0]] = better[1]


def _drawn(patients: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(at most POINTS,) rows in order: one of each patient before a second of any."""
    rows = generator.permutation(len(patients))
    if len(rows) <= POINTS:
        return np.sort(rows)
    owners = patients[rows]
    order = np.argsort(owners, kind="stable")
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows)) - np.searchsorted(owners[order], owners[order])
    return np.sort(rows[np.argsort(rank, kind="stable")[:POINTS]])


def _free(owners: np.ndarray, chosen: np.ndarray, per_patient: int) -> np.ndarray:
    """(N,) bool: what may be chosen beside those that are."""
    names, sizes = np.unique(owners[chosen], return_counts=True)
    free = ~np.isin(owners, names[sizes >= per_patient])
    free[chosen] = False
    return free


def _seeds(
    distances: np.ndarray, owners: np.ndarray, count: int, per_patient: int, generator: np.random.Generator
) -> np.ndarray:
    """(count,) rows drawn one after the other, by the squared distance to the nearest one that is drawn."""
    chosen = np.array([generator.integers(len(owners))])
    while len(chosen) < count:
        free = _free(owners, chosen, per_patient)
        weights = np.where(free, distances[chosen].min(axis=0).astype(np.float64) ** 2, 0)
        # Where all that is left equals something drawn, all of it is as good.
        weights = weights if weights.sum() > 0 else free.astype(np.float64)
        chosen = np.append(chosen, generator.choice(len(owners), p=weights / weights.sum()))
    return chosen


def _best_swap(
    distances: np.ndarray, owners: np.ndarray, chosen: np.ndarray, per_patient: int
) -> tuple[int, int] | None:
    """The place of the medoid to give up and the row to take instead, where that lowers the mean distance."""
    to_chosen = distances[:, chosen]
    order = np.argsort(to_chosen, axis=1, kind="stable")
    rows = np.arange(len(distances))
    own, first = order[:, 0], to_chosen[rows, order[:, 0]]
    second = to_chosen[rows, order[:, 1]] if len(chosen) > 1 else np.full(len(rows), np.inf, distances.dtype)
    # What each image gains by a candidate while its own medoid stays, and what it does when that one goes.
    stays = np.minimum(distances - first, 0)
    goes = np.minimum(distances, second) - first
    member = np.zeros((len(rows), len(chosen)), np.float32)
    member[rows, own] = 1
    change = stays.sum(axis=1, dtype=np.float64)[:, None] + (goes - stays).astype(np.float64) @ member
    for place in range(len(chosen)):
        change[~_free(owners, np.delete(chosen, place), per_patient), place] = np.inf
    candidate, place = divmod(int(change.argmin()), len(chosen))
    if change[candidate, place] >= -LEAST_GAIN * max(float(first.sum()), 1.0):
        return None
    return place, candidate
