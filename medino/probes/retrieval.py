"""Retrieval: does the neighbourhood of an image hold others of its label? Measured on all labelled images at once.

A query is compared with every labelled image of other patients; those of its own label are relevant. A query without
a relevant image says nothing and is left out. Intervals resample the queries' patients and leave what is searched as
it is.

- Average precision: the mean, over the relevant images, of the precision at each one's rank (Manning, Raghavan and
  Schütze, Introduction to Information Retrieval, 2008, section 8.4). Equal cosines share one rank, as in scikit-learn's
  `average_precision_score`, so that features which tell nothing score the share of relevant images. mAP is the mean
  over the queries.
- Recall at k: whether at least one of the k nearest is relevant (Oh Song et al., Deep Metric Learning via Lifted
  Structured Feature Embedding, arXiv 1511.06452, section 5), which is not the share of the relevant ones that is
  found. Where equal cosines meet the k-th place it is the chance of that under a random order of those (McSherry and
  Najork, ECIR 2008).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from medino.core import InputError, track
from medino.features.neighbours import Parts, cosines_by_part
from medino.probes.bootstrap import patient_counts, percentile_interval

MEAN_AVERAGE_PRECISION = "mAP"

AT_ONCE = 1 << 24
"""Cosines that are held in memory together, 128 MB: all of a query's are needed for its ranks."""


@dataclass(frozen=True)
class RetrievalScore:
    """A metric over the queries.

    Attributes:
        metric: mAP or "recall at k".
        value: its mean over the queries.
        low: lower end of the 95 % interval over the queries' patients.
        high: upper end.
        chance: the mean for features that tell nothing.
    """

    metric: str
    value: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True, eq=False)
class Ranked:
    """What each of Q queries came to.

    Attributes:
        metrics: name and (Q,) values, NaN for a query without a relevant image.
        chance: name and (Q,) what features that tell nothing would come to.
    """

    metrics: dict[str, np.ndarray]
    chance: dict[str, np.ndarray]


def rank_queries(
    queries: np.ndarray,
    query_labels: np.ndarray,
    query_patients: np.ndarray,
    parts: Parts,
    labels: np.ndarray,
    patients: np.ndarray,
    ks: Sequence[int],
) -> Ranked:
    """Compare the queries with all labelled images. Holds `AT_ONCE` cosines, or those of one query where it has more.

    Args:
        queries: (Q, D).
        query_labels: (Q,) integers, the label of each.
        query_patients: (Q,) integers, the patient of each.
        parts: gives N vectors.
        labels: (N,) integers, -1 where there is none.
        patients: (N,) integers.
        ks: how many of the nearest recall looks at.

    Raises:
        InputError: a k is less than 1, or a vector is NaN or infinite.
    """
    if min(ks, default=1) < 1:
        raise InputError(f"recall at {min(ks)} means nothing; give numbers of images from 1")
    labelled = labels >= 0
    searched, owners = labels[labelled], patients[labelled]
    step = max(1, AT_ONCE // max(1, len(searched)))
    names = [MEAN_AVERAGE_PRECISION, *(f"recall at {k}" for k in ks)]
    found, chance = (np.full((len(queries), len(names)), np.nan) for _ in range(2))
    for start in track(range(0, len(queries), step), "retrieval (passes over the features)"):
        some = slice(start, start + step)
        cosines = np.empty((len(queries[some]), len(searched)))
        place = 0
        for row, part in cosines_by_part(queries[some], parts):
            part = part[:, labelled[row : row + part.shape[1]]]
            cosines[:, place : place + part.shape[1]] = part
            place += part.shape[1]
        for query, own in enumerate(cosines, start=start):
            others = owners != query_patients[query]
            relevant = searched[others] == query_labels[query]
            if relevant.any():
                found[query] = _measures(own[others], relevant, ks)
                chance[query] = _measures(np.zeros(len(relevant)), relevant, ks)
    return Ranked(dict(zip(names, found.T, strict=True)), dict(zip(names, chance.T, strict=True)))


def retrieval_scores(ranked: Ranked, patients: np.ndarray, replicates: int, seed: int) -> list[RetrievalScore]:
    """The means over the queries with intervals by patient.

    Args:
        ranked: what each query came to.
        patients: (Q,) integers, the queries' patients.
        replicates: resamples of them.
        seed: draws the resamples.

    Raises:
        InputError: no query has a relevant image, or there are no resamples.
    """
    if replicates < 1:
        raise InputError(f"{replicates} replicates give no interval; give 1000")
    counted = ~np.isnan(ranked.metrics[MEAN_AVERAGE_PRECISION])
    if not counted.any():
        raise InputError(
            "no query has an image of its label that is another patient's, so that there is nothing to find; "
            "label more patients"
        )
    _, owner = np.unique(patients[counted], return_inverse=True)
    images = np.bincount(owner)
    drawn = patient_counts(len(images), replicates, seed).astype(np.float64)
    scores = []
    for metric, values in ranked.metrics.items():
        replicated = (drawn @ np.bincount(owner, values[counted])) / (drawn @ images)
        low, high = percentile_interval(replicated)
        by_chance = float(ranked.chance[metric][counted].mean())
        scores.append(RetrievalScore(metric, float(values[counted].mean()), low, high, by_chance))
    return scores


def average_precision(cosines: np.ndarray, relevant: np.ndarray) -> float:
    """Average precision of one query.

    Args:
        cosines: (N,) of the images searched.
        relevant: (N,) bool, at least one True.
    """
    order = np.argsort(-cosines)
    ranked, hits = cosines[order], np.cumsum(relevant[order])
    last_of_level = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    found = hits[last_of_level]
    return float((np.diff(found, prepend=0) * found / (last_of_level + 1)).sum() / found[-1])


def recall_at(k: int, cosines: np.ndarray, relevant: np.ndarray) -> float:
    """Whether one of the k nearest is relevant; arguments as in `average_precision`."""
    if k >= len(cosines):
        return float(relevant.any())
    threshold = -np.partition(-cosines, k - 1)[k - 1]
    above, level = cosines > threshold, cosines == threshold
    if (above & relevant).any():
        return 1.0
    places, ties, relevant_ties = k - int(above.sum()), int(level.sum()), int((level & relevant).sum())
    if places > ties - relevant_ties:
        return 1.0
    others = ties - relevant_ties
    # One less the chance that all places go to others: binomial(others, places) / binomial(ties, places).
    missed = gammaln(others + 1) - gammaln(others - places + 1) - gammaln(ties + 1) + gammaln(ties - places + 1)
    return float(-np.expm1(missed))


def _measures(cosines: np.ndarray, relevant: np.ndarray, ks: Sequence[int]) -> list[float]:
    return [average_precision(cosines, relevant), *(recall_at(k, cosines, relevant) for k in ks)]
