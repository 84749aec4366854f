"""What belongs together by its identifiers, and does not lie together."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medino.data import Manifest

SHARED = ("study", "series", "instance")
"""Identifiers that belong to one patient each."""


@dataclass(frozen=True)
class Torn:
    """One thing that lies in several places.

    Attributes:
        what: patient, study, series or instance.
        identifier: its keyed hash.
        places: the splits, or the patients' keyed hashes, that it lies in, sorted.
        samples: sample ids, one for each place.
    """

    what: str
    identifier: str
    places: tuple[str, ...]
    samples: tuple[str, ...]


def patients_in_two_splits(manifest: Manifest) -> list[Torn]:
    """The patients with images in more than one split; images without a split count for none."""
    return _torn(manifest, "patient", manifest.column("split"))


def shared_by_two_patients(manifest: Manifest) -> list[Torn]:
    """Studies, series and DICOM instances that lie under more than one patient.

    Labels' CSV files that name patients, and patterns in paths, can part what the headers hold together.
    """
    return [torn for what in SHARED for torn in _torn(manifest, what, manifest.column("patient"))]


def codes(values: Sequence[object] | np.ndarray) -> np.ndarray:
    """(N,) int64: the same number for the same value; None is a value of its own."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], np.int64)


def _torn(manifest: Manifest, what: str, places: np.ndarray) -> list[Torn]:
    """What has rows in two places, in the manifest's order."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for identifier, place, sample in zip(manifest.column(what), places, manifest.column("sample_id"), strict=True):
        if identifier is not None and place is not None:
            found[identifier].setdefault(place, sample)
    return [
        Torn(what, identifier, tuple(sorted(by_place)), tuple(by_place[place] for place in sorted(by_place)))
        for identifier, by_place in found.items()
        if len(by_place) > 1
    ]
