"""What is drawn evenly, as arrays: the rows of each series, the series of each patient, and how much each counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

Names = Sequence[str] | np.ndarray | pa.Array | pa.ChunkedArray


@dataclass(frozen=True)
class Groups:
    """Members by group: the members of group g are `members[starts[g]:starts[g + 1]]`, in ascending order."""

    members: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @classmethod
    def of(cls, codes: np.ndarray, count: int) -> "Groups":
        """The groups of members that are given by their group's number, 0 to `count` - 1."""
        starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=count))])
        members = np.argsort(codes, kind="stable").astype(np.int32)
        return cls(members, starts)

    def group(self, index: int) -> np.ndarray:
        """The members of one group."""
        return self.members[self.starts[index] : self.starts[index + 1]]

    def sizes(self) -> np.ndarray:
        """How many members each group has."""
        return np.diff(self.starts)

    def means(self, values: np.ndarray) -> np.ndarray:
        """The mean over each group's members of a value of these."""
        return np.add.reduceat(values[self.members], self.starts[:-1]) / self.sizes()


def numbered(names: Names) -> tuple[np.ndarray, int]:
    """Number names by their first appearance (the order of hashes would change with the key).

    Returns:
        The number of each name, and how many different ones there are.
    """
    if isinstance(names, pa.ChunkedArray):
        names = names.combine_chunks()
    array = names if isinstance(names, pa.Array) else pa.array(list(names))
    encoded = array.dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False), len(encoded.dictionary)


def systematic_counts(expected: np.ndarray, total: int, generator: np.random.Generator) -> np.ndarray:
    """Whole numbers that sum to `total` and are on average `expected`, each rounded up or down.

    Systematic sampling (Madow 1949) in the order that is given.
    """
    ends = np.cumsum(expected) * (total / expected.sum())
    ends[-1] = total
    # A whole number may have come out a hair below itself.
    ends = np.where(np.abs(ends - np.rint(ends)) < 1e-6, np.rint(ends), ends)
    reached = np.floor(ends + generator.random()).astype(np.int64)
    return np.diff(reached, prepend=0)


def spread_over_batches(
    units: np.ndarray, turns: np.ndarray, batches: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Put items into batches, at random, but no two of one unit into the same batch.

    The items are cut into columns of one item for each batch, and each column is shuffled. Only a unit that runs over
    from one column into the next can meet itself: there its items go to batches that it is not in.

    Args:
        units: the unit of each item, those of one unit side by side; a multiple of `batches` items.
        turns: which of its unit's items each is.
        batches: how many batches. A unit with more items than that can't be kept from meeting itself.
        generator: draws.

    Returns:
        Units and turns, (batches, items of a batch).
    """
    columns = len(units) // batches
    units, turns = units.reshape(columns, batches), turns.reshape(columns, batches)
    places = generator.permuted(np.tile(np.arange(batches, dtype=np.int32), (columns, 1)), axis=1)
    for column in np.flatnonzero(units[:-1, -1] == units[1:, 0]) + 1:
        unit = units[column, 0]
        taken = places[column - 1, units[column - 1] == unit]
        running = int((units[column] == unit).sum())
        free = places[column, ~np.isin(places[column], taken)][:running]
        if len(free) == running:
            rest = places[column, ~np.isin(places[column], free)]
            places[column] = np.concatenate([free, rest])
    spread_units, spread_turns = (np.empty((batches, columns), np.int32) for _ in range(2))
    index = np.arange(columns)[:, None]
    spread_units[places, index] = units
    spread_turns[places, index] = turns
    return spread_units, spread_turns
