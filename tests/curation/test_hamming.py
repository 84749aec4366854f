"""The search among hashes finds what comparing all with all finds."""

import numpy as np
import pytest

from medino.curation.hamming import HammingIndex


@pytest.mark.parametrize("radius", [0, 3, 7, 8, 11])
def test_the_search_finds_what_comparing_all_with_all_finds(radius: int) -> None:
    generator = np.random.default_rng(radius)
    hashes = generator.integers(0, 2**63, 300, dtype=np.uint64)
    flips = np.array(
        [sum(1 << int(bit) for bit in generator.choice(64, k % 14, replace=False)) for k in range(300)], np.uint64
    )
    queries = np.concatenate([hashes ^ flips, hashes[:5]])
    query, row = HammingIndex(hashes).within(queries, radius)
    expected = np.argwhere(np.bitwise_count(queries[:, None] ^ hashes) <= radius)
    np.testing.assert_array_equal(np.stack([query, row], axis=1), expected)


def test_a_crowded_bucket_is_searched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medino.curation.hamming.AT_ONCE", 50)
    hashes = np.arange(40, dtype=np.uint64)
    query, row = HammingIndex(hashes).within(hashes, 1)
    expected = np.argwhere(np.bitwise_count(hashes[:, None] ^ hashes) <= 1)
    np.testing.assert_array_equal(np.stack([query, row], axis=1), expected)
