"""Nearest vectors by cosine: exact, a part of the vectors at a time, never of the query's own patient.

Beside the queries and what is found, no array holds more than `AT_ONCE` numbers, however many vectors there are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from medino.core import InputError

Parts = Callable[[], Iterator[np.ndarray]]
"""Gives the vectors (n, D) part by part, in the order of their rows; called once for each pass over them."""

ROWS_AT_ONCE = 2048
"""Vectors of a part."""

QUERIES_AT_ONCE = 2048
"""Queries that are compared in one pass over the vectors."""

AT_ONCE = ROWS_AT_ONCE * QUERIES_AT_ONCE
"""Cosines that are held in memory together: 32 MB, and as much again a few times over while they are ranked."""

DECIMALS = 13
"""Cosines are rounded so that equal vectors tie whatever order a float64 product sums in, and no coarser: those of an
untrained backbone, all nearly one vector, differ by some 1e-10, and it must not lose to a trained one by rounding."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest vectors of Q queries, the nearest first; of equally near ones the one of the lower row.

    Attributes:
        rows: (Q, K) int64, -1 where there are no more.
        cosines: (Q, K) float64, NaN there.
    """

    rows: np.ndarray
    cosines: np.ndarray


def nearest(queries: np.ndarray, query_groups: np.ndarray, parts: Parts, groups: np.ndarray, count: int) -> Neighbours:
    """Find the vectors nearest to each query among those of other groups.

    Args:
        queries: (Q, D).
        query_groups: (Q,) integers: the patient of each query.
        parts: gives N vectors.
        groups: (N,) the patient of each.
        count: how many are looked for (K).

    Raises:
        InputError: K is less than 1, or a vector is NaN or infinite.
    """
    if count < 1:
        raise InputError(f"{count} neighbours are asked for; ask for at least 1")
    found = [
        _nearest(
            queries[start : start + QUERIES_AT_ONCE],
            query_groups[start : start + QUERIES_AT_ONCE],
            parts,
            groups,
            count,
        )
        for start in range(0, len(queries), QUERIES_AT_ONCE)
    ]
    empty = np.empty((0, count))
    rows, cosines = zip(*found, strict=True) if found else ((empty.astype(np.int64),), (empty,))
    return Neighbours(np.concatenate(rows), np.concatenate(cosines))


def cosines_by_part(queries: np.ndarray, parts: Parts) -> Iterator[tuple[int, np.ndarray]]:
    """The first row of each part and (Q, n) float64 cosines of the queries with its vectors; a zero vector has 0.

    Args:
        queries: (Q, D), so few that Q times the vectors of a part can be held.
        parts: gives the vectors.

    Raises:
        InputError: a vector is NaN or infinite.
    """
    directions, start = unit(queries), 0
    for part in parts():
        yield start, np.round(directions @ unit(part).T, DECIMALS)
        start += len(part)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of (N, D) at length 1, float64; a row of zeros stays.

    Raises:
        InputError: a vector is NaN or infinite.
    """
    broken = int((~np.isfinite(vectors).all(axis=1)).sum())
    if broken:
        raise InputError(
            f"{broken} of {len(vectors)} features that are looked at together are NaN or infinite; check the weights "
            "and the images, and embed again"
        )
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(length > 0, length, 1)
    return vectors


def in_parts(vectors: np.ndarray) -> Parts:
    """The parts of vectors (N, D) that are in memory."""
    return lambda: (vectors[start : start + ROWS_AT_ONCE] for start in range(0, len(vectors), ROWS_AT_ONCE))


def _nearest(
    queries: np.ndarray, own: np.ndarray, parts: Parts, groups: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and cosines (Q, K) of the nearest after one pass."""
    rows = np.full((len(queries), count), -1, np.int64)
    best = np.full((len(queries), count), -np.inf)
    for start, cosines in cosines_by_part(queries, parts):
        width = cosines.shape[1]
        cosines[own[:, None] == groups[start : start + width]] = -np.inf
        least = best[:, -1:]
        if count < width:
            least = np.maximum(
                least, np.nextafter(-np.partition(-cosines, count - 1, axis=1)[:, count - 1 : count], -2)
            )
        # Rows come in their order, so that one that is only as near as the last that is held stays out.
        query, place = np.nonzero(cosines > least)
        if len(query):
            best, rows = _merged(best, rows, query, start + place, cosines[query, place])
    return rows, np.where(rows >= 0, best, np.nan)


def _merged(
    best: np.ndarray, rows: np.ndarray, query: np.ndarray, row: np.ndarray, cosine: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of those held (Q, K) and of those new, each with its query, row and cosine."""
    asked, count = best.shape
    # Those held come first, and their rows are lower: a stable sort leaves them before their equals.
    query = np.concatenate([np.repeat(np.arange(asked), count), query])
    row, cosine = np.concatenate([rows.reshape(-1), row]), np.concatenate([best.reshape(-1), cosine])
    order = np.lexsort((-cosine, query))
    rank = np.arange(len(order)) - np.searchsorted(query[order], query[order])
    keep = order[rank < count]
    return cosine[keep].reshape(asked, count), row[keep].reshape(asked, count)
