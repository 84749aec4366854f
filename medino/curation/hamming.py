"""Which 64-bit hashes lie within a few bits of each other, found exactly without comparing all with all.

Multi-index hashing (Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", CVPR 2012):
of two hashes that differ in at most r bits, one of their four quarters differs in at most r // 4. So each quarter has a
table, and only hashes that share a bucket, or a neighbouring one, are compared.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

QUARTERS, QUARTER_BITS = 4, 16

AT_ONCE = 1 << 22
"""Comparisons that are held in memory together."""


class HammingIndex:
    """Search among hashes.

    Args:
        hashes: (N,) uint64.
    """

    def __init__(self, hashes: np.ndarray) -> None:
        self.hashes = hashes
        self._order: list[np.ndarray] = []
        self._starts: list[np.ndarray] = []
        for quarter in range(QUARTERS):
            keys = _quarter(hashes, quarter)
            self._order.append(np.argsort(keys, kind="stable"))
            counts = np.bincount(keys, minlength=1 << QUARTER_BITS)
            self._starts.append(np.concatenate([[0], np.cumsum(counts)]))

    def within(self, queries: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
        """All (query, row) with at most `radius` differing bits, each once, ordered.

        Args:
            queries: (Q,) uint64.
            radius: bits.

        Returns:
            Two (M,) int64: places in `queries`, places in `hashes`.
        """
        found = [
            query * len(self.hashes) + row
            for quarter in range(QUARTERS)
            for mask in _masks(radius // QUARTERS)
            for query, row in self._near(queries, radius, quarter, mask)
        ]
        pairs = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
        return pairs // max(len(self.hashes), 1), pairs % max(len(self.hashes), 1)

    def _near(
        self, queries: np.ndarray, radius: int, quarter: int, mask: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What is near enough in one bucket for each query."""
        keys = _quarter(queries, quarter) ^ mask
        starts = self._starts[quarter][keys]
        sizes = self._starts[quarter][keys + 1] - starts
        parts = np.flatnonzero(np.diff(np.cumsum(sizes) // AT_ONCE, prepend=0))
        for some in np.split(np.arange(len(queries)), parts):
            total = int(sizes[some].sum())
            if not total:
                continue
            query = np.repeat(some, sizes[some])
            before = np.repeat(np.cumsum(sizes[some]) - sizes[some], sizes[some])
            row = self._order[quarter][starts[query] + np.arange(total) - before]
            near = np.bitwise_count(queries[query] ^ self.hashes[row]) <= radius
            yield query[near], row[near]


def _quarter(hashes: np.ndarray, quarter: int) -> np.ndarray:
    return ((hashes >> np.uint64(QUARTER_BITS * quarter)) & np.uint64((1 << QUARTER_BITS) - 1)).astype(np.int64)


def _masks(bits: int) -> list[int]:
    """All ways to change at most so many bits of a quarter."""
    return [
        sum(1 << bit for bit in changed)
        for count in range(bits + 1)
        for changed in combinations(range(QUARTER_BITS), count)
    ]
