"""Parquet tables with a schema version: the manifest, the features and the evidence are written and read here.

A table's columns are the fields of a frozen dataclass, so that a row in memory and a column on disk are one definition.
Each field is made by `column("what it holds")`; its type hint gives the Arrow type and whether it may be null.
"""

import dataclasses
import hashlib
import io
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medino.core.errors import InputError
from medino.core.files import existing_file, whole_file

GROUP_ROWS = 2**17
"""Rows that are written together: a writer holds them in memory until they are complete."""

_ARROW_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    list[float]: pa.list_(pa.float32()),
    list[str]: pa.list_(pa.string()),
}


def column(description: str, default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field that is also a table's column; `description` goes into the documentation and the file."""
    return dataclasses.field(default=default, metadata={"description": description})


def optional(description: str) -> Any:
    """A `column` that is null where nothing is given."""
    return column(description, default=None)


def schema_of(row_type: type) -> pa.Schema:
    """The Arrow schema of a row dataclass: `X` is required, `X | None` may be null."""
    hints = typing.get_type_hints(row_type)
    fields = []
    for field in dataclasses.fields(row_type):
        hint, nullable = hints[field.name], False
        if isinstance(hint, types.UnionType):
            options = [option for option in typing.get_args(hint) if option is not type(None)]
            hint, nullable = options[0], True
        metadata = {"description": field.metadata.get("description", "")}
        fields.append(pa.field(field.name, _ARROW_TYPES[hint], nullable=nullable, metadata=metadata))
    return pa.schema(fields)


def write_table(path: str | Path, table: pa.Table, kind: str, version: int, metadata: Mapping[str, str]) -> None:
    """Write a Parquet file whole or not at all, with its kind and `schema_version` in the file's metadata.

    Args:
        path: where to write.
        table: the rows.
        kind: "manifest", "features", "evidence", ...
        version: the schema's version.
        metadata: more facts to keep with the table (fingerprints, settings), as text.
    """
    with whole_file(path) as temporary:
        write_parquet(temporary, table, kind, version, metadata)


def write_parquet(path: Path, table: pa.Table, kind: str, version: int, metadata: Mapping[str, str]) -> None:
    """What `write_table` writes, for a caller that sees itself to a file's being whole."""
    facts = {"medino_table": kind, "schema_version": str(version), **metadata}
    table = table.replace_schema_metadata(facts)
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for start in range(0, max(len(table), 1), GROUP_ROWS):
            writer.write_table(_with_own_values(table.slice(start, GROUP_ROWS)), row_group_size=GROUP_ROWS)


def _with_own_values(rows: pa.Table) -> pa.Table:
    """The rows with dictionaries of what they hold themselves: each group is written with the whole of its own."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            values = rows[place].combine_chunks()
            used = values.indices.dictionary_encode()
            own = pa.DictionaryArray.from_arrays(used.indices, values.dictionary.take(used.dictionary))
            rows = rows.set_column(place, field, own)
    return rows


def read_table(
    path: str | Path, kind: str, version: int, needed: Sequence[str] = ()
) -> tuple[pa.Table, dict[str, str]]:
    """Read a table written by `write_table`.

    Args:
        path: the file.
        kind: what it has to be.
        version: the schema version that it has to have.
        needed: names of metadata that it has to hold.

    Returns:
        The table and its metadata.

    Raises:
        InputError: the file is missing, is no Parquet file, holds another kind of table or another schema version, or
            lacks metadata.
    """
    path = existing_file(path, kind)
    try:
        table = _columns_of(path)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{path} can't be read as a Parquet table ({error}); make the {kind} again") from error
    return table, _checked(table.schema, path, kind, version, needed)


def table_facts(path: str | Path, kind: str, version: int, needed: Sequence[str] = ()) -> dict[str, str]:
    """The metadata of a table written by `write_table`, without its rows; arguments and errors of `read_table`."""
    path = existing_file(path, kind)
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} can't be read as a Parquet table ({error}); make the {kind} again") from error
    return _checked(schema, path, kind, version, needed)


def _checked(schema: pa.Schema, path: Path, kind: str, version: int, needed: Sequence[str]) -> dict[str, str]:
    """The metadata of a table, once it is what it has to be."""
    facts = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    found = facts.get("medino_table")
    if found != kind:
        raise InputError(f"{path} holds {found or 'an unknown table'}, not {kind}; give the file that medino wrote")
    if facts.get("schema_version") != str(version):
        written = facts.get("schema_version")
        raise InputError(f"{path} has schema version {written}, this medino reads {version}; make the {kind} again")
    missing = [name for name in needed if name not in facts]
    if missing:
        raise InputError(
            f"{path} lacks the metadata {', '.join(missing)}: another program has written it anew; "
            f"make the {kind} again"
        )
    return facts


def _columns_of(path: Path) -> pa.Table:
    """The table of a Parquet file, one column read after the other: all at once take twice their memory."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        columns = {}
        # Those that take the most room for a while come first, when there is not much else yet: each group of rows has
        # a dictionary of its own, and they become one.
        for field in sorted(schema, key=lambda field: not pa.types.is_dictionary(field.type)):
            column = file.read([field.name], use_threads=False)[field.name]
            columns[field.name] = column.combine_chunks() if pa.types.is_dictionary(field.type) else column
            # What Arrow was given for decompression it would keep.
            pa.default_memory_pool().release_unused()
        return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def table_fingerprint(table: pa.Table) -> str:
    """BLAKE2b-128 of a table's values and column types (not of its file's bytes), as 32 hexadecimal digits."""
    columns = {}
    for name in table.column_names:
        values = _plain(table[name].combine_chunks())
        columns[f"{name} is valid"] = values.is_valid()
        # What lies in a null's slot is undefined, so that equal tables could differ in it.
        # Parquet renames a list's item field, which is no difference in values.
        nested = pa.types.is_nested(values.type)
        columns[name] = values.cast(pa.list_(values.type.value_type)) if nested else _without_nulls(values)
    plain = pa.table(columns)
    sink = _Hashing()
    with pa.ipc.new_stream(pa.PythonFile(sink, "w"), plain.schema) as writer:
        writer.write_table(plain.combine_chunks())
    return sink.digest.hexdigest()


class _Hashing(io.RawIOBase):
    """A file that keeps of what is written to it no more than its hash."""

    def __init__(self) -> None:
        super().__init__()
        self.digest = hashlib.blake2b(digest_size=16)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)


def _plain(values: pa.Array) -> pa.Array:
    """The values in the type that their hint gives, however narrow they are kept."""
    if pa.types.is_dictionary(values.type):
        return values.dictionary_decode()
    return values.cast(pa.int64()) if pa.types.is_int32(values.type) else values


def _without_nulls(values: pa.Array) -> pa.Array:
    """Put a fixed value where a null is."""
    if values.null_count == 0:
        return values
    fixed = "" if pa.types.is_string(values.type) else pa.scalar(0).cast(values.type).as_py()
    return values.fill_null(fixed)
