"""A table of features on the disk, read a part at a time: a million vectors pass through little memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medino.core import InputError
from medino.core.tables import table_facts
from medino.data import Manifest
from medino.features.neighbours import ROWS_AT_ONCE
from medino.features.schema import FEATURES_VERSION
from medino.features.table import check_made_from, matrix, needed_blocks

BUFFER = 1 << 20
"""Bytes of the file that are read ahead for each column."""


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """N vectors of one choice of features, in the file that `FeatureTable.write` wrote.

    Attributes:
        path: the file.
        sample_ids: (N,) strings.
        starts: the file's row at which the vectors of each layer and pooling begin, which are put side by side.
        manifest: fingerprint of the manifest.
    """

    path: Path
    sample_ids: pa.Array
    starts: tuple[int, ...]
    manifest: str

    @classmethod
    def open(cls, path: str | Path, features: str = "class") -> "FeatureFile":
        """Look at a file, without its vectors.

        Args:
            path: the file.
            features: the choice (see `FeatureTable.vectors`).

        Raises:
            InputError: the file is missing, is no table of features, or lacks what is asked for.
        """
        facts = table_facts(path, "features", FEATURES_VERSION, needed=("manifest",))
        with pq.ParquetFile(path, read_dictionary=["pooling"]) as file:
            table = file.read(["layer", "pooling"]).unify_dictionaries().combine_chunks()
            layers, pooling = table["layer"].to_numpy(), table["pooling"].combine_chunks()
            codes = pooling.indices.to_numpy()
            names = pooling.dictionary.to_pylist()
            changes = np.flatnonzero((np.diff(layers) != 0) | (np.diff(codes) != 0)) + 1
            starts = np.concatenate([[0], changes]) if len(layers) else changes
            first = {(int(layers[start]), names[codes[start]]): int(start) for start in starts}
            count = len(layers) // max(1, len(starts))
            if len(first) != len(starts) or not np.array_equal(starts, np.arange(len(starts)) * count):
                raise InputError(f"{path} is not laid out as medino writes features; embed again")
            ids = file.read(["sample_id"])["sample_id"].slice(0, count).combine_chunks()
        return cls(Path(path), ids, tuple(first[block] for block in needed_blocks(first, features)), facts["manifest"])

    def __len__(self) -> int:
        return len(self.sample_ids)

    def check_made_from(self, manifest: Manifest, name: str) -> None:
        """Refuse features of another manifest; see `FeatureTable.check_made_from`."""
        check_made_from(self.manifest, manifest, name)

    def parts(self) -> Iterator[np.ndarray]:
        """All vectors in order, (n, D) float32, at most `ROWS_AT_ONCE` at a time."""
        for blocks in zip(*(self._block(start) for start in self.starts), strict=True):
            yield blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """(R, D) float32 vectors of some rows, in one pass over the file."""
        taken: np.ndarray | None = None
        start = 0
        for part in self.parts():
            if taken is None:
                taken = np.empty((len(rows), part.shape[1]), np.float32)
            here = np.flatnonzero((rows >= start) & (rows < start + len(part)))
            taken[here] = part[rows[here] - start]
            start += len(part)
        return np.empty((0, 0), np.float32) if taken is None else taken

    def _block(self, start: int) -> Iterator[np.ndarray]:
        """The vectors of one layer and pooling."""
        stop, held = start + len(self), np.empty((0, 0), np.float32)
        with pq.ParquetFile(self.path, buffer_size=BUFFER, pre_buffer=False) as file:
            ends = np.cumsum([file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)])
            groups = np.flatnonzero((ends > start) & (np.concatenate([[0], ends[:-1]]) < stop))
            row = int(ends[groups[0]] - file.metadata.row_group(int(groups[0])).num_rows) if len(groups) else 0
            for batch in file.iter_batches(
                ROWS_AT_ONCE, row_groups=groups.tolist(), columns=["vector"], use_threads=False
            ):
                low, high = max(start - row, 0), min(stop - row, len(batch))
                row += len(batch)
                if low >= high:
                    continue
                vectors = matrix(pa.chunked_array([batch.column(0).slice(low, high - low)]), self.path)
                if len(held) and held.shape[1] != vectors.shape[1]:
                    raise InputError(f"{self.path} holds vectors of differing lengths or with nulls; embed again")
                held = np.concatenate([held, vectors]) if len(held) else vectors
                # Groups of rows end anywhere; the blocks that are put side by side have to break at the same rows.
                while len(held) >= ROWS_AT_ONCE:
                    yield held[:ROWS_AT_ONCE]
                    held = held[ROWS_AT_ONCE:]
        if len(held):
            yield held
