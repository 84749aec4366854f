"""A row at random is the row that Arrow gives, whatever its columns are."""

import pickle

import pyarrow as pa
import pytest

from medino.data.values import Values

COLUMNS = {
    "numbers": pa.array([3, 1, 2, 7], pa.int32()),
    "some numbers": pa.array([3, None, 2, 7], pa.int32()),
    "lengths": pa.array([0.5, 1e300, float("inf"), -0.0]),
    "flags": pa.array([True, False, True, True]),
    "texts": pa.array(["a", "", "b", "c"]),
    "repeats": pa.array(["a", "b", "a", "b"]).dictionary_encode(),
    "some repeats": pa.array(["a", None, "a", "b"]).dictionary_encode(),
    "places": pa.array([[0.1, 2.0], [], [3.0], [4.0, 5.0]], pa.list_(pa.float32())),
    "some places": pa.array([[0.1], None, [None, 3.0], []], pa.list_(pa.float32())),
    "nothing": pa.nulls(4, pa.dictionary(pa.int32(), pa.string())),
}
TABLE = pa.table(COLUMNS)


@pytest.mark.parametrize(
    "table",
    [TABLE, TABLE.slice(1, 2), pa.concat_tables([TABLE, TABLE.slice(2)]), TABLE.slice(4)],
    ids=["whole", "slice", "chunks", "empty"],
)
def test_each_row_is_as_arrow_gives_it(table: pa.Table) -> None:
    values = Values(table)
    rows = [values.row(index) for index in range(len(table))]
    assert rows == table.to_pylist()
    assert [{name: type(value) for name, value in row.items()} for row in rows] == [
        {name: type(value) for name, value in row.items()} for row in table.to_pylist()
    ]
    assert [values.value("texts", index) for index in range(len(table))] == table["texts"].to_pylist()


def test_a_process_gets_the_table_once() -> None:
    table = pa.table({"numbers": pa.array(range(100_000))})
    both = pickle.dumps((table, Values(table)))
    assert len(both) < 1.1 * len(pickle.dumps(table))
    again, values = pickle.loads(both)
    assert (again, values.row(70_000)) == (table, {"numbers": 70_000})
