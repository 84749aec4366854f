"""Slices that lie at one place, told apart: by echo, b-value, phase, or whatever truly parts them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from medino.data.stack import ORDERED, PARTS, stack_parts
from medino.data.volumes.arrangement import arrange

ALL_PARTS = (*PARTS, "thickness", "file")
"""What can part volumes, the most telling first: what a stack says, then the slices' thickness, then their file."""


def part(levels: np.ndarray, known: Mapping[str, np.ndarray]) -> tuple[np.ndarray, list[str]]:
    """Part slices so that, if anything known does that, no two of one part lie at one place.

    A value parts slices of one place from each other, and is shared by slices of many places. So something counts only
    where it takes no more values than slices lie at one place: a number that each slice has for itself parts
    nothing. What grows with time (`ORDERED`) may differ from place to place: then, where all places have as many
    slices, the n-th go together.

    Args:
        levels: the place of each slice along the normal, numbered; (N,).
        known: values by the names in `ALL_PARTS`, (N,) objects, None where not given.

    Returns:
        The part of each slice, (N,) int64, and for each part what it is in words ("echo 2").
    """
    parts, words = np.zeros(len(levels), dtype=np.int64), [""]
    for name in (name for name in ALL_PARTS if name in known):
        for number in range(len(words)):
            members = np.flatnonzero(parts == number)
            found = _parted(levels[members], known[name][members], name in ORDERED)
            if found is None:
                continue
            codes, values = found
            for code in range(1, len(values)):
                parts[members[codes == code]] = len(words)
                words.append(_joined(words[number], f"{name} {values[code]}"))
            words[number] = _joined(words[number], f"{name} {values[0]}")
    return parts, words


def part_interleaved(along: np.ndarray, known: Mapping[str, np.ndarray]) -> tuple[np.ndarray, list[str]] | None:
    """Part slices of uneven distances that are several volumes, one lying between the slices of the other.

    Two reconstructions of one scan are such volumes where their slices nowhere meet. What parts them must leave only
    even volumes of three slices or more; volumes that lie one behind the other are left together: there, a gap between
    them, or slices of two thicknesses, are what a person should know.

    Args:
        along: positions along the normal, (N,) mm.
        known: as `part` takes them.

    Returns:
        As `part` does; None where nothing parts them so.
    """
    for name in (name for name in ALL_PARTS if name in known):
        distinct, codes = _coded(known[name])
        if not 2 <= len(distinct) <= len(along) // 3 or None in distinct:
            continue
        places = sorted((np.sort(along[codes == code]) for code in range(len(distinct))), key=lambda each: each[0])
        between = all(later[0] < earlier[-1] for earlier, later in pairwise(places))
        if between and all(len(each) > 2 and _even(each) for each in places):
            return codes, [f"{name} {value}" for value in distinct]
    return None


def known_parts(stacks: Sequence[str | None]) -> dict[str, np.ndarray]:
    """What stacks' texts say, by name: (N,) objects, None where one does not say it."""
    parsed = {text: stack_parts(text) for text in set(stacks)}
    names = {name for found in parsed.values() for name in found}
    return {name: np.array([parsed[text].get(name) for text in stacks], dtype=object) for name in names}


def _parted(levels: np.ndarray, values: np.ndarray, ordered: bool) -> tuple[np.ndarray, list[str]] | None:
    """The code of each slice and the codes' values; None where the values part nothing, or too much."""
    counts = np.unique(levels, return_counts=True)[1]
    if counts.max() == 1:
        return None
    distinct, codes = _coded(values)
    if 1 < len(distinct) <= counts.max():
        parted = len(np.unique(np.stack([levels, codes]), axis=1).T) > len(counts)
        return (codes, ["unknown" if value is None else str(value) for value in distinct]) if parted else None
    if not ordered or counts.min() != counts.max() or None in distinct:
        return None
    order = np.lexsort((np.array([_in_order(value)[1] for value in values]), levels))
    ranks = np.tile(np.arange(counts.max()), len(counts))
    if len(set(zip(levels, values, strict=True))) < len(levels):
        return None
    codes = np.empty(len(levels), dtype=np.int64)
    codes[order] = ranks
    return codes, [f"no. {rank + 1}" for rank in range(counts.max())]


def _coded(values: np.ndarray) -> tuple[list[object], np.ndarray]:
    """The distinct values in order, and for each value the number of it."""
    distinct = sorted(set(values), key=_in_order)
    number = {value: index for index, value in enumerate(distinct)}
    return distinct, np.array([number[value] for value in values], dtype=np.int64)


def _even(along: np.ndarray) -> bool:
    """Whether sorted positions are evenly spaced."""
    return arrange(np.outer(along, [0.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0])).even


def _in_order(value: object) -> tuple[bool, float, str]:
    """How values are sorted: numbers by size, then words."""
    text = "" if value is None else str(value)
    try:
        return False, float(text), ""
    except ValueError:
        return True, 0.0, text


def _joined(*words: str) -> str:
    return "; ".join(word for word in words if word)
