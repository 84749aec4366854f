"""Single rows of a table at random: tens of microseconds for forty columns, however long the table is."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa


class Values:
    """The values of a table by row and column, as Python's. It makes no object for any row but those asked for.

    Args:
        table: is shared, not copied, where a column is one chunk.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._at = {name: _reader(table[name]) for name in table.column_names}

    def __reduce__(self) -> tuple[type["Values"], tuple[pa.Table]]:
        # Worker processes get the table once, with the manifest that it belongs to.
        return Values, (self._table,)

    def row(self, index: int) -> dict[str, Any]:
        """All values of a row by column."""
        return {name: at(index) for name, at in self._at.items()}

    def value(self, name: str, index: int) -> Any:
        """One value."""
        return self._at[name](index)


def _reader(column: pa.ChunkedArray) -> Callable[[int], Any]:
    """What gives a column's value at an index; Arrow's own way costs a microsecond or more and is for the rest."""
    if column.null_count == len(column):
        return _nothing
    if column.num_chunks > 1:
        return lambda index: column[index].as_py()
    values = column.chunk(0)
    if values.null_count == 0:
        if pa.types.is_dictionary(values.type):
            numbers, texts = values.indices.to_numpy(), values.dictionary
            return lambda index: texts[numbers.item(index)].as_py()
        if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
            return values.to_numpy().item
        if pa.types.is_list(values.type) and values.values.null_count == 0:
            ends, flat = values.offsets.to_numpy(), values.values.to_numpy()
            return lambda index: flat[ends[index] : ends[index + 1]].tolist()
    return lambda index: values[index].as_py()


def _nothing(index: int) -> None:
    """The value of a column of nulls."""
