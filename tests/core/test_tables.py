"""Tables are written whole, say what they are, and have a fingerprint that depends on their values alone."""

import typing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medino.core import InputError, column, read_table, schema_of, table_fingerprint, tables, whole_file, write_table
from medino.data.schema import Reject, Sample
from medino.features.schema import FeatureRow
from medino.probes.schema import EvidenceRow


@dataclass(frozen=True)
class Row:
    name: str = column("a name")
    count: int | None = column("how many")
    vector: list[float] | None = column("some numbers", None)


ROWS = [{"name": "a", "count": 1, "vector": [1.0, 2.0]}, {"name": "b", "count": None, "vector": None}]


def table() -> pa.Table:
    return pa.Table.from_pylist(ROWS, schema=schema_of(Row))


@pytest.mark.parametrize("row_type", [Sample, Reject, FeatureRow, EvidenceRow])
def test_every_column_of_every_schema_is_described(row_type: type) -> None:
    schema = schema_of(row_type)
    assert schema.names == list(typing.get_type_hints(row_type))
    assert all(field.metadata[b"description"] for field in schema)


def test_a_column_may_be_null_exactly_where_its_hint_says_so() -> None:
    assert [field.nullable for field in schema_of(Row)] == [False, True, True]


def test_a_table_comes_back_as_written_with_its_metadata(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", table(), "manifest", 3, {"key": "value"})
    back, facts = read_table(tmp_path / "t.parquet", "manifest", 3)
    assert back.to_pylist() == ROWS
    assert facts["key"] == "value"


def test_each_group_of_rows_is_written_with_no_text_but_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "GROUP_ROWS", 4)
    names = pa.array([f"name {number // 3}" for number in range(30)] + [None, "name 0"]).dictionary_encode()
    written = pa.table({"name": names, "number": pa.array(range(32))})
    write_table(tmp_path / "t.parquet", written, "manifest", 1, {})
    with pq.ParquetFile(tmp_path / "t.parquet") as file:
        groups = [file.read_row_group(group)["name"].chunk(0) for group in range(file.num_row_groups)]
    assert [set(group.dictionary.to_pylist()) for group in groups] == [
        set(group.drop_null().to_pylist()) for group in groups
    ]
    back, _ = read_table(tmp_path / "t.parquet", "manifest", 1)
    assert (len(groups), back.to_pydict()) == (8, written.to_pydict())
    assert (back["name"].num_chunks, back.schema.types) == (1, written.schema.types)


def test_another_kind_version_or_file_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, table(), "manifest", 3, {})
    with pytest.raises(InputError, match="holds manifest, not evidence"):
        read_table(path, "evidence", 3)
    with pytest.raises(InputError, match="schema version 3, this medino reads 4"):
        read_table(path, "manifest", 4)
    path.write_bytes(b"PAR1 but nothing more")
    with pytest.raises(InputError, match="can't be read as a Parquet table"):
        read_table(path, "manifest", 3)
    with pytest.raises(InputError, match="does not exist"):
        read_table(tmp_path / "none.parquet", "manifest", 3)


def test_a_table_that_lost_its_metadata_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, table(), "manifest", 3, {"roots": "[]"})
    assert read_table(path, "manifest", 3, needed=("roots",))[1]["roots"] == "[]"
    with pytest.raises(InputError, match=r"t\.parquet lacks the metadata name, settings: .* make the manifest again"):
        read_table(path, "manifest", 3, needed=("roots", "name", "settings"))


def test_a_fingerprint_depends_on_values_not_on_chunks_or_files(tmp_path: Path) -> None:
    whole = table()
    write_table(tmp_path / "t.parquet", whole, "manifest", 1, {})
    chunked = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 1)])
    assert table_fingerprint(chunked) == table_fingerprint(whole)
    assert table_fingerprint(pq.read_table(tmp_path / "t.parquet")) == table_fingerprint(whole)
    assert table_fingerprint(whole.slice(0, 1)) != table_fingerprint(whole)
    changed = pa.Table.from_pylist([{**ROWS[0], "count": 2}, ROWS[1]], schema=schema_of(Row))
    assert table_fingerprint(changed) != table_fingerprint(whole)


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail_half_way() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]
