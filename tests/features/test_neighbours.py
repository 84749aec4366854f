"""The nearest by cosine are exact, of other patients, and found in little memory, from arrays as from files."""

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from medino.core import InputError
from medino.features import FeatureTable
from medino.features import neighbours as module
from medino.features.neighbours import in_parts, nearest
from medino.features.stream import FeatureFile


def table(vectors: np.ndarray, layers: tuple[int, ...] = (1, 2, 3, 4)) -> FeatureTable:
    return FeatureTable(
        sample_ids=np.array([f"s{row}" for row in range(len(vectors))], dtype=object),
        blocks={(layer, "class"): vectors * layer + layer for layer in layers},
        backbone="b",
        manifest="m",
        transform="t",
    )


def by_hand(queries: np.ndarray, own: np.ndarray, vectors: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Rows by scikit-learn's cosines and a full sort."""
    cosines = np.round(cosine_similarity(queries.astype(float), vectors.astype(float)), 13)
    cosines[own[:, None] == groups] = -np.inf
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return np.where(np.isfinite(np.take_along_axis(cosines, order, axis=1)), order, -1)


@pytest.mark.parametrize(("rows_at_once", "queries_at_once"), [(7, 3), (64, 5), (2048, 2048)])
def test_the_nearest_are_those_of_a_full_sort_however_the_vectors_are_parted(
    rows_at_once: int, queries_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", rows_at_once)
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", queries_at_once)
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(300, 8)).astype(np.float32)
    # Copies at other lengths tie; the lower row comes first, also across parts.
    vectors[200:260] = vectors[:60] * 3
    vectors[17] = 0
    groups = generator.integers(0, 40, 300)
    found = nearest(vectors[:50], groups[:50], in_parts(vectors), groups, 12)
    np.testing.assert_array_equal(found.rows, by_hand(vectors[:50], groups[:50], vectors, groups, 12))
    assert (groups[found.rows] != groups[:50, None]).all()


def test_identical_vectors_give_the_first_rows_of_other_patients() -> None:
    found = nearest(np.ones((4, 3)), np.arange(4), in_parts(np.ones((4, 3))), np.arange(4), 2)
    assert found.rows.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]
    np.testing.assert_array_equal(found.cosines, 1)


def test_where_there_are_fewer_the_rest_is_empty() -> None:
    vectors, groups = np.eye(3), np.array([0, 0, 1])
    found = nearest(vectors, groups, in_parts(vectors), groups, 5)
    assert found.rows[:, 0].tolist() == [2, 2, 0]
    assert (found.rows[0, 1:] == -1).all()
    assert np.isnan(found.cosines[0, 1:]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(value: float) -> None:
    vectors = np.ones((4, 3))
    vectors[2, 1] = value
    with pytest.raises(InputError, match="1 of 4 features"):
        nearest(np.ones((1, 3)), np.array([9]), in_parts(vectors), np.arange(4), 1)
    with pytest.raises(InputError, match="at least 1"):
        nearest(np.ones((1, 3)), np.array([9]), in_parts(np.ones((4, 3))), np.arange(4), 0)


def test_memory_is_that_of_a_part_and_not_of_all_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, size, asked, near = 100_000, 64, 140, 5
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 128)
    vectors = np.random.default_rng(0).normal(size=(count, size)).astype(np.float32)
    one_layer = table(vectors, layers=(1,))
    one_layer.write(tmp_path / "f.parquet")
    file = FeatureFile.open(tmp_path / "f.parquet")
    groups = np.arange(count)
    queries = file.take(groups[::701][:asked])
    pool = pa.default_memory_pool()
    held, highest = pool.bytes_allocated(), 0

    def watched():  # type: ignore[no-untyped-def]
        nonlocal highest
        for part in file.parts():
            assert part.size <= module.ROWS_AT_ONCE * size
            highest = max(highest, pool.bytes_allocated() - held)
            yield part

    tracemalloc.start()
    found = nearest(queries, groups[::701][:asked], watched, groups, near)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    cosines = module.ROWS_AT_ONCE * module.QUERIES_AT_ONCE * 8
    part = module.ROWS_AT_ONCE * size * 8
    # The rounded product, its negative, the part of that which is sorted, masks and places; a few copies of a part.
    assert peak < 8 * cosines + 8 * part + 10 * asked * near * 16
    assert peak < vectors.nbytes
    assert highest < vectors.nbytes / 2
    expected = by_hand(queries[:20], groups[::701][:20], one_layer.vectors()[1], groups, near)
    np.testing.assert_array_equal(found.rows[:20], expected)


def test_all_equal_vectors_take_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 128)
    vectors, groups = np.ones((50_000, 4), np.float32), np.arange(50_000)
    tracemalloc.start()
    nearest(vectors[:128], groups[:128], in_parts(vectors), groups, 5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * module.ROWS_AT_ONCE * 128 * 8


@pytest.mark.parametrize("features", ["class", "last_four"])
def test_a_file_gives_what_the_table_gives_across_groups_of_rows(
    features: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Groups of rows end within blocks, and parts within groups.
    monkeypatch.setattr("medino.core.tables.GROUP_ROWS", 37)
    monkeypatch.setattr("medino.features.stream.ROWS_AT_ONCE", 10)
    whole = table(np.random.default_rng(1).normal(size=(64, 3)).astype(np.float32))
    whole.write(tmp_path / "f.parquet")
    file = FeatureFile.open(tmp_path / "f.parquet", features)
    names, vectors = whole.vectors(features)
    assert file.sample_ids.to_pylist() == names.tolist()
    parts = list(file.parts())
    assert [len(part) for part in parts] == [10] * 6 + [4]
    np.testing.assert_array_equal(np.concatenate(parts), vectors)
    np.testing.assert_array_equal(file.take(np.array([63, 0, 12, 0])), vectors[[63, 0, 12, 0]])


def test_a_file_that_lacks_what_is_asked_for_is_refused(tmp_path: Path) -> None:
    table(np.ones((3, 2), np.float32)).write(tmp_path / "f.parquet")
    with pytest.raises(InputError, match="mean_patch"):
        FeatureFile.open(tmp_path / "f.parquet", "mean_patch")
    with pytest.raises(InputError, match="does not exist"):
        FeatureFile.open(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(InputError, match="can't be read as a Parquet table"):
        FeatureFile.open(tmp_path / "text.parquet")
