import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from medino.core import InputError
from medino.features import FeatureTable

VECTORS = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
TABLE = FeatureTable(
    sample_ids=np.array(["a", "b", "c", "d"], dtype=object),
    blocks={(layer, "class"): VECTORS + layer for layer in (1, 2, 3, 4)} | {(1, "mean_patch"): -VECTORS[:, :3]},
    backbone="backbone's fingerprint",
    manifest="manifest's fingerprint",
    transform="transform's fingerprint",
    rejects=("e",),
    facts={"backbone": "mini"},
)


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    TABLE.write(tmp_path / "features.parquet")
    again = FeatureTable.read(tmp_path / "features.parquet")
    assert again.sample_ids.tolist() == TABLE.sample_ids.tolist()
    assert set(again.blocks) == set(TABLE.blocks)
    for block, vectors in TABLE.blocks.items():
        np.testing.assert_array_equal(again.blocks[block], vectors)
        assert again.blocks[block].dtype == np.float32
    for name in ("backbone", "manifest", "transform", "rejects", "facts"):
        assert getattr(again, name) == getattr(TABLE, name)


def test_the_file_says_what_it_was_made_from(tmp_path: Path) -> None:
    TABLE.write(tmp_path / "features.parquet")
    facts = pq.read_schema(tmp_path / "features.parquet").metadata
    assert facts[b"backbone"] == b"backbone's fingerprint"
    assert facts[b"schema_version"] == b"1"


def test_a_file_that_lost_its_facts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "features.parquet"
    TABLE.write(path)
    table = pq.read_table(path)
    facts = {name: value for name, value in table.schema.metadata.items() if name != b"transform"}
    pq.write_table(table.replace_schema_metadata(facts), path)
    with pytest.raises(InputError, match="lacks the metadata transform"):
        FeatureTable.read(path)


def test_features_are_put_together_from_layers_and_poolings() -> None:
    np.testing.assert_array_equal(TABLE.vectors("class")[1], VECTORS + 1)
    np.testing.assert_array_equal(TABLE.vectors("mean_patch")[1], -VECTORS[:, :3])
    np.testing.assert_array_equal(TABLE.vectors("class_and_mean_patch")[1], np.hstack([VECTORS + 1, -VECTORS[:, :3]]))
    np.testing.assert_array_equal(TABLE.vectors("last_four")[1], np.hstack([VECTORS + n for n in (4, 3, 2, 1)]))


def test_a_baseline_answers_for_every_choice() -> None:
    baseline = dataclasses.replace(TABLE, blocks={(0, "whole_image"): VECTORS})
    for features in ("class", "mean_patch", "class_and_mean_patch", "last_four"):
        np.testing.assert_array_equal(baseline.vectors(features)[1], VECTORS)


def test_what_a_table_lacks_is_said() -> None:
    shallow = dataclasses.replace(TABLE, blocks={(1, "class"): VECTORS})
    with pytest.raises(InputError, match="layer 4 from the end, class; layer 3"):
        shallow.vectors("last_four")
    with pytest.raises(InputError, match="no features 'tokens'"):
        shallow.vectors("tokens")


def test_a_table_that_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a sample twice"):
        dataclasses.replace(TABLE, sample_ids=np.array(["a", "a", "c", "d"], dtype=object))
    with pytest.raises(InputError, match="3 vectors of layer 1, class, for 4 samples"):
        dataclasses.replace(TABLE, blocks={(1, "class"): VECTORS[:3]})
    with pytest.raises(InputError, match="does not exist"):
        FeatureTable.read(tmp_path / "none.parquet")
