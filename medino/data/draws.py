"""What is drawn evenly, as arrays: the rows of each series, the series of each patient, and how much each counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from medino.core import InputError
from medino.data.manifest import Manifest

WEIGHED_COLUMNS = ("modality", "body_part", "manufacturer", "manufacturer_model", "format", "label", "sex", "sop_class")
"""The columns that weights can go by: those with few values that mean something."""

Names: TypeAlias = Sequence[str] | np.ndarray | pa.Array | pa.ChunkedArray


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


def row_weights(manifest: Manifest, weights: Mapping[str, Mapping[str, float]]) -> np.ndarray:
    """How often each row of a manifest is to be drawn, by what some of its columns hold.

    Args:
        manifest: the rows.
        weights: by column, the weight of each of its values; what is not named counts 1, and columns multiply.

    Returns:
        (N,) float64.

    Raises:
        InputError: there is no such column of texts, or a value is in none of its rows.
    """
    result = np.ones(len(manifest))
    for name, by_value in weights.items():
        if name not in WEIGHED_COLUMNS:
            raise InputError(f"weights go by {', '.join(WEIGHED_COLUMNS)}, not by {name!r}; choose one of them")
        indices, values = _encoded(manifest.table[name])
        present = values.to_pylist()
        missing = [value for value in by_value if value not in present]
        if missing:
            raise InputError(
                f"no image has the {name} {', '.join(map(repr, missing))} that is given a weight; "
                f"there are {', '.join(map(repr, sorted(present)))}"
            )
        # One more for the rows that hold nothing, whose index is none.
        table = np.array([float(by_value.get(value, 1.0)) for value in present] + [1.0])
        result *= table[indices.fill_null(len(present)).to_numpy(zero_copy_only=False)]
    if not np.isfinite(result).all() or (result < 0).any() or not result.any():
        raise InputError("weights must be numbers of zero and more, and leave images to draw")
    return result


def numbered(names: Names) -> tuple[np.ndarray, int]:
    """Number names by their first appearance (the order of hashes would change with the key).

    Returns:
        The number of each name, and how many different ones there are.
    """
    array = names if isinstance(names, pa.Array | pa.ChunkedArray) else pa.array(list(names))
    indices, present = _encoded(array)
    return indices.to_numpy(zero_copy_only=False), len(present)


def _encoded(column: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """The different values of a column by first appearance, and which of them each row has (null: nothing)."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not pa.types.is_dictionary(array.type):
        encoded = array.dictionary_encode()
        return encoded.indices, encoded.dictionary
    # Its dictionary may hold what no row has any more, in any order.
    encoded = array.indices.dictionary_encode()
    return encoded.indices, array.dictionary.take(encoded.dictionary)


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
