"""What is classified: images, or the series, studies or patients that several images are of."""

from dataclasses import dataclass

import numpy as np

from medino.core import InputError
from medino.data import Manifest
from medino.features import FeatureTable

UNIT_COLUMNS = {"image": "sample_id", "series": "series", "study": "study", "patient": "patient"}
"""The manifest's column that tells the units apart."""


@dataclass(frozen=True, eq=False)
class Units:
    """The labelled units of a manifest, in the order of their files' places.

    Neither the manifest's order of rows nor the key that ids are hashed with moves what is drawn from them: a study
    with one seed gives the same numbers for every key.

    Attributes:
        ids: (U,) keyed hashes.
        patients: (U,) keyed hash of each unit's patient.
        labels: (U,) label.
        splits: (U,) train, validation, test or None.
        sample_ids: (N,) labelled samples.
        unit_of_sample: (N,) index of each sample's unit.
    """

    ids: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    sample_ids: np.ndarray
    unit_of_sample: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def labelled_units(manifest: Manifest, unit: str, left_out: frozenset[str] = frozenset()) -> Units:
    """Group the labelled samples of a manifest.

    Args:
        manifest: with labels; samples without one are left aside.
        unit: image, series, study or patient.
        left_out: sample ids that can't be used (they could not be decoded).

    Raises:
        InputError: no sample has a label, or the samples of a unit differ in label, patient or split.
    """
    if unit not in UNIT_COLUMNS:
        raise InputError(f"there is no unit {unit!r}; choose one of {', '.join(UNIT_COLUMNS)}")
    labels, sample_ids = manifest.column("label"), manifest.column("sample_id")
    labelled = np.array([label is not None for label in labels], dtype=bool)
    if not labelled.any():
        raise InputError(
            f"none of the {len(manifest)} samples of {manifest.name} has a label; give labels when scanning "
            "(medino scan --labels CSV)"
        )
    rows = np.flatnonzero(labelled & ~np.isin(sample_ids, list(left_out)))
    if not len(rows):
        raise InputError(f"none of the labelled samples of {manifest.name} could be decoded; see the list of rejects")
    places = [manifest.column(name)[rows] for name in ("frame", "path", "root")]
    rows = rows[np.lexsort([place.astype(kind) for place, kind in zip(places, (int, str, int), strict=True)])]
    ids, first, inverse = first_come(manifest.column(UNIT_COLUMNS[unit])[rows])
    values = {}
    for name in ("label", "patient", "split"):
        of_sample = manifest.column(name)[rows]
        values[name] = of_sample[first]
        differing = np.unique(inverse[of_sample != values[name][inverse]])
        if len(differing):
            raise InputError(
                f"{len(differing)} of {len(ids)} units ({unit}) hold images of more than one {name}; "
                + ("choose a smaller unit" if name == "label" else "scan again, or assign the splits again")
            )
    return Units(
        ids=ids.astype(object),
        patients=values["patient"],
        labels=values["label"],
        splits=values["split"],
        sample_ids=sample_ids[rows],
        unit_of_sample=inverse,
    )


def first_come(names: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct names in the order of their first appearance.

    Args:
        names: (N,) strings.

    Returns:
        (U,) the names, (U,) where each appears first, and (N,) the index of each one's name.
    """
    distinct, first, inverse = np.unique(names.astype(str), return_index=True, return_inverse=True)
    order = np.argsort(first)
    return distinct[order], first[order], np.argsort(order)[inverse]


def sample_vectors(units: Units, table: FeatureTable, features: str, name: str) -> np.ndarray:
    """The vectors of all labelled samples.

    Args:
        units: the labelled units.
        table: features of all their samples.
        features: which features (see `FeatureTable.vectors`).
        name: what errors call the features.

    Returns:
        (N, D) float32, in the order of `units.sample_ids`.

    Raises:
        InputError: samples without a vector, or vectors that are not finite.
    """
    sample_ids, vectors = table.vectors(features)
    vectors = vectors[rows_of_samples(units, sample_ids, f"features {name!r}")]
    broken = int((~np.isfinite(vectors).all(axis=1)).sum())
    if broken:
        raise InputError(
            f"the features {name!r} hold NaN or infinity for {broken} of {len(vectors)} labelled samples; check the "
            "weights and the images, and embed again"
        )
    return vectors


def rows_of_samples(units: Units, sample_ids: np.ndarray, what: str) -> np.ndarray:
    """(N,) where each of the units' samples is among some sample ids.

    Args:
        units: the labelled units.
        sample_ids: strings.
        what: has them, for errors.

    Raises:
        InputError: some are not there.
    """
    place = {sample_id: row for row, sample_id in enumerate(sample_ids)}
    missing = sum(sample_id not in place for sample_id in units.sample_ids)
    if missing:
        raise InputError(
            f"the {what} lack {missing} of {len(units.sample_ids)} labelled samples; embed the whole manifest"
        )
    return np.array([place[sample_id] for sample_id in units.sample_ids])
