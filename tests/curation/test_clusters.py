"""Clusters of clusters, and a sample that takes the same from each."""

import numpy as np
import pytest

from medino.curation.clusters import balanced_sample, build_hierarchy, equal_shares, level_sizes

GROUPS = (900, 60, 30, 10)


@pytest.fixture(scope="module")
def lopsided() -> tuple[np.ndarray, np.ndarray]:
    """Vectors in four directions, nine tenths of them in one, and which is which."""
    generator = np.random.default_rng(0)
    group = np.repeat(np.arange(len(GROUPS)), GROUPS)
    return np.eye(8)[group] + generator.normal(0, 0.08, (len(group), 8)), group


def test_balance_takes_from_the_many_and_keeps_the_few(lopsided: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, group = lopsided
    hierarchy = build_hierarchy(vectors, (60, 12, 4), seed=0)
    rows = balanced_sample(hierarchy, 200, seed=0)
    counts = np.bincount(group[rows], minlength=4)
    assert len(rows) == len(set(rows.tolist())) == 200
    # Equal shares of 200 among 900, 60, 30 and 10 are 100, 60, 30 and 10.
    np.testing.assert_array_equal(counts, [100, 60, 30, 10])


def test_every_level_is_made_of_the_one_below(lopsided: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, group = lopsided
    hierarchy = build_hierarchy(vectors, (60, 12, 4), seed=0)
    for level in range(3):
        assert set(hierarchy.cluster_of(level)) == set(range(hierarchy.sizes[level]))
    top = hierarchy.cluster_of(2)
    assert len(set(zip(top.tolist(), group.tolist(), strict=True))) == 4


def test_the_same_seed_gives_the_same_sample_and_another_seed_another(lopsided: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, _ = lopsided

    def drawn(seed: int) -> list[int]:
        return balanced_sample(build_hierarchy(vectors, (60, 12, 4), seed=seed), 200, seed=seed).tolist()

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_resampling_gives_more_centroids_to_what_is_rare(lopsided: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, group = lopsided

    def of_the_many(resamplings: int) -> int:
        cluster = build_hierarchy(vectors, (60,), seed=0, resamplings=resamplings).cluster_of(0)
        return len(set(cluster[group == 0]))

    assert of_the_many(10) < of_the_many(0)


@pytest.mark.parametrize("size", [100, 25_000])
def test_few_and_many_vectors_are_clustered_whole_and_in_batches(size: int) -> None:
    vectors = np.random.default_rng(1).normal(size=(size, 4)).astype(np.float32)
    hierarchy = build_hierarchy(vectors, (40, 5), seed=0, resamplings=1)
    rows = balanced_sample(hierarchy, 50, seed=0)
    assert len(rows) == 50
    counts = np.bincount(hierarchy.cluster_of(1)[rows], minlength=5)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("sizes", "target", "expected"),
    [((10, 1, 5), 9, {1, 4}), ((3, 3, 3), 9, {3}), ((100, 0, 2), 12, {10, 0, 2}), ((5, 5), 0, {0})],
)
def test_shares_are_equal_as_far_as_there_are_images(sizes: tuple[int, ...], target: int, expected: set[int]) -> None:
    shares = equal_shares(np.array(sizes), target, np.random.default_rng(0))
    assert shares.sum() == target
    assert set(shares.tolist()) == expected


def test_levels_are_evenly_spaced() -> None:
    assert level_sizes(10_000) == (1000, 100, 10)
    assert level_sizes(1_000_000) == (10_000, 1000, 32)
    assert level_sizes(1, levels=2) == (1, 1)
