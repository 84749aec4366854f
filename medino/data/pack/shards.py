"""Shards: Arrow IPC files with one record batch for each row, so that any row can be had at once.

A local shard is mapped into memory and its rows are views of it. One elsewhere is read through a copy in the folder
that `MEDINO_CACHE` names, or, without that, row by row over the network.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from medino.core import UnreadableImageError
from medino.data.location import file_system, local_copy
from medino.data.pack.rows import ROW_SCHEMA, Row, checksum
from medino.data.readers.failures import decoding
from medino.data.source import Source

SHARD_VERSION = 1
"""Of the layout of rows; kept in each shard."""

OPEN_SHARDS = 256
"""Shards that a process keeps open; each costs a file handle and its footer."""

READ_AHEAD = 2**18
"""Bytes fetched over the network beyond what was asked for: a row's header and most rows come in one request."""

ATTEMPTS = 3
"""Tries to read over the network before a row counts as unreadable."""

_DAMAGED = "the shard is truncated or damaged: pack again"


def shard_bytes(rows: Sequence[Row], facts: Mapping[str, Any]) -> pa.Buffer:
    """A shard's file.

    Args:
        rows: its rows.
        facts: what the shard says of itself, JSON-plain.
    """
    metadata = {"medino_shard": str(SHARD_VERSION), **{name: json.dumps(value) for name, value in facts.items()}}
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, ROW_SCHEMA.with_metadata(metadata)) as writer:
        for row in rows:
            writer.write_batch(row.batch())
    return sink.getvalue()


def shard_facts(source: Source) -> dict[str, Any]:
    """What a shard says of itself.

    Raises:
        UnreadableImageError: it is truncated, damaged, or no shard.
    """
    with decoding("the shard"):
        metadata = _opened(source).schema.metadata or {}
    return {key.decode(): json.loads(value) for key, value in metadata.items()}


@dataclass(frozen=True)
class StoredRow:
    """A row as it was found: see `ROW_SCHEMA`. The bytes are views of the file where that is local."""

    sample_id: str
    facts: dict[str, Any]
    pixels: memoryview
    valid: memoryview


def read_row(source: Source) -> StoredRow:
    """The row of a shard that a source's `member` counts.

    Raises:
        UnreadableImageError: the shard is missing, truncated or damaged, or the row's checksum is not right.
    """
    for attempt in range(ATTEMPTS):
        try:
            with decoding("the shard"):
                return _row(_opened(source), int(source.member or 0))
        except UnreadableImageError as error:
            cause = error.__cause__
            if source.remote is None or cause is None or isinstance(cause, FileNotFoundError | pa.ArrowInvalid):
                raise
            if attempt == ATTEMPTS - 1:
                raise UnreadableImageError(f"the shard can't be reached ({type(cause).__name__})") from error
            # A connection that was lost: a new one may hold.
            _open.cache_clear()
            time.sleep(0.2 * 5**attempt)
    raise AssertionError("unreachable")


def _row(reader: pa.RecordBatchFileReader, index: int) -> StoredRow:
    if not 0 <= index < reader.num_record_batches:
        raise UnreadableImageError(f"row {index} is asked for, and the shard has {reader.num_record_batches}")
    try:
        batch = reader.get_batch(index)
        # Damage can have hit the offsets of the values, which would then be looked for outside of the file.
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        raise UnreadableImageError(_DAMAGED) from error
    if batch.num_rows != 1:
        raise UnreadableImageError(_DAMAGED)
    values = [batch.column(place)[0] for place in range(len(ROW_SCHEMA))]
    if not all(value.is_valid for value in values):
        raise UnreadableImageError(_DAMAGED)
    sample_id, facts, known = values[0].as_py(), values[1].as_py(), values[4].as_py()
    pixels, valid = (memoryview(value.as_buffer()).cast("B") for value in values[2:4])
    if checksum(sample_id, facts, pixels, valid) != known:
        raise UnreadableImageError("the checksum of the packed row is wrong: it was damaged after it was written")
    return StoredRow(sample_id, json.loads(facts), pixels, valid)


def _opened(source: Source) -> pa.RecordBatchFileReader:
    """A shard's reader; only its footer is read, at the first time that the shard is needed."""
    # By process: neither connections nor locks of a parent are for its children.
    stamp = source.stamp if source.remote is None else None
    return _open(source.path, source.remote, stamp, os.getpid())


@lru_cache(maxsize=OPEN_SHARDS)
def _open(path: Path, remote: str | None, stamp: tuple[int, int] | None, process: int) -> pa.RecordBatchFileReader:
    """Open a shard; `stamp` keeps one that was written anew, or has lost its end, from the cache."""
    try:
        local = path if remote is None else local_copy(f"{remote}/{path.as_posix()}")
        if local is not None:
            reader = pa.ipc.open_file(pa.memory_map(str(local)))
        else:
            system, below = file_system(f"{remote}/{path.as_posix()}")
            file = system.open(below, "rb", block_size=READ_AHEAD, cache_type="readahead")
            reader = pa.ipc.open_file(pa.PythonFile(file, mode="r"))
    except pa.ArrowInvalid as error:
        raise UnreadableImageError(_DAMAGED) from error
    version = (reader.schema.metadata or {}).get(b"medino_shard")
    if version is None or not reader.schema.equals(ROW_SCHEMA):
        raise UnreadableImageError("the file is no shard of medino's")
    if version != str(SHARD_VERSION).encode():
        raise UnreadableImageError("the shard was packed by another version of medino: pack again")
    return reader
