"""Candidates for near-duplicates: the pairs of images whose hashes are near in one of the poses that are tried."""

from collections.abc import Iterator

import numpy as np

from medino.core import track
from medino.curation.hamming import HammingIndex
from medino.curation.hashes import distance, hashes, posed_hashes
from medino.curation.looks import Looks

RADIUS = 7
"""Bits of 64 in which the hashes of a candidate may differ: at most one changed bit a quarter in the exact search."""

LONG_RADIUS = 88
"""Bits of 256 likewise; two unrelated images differ in 128 +- 8. Of LC25000's true pairs 99 % lie within 82."""

MOST_CANDIDATES = 8
"""Candidates that are kept for an image, the nearest ones: a copy is nearer than what only looks alike."""

AT_ONCE = 512


def find_candidates(
    looks: Looks, codes: np.ndarray, usable: np.ndarray, neighbours: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of images whose hashes are near.

    Args:
        looks: a look at each image.
        codes: (N,) only pairs with two different codes are looked for.
        usable: (N,) bool, who takes part.
        neighbours: (M, 2) rows of further candidates.

    Returns:
        Lower and higher row of each pair, once and ordered, and the pose (a place in `poses()`) in which the lower one
        comes nearest to the higher; -1 - pose where it is the higher one that was posed.
    """
    rows = np.flatnonzero(usable)
    short, long = np.zeros(len(usable), np.uint64), np.zeros((len(usable), 4), np.uint64)
    for some in parts(rows):
        short[some], long[some] = hashes(looks.thumbnails[some])
    # What shares its hash with many (a thousand copies) would be compared with all of them.
    distinct = np.unique(short[rows])
    index = HammingIndex(distinct)
    members = _members(short[rows], distinct, rows)
    found: list[np.ndarray] = []
    by_row = _by_first(neighbours, len(usable))
    for some in track(list(parts(rows)), "comparing images"):
        posed_short, posed_long = posed_hashes(looks.thumbnails[some])
        count = posed_short.shape[1]
        query, near = index.within(posed_short.reshape(-1), RADIUS)
        near_rows = members[near]
        query, near_rows = np.repeat(query, near_rows.shape[1]), near_rows.reshape(-1)
        own = some[query // count]
        keep = (near_rows >= 0) & (codes[own] != codes[near_rows]) & (own != near_rows)
        own, other, pose = own[keep], near_rows[keep], (query % count)[keep]
        bits = distance(posed_long.reshape(-1, 4)[query[keep]], long[other])
        near_enough = bits <= LONG_RADIUS
        found.append(_nearest(own[near_enough], other[near_enough], pose[near_enough], bits[near_enough]))
        for place, row in enumerate(some):
            others = by_row.get(int(row), np.empty(0, np.int64))
            others = others[usable[others] & (codes[others] != codes[row]) & (others != row)]
            if len(others):
                bits = distance(posed_long[place][None], long[others][:, None])
                best = bits.argmin(axis=1)
                found.append(np.stack([np.full(len(others), row), others, best, bits.min(axis=1)], axis=1))
    return _each_once(np.concatenate(found) if found else np.empty((0, 4), np.int64))


def parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    """A few rows at a time."""
    for start in range(0, len(rows), AT_ONCE):
        yield rows[start : start + AT_ONCE]


def _members(short: np.ndarray, distinct: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(D, MOST_CANDIDATES) rows of each distinct hash, -1 where there are fewer."""
    table = np.full((len(distinct), MOST_CANDIDATES), -1, np.int64)
    place = np.searchsorted(distinct, short)
    order = np.argsort(place, kind="stable")
    rank = np.arange(len(order)) - np.searchsorted(place[order], place[order])
    keep = rank < MOST_CANDIDATES
    table[place[order][keep], rank[keep]] = rows[order][keep]
    return table


def _by_first(neighbours: np.ndarray | None, count: int) -> dict[int, np.ndarray]:
    """The further candidates of each row."""
    if neighbours is None or not len(neighbours):
        return {}
    order = np.argsort(neighbours[:, 0], kind="stable")
    starts = np.searchsorted(neighbours[order, 0], np.arange(count + 1))
    return {row: neighbours[order[starts[row] : starts[row + 1]], 1] for row in np.unique(neighbours[:, 0]).tolist()}


def _nearest(own: np.ndarray, other: np.ndarray, pose: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """(M, 4) own, other, pose and bits: each pair in its best pose, and for each row its nearest candidates."""
    order = np.lexsort((pose, bits, other, own))
    own, other, pose, bits = own[order], other[order], pose[order], bits[order]
    best = np.ones(len(own), bool)
    best[1:] = (own[1:] != own[:-1]) | (other[1:] != other[:-1])
    own, other, pose, bits = own[best], other[best], pose[best], bits[best]
    order = np.lexsort((other, bits, own))
    rank = np.arange(len(order)) - np.searchsorted(own[order], own[order])
    keep = order[rank < MOST_CANDIDATES]
    return np.stack([own[keep], other[keep], pose[keep], bits[keep]], axis=1)


def _each_once(found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs with the lower row first; of the two ways to find one, the one with fewer bits."""
    own, other, pose, bits = found.T
    first, second = np.minimum(own, other), np.maximum(own, other)
    pose = np.where(own < other, pose, -1 - pose)
    order = np.lexsort((pose, bits, second, first))
    first, second, pose = first[order], second[order], pose[order]
    new = np.ones(len(first), bool)
    new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return first[new], second[new], pose[new]
