"""Train, validation and test: by patient, stratified by label, the same for one seed whatever the rows' order."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import compress

import numpy as np

from medino.core import InputError, numpy_generator
from medino.data.manifest import Manifest

SPLITS = ("train", "validation", "test")

DEFAULT_FRACTIONS = {"train": 0.6, "validation": 0.1, "test": 0.3}


def assign_splits(manifest: Manifest, fractions: Mapping[str, float] = DEFAULT_FRACTIONS, *, seed: int) -> Manifest:
    """Give every patient to one split.

    A patient counts for the label that most of their rows have; patients without one are a stratum of their own. Where
    all labels are numbers, such as ages, the splits spread evenly along them. Each split gets at least one patient.

    Args:
        manifest: the images; splits that it has are replaced.
        fractions: the part of the patients for each of `SPLITS`; those left out get none.
        seed: draws who goes where.

    Raises:
        InputError: fractions that are no parts of 1, or fewer patients than splits.
    """
    split_of = _split_of_patients(manifest, np.ones(len(manifest), dtype=bool), fractions, seed)
    return manifest.with_column("split", [split_of[patient] for patient in manifest.column("patient")])


def split_measured(manifest: Manifest, fractions: Mapping[str, float] = DEFAULT_FRACTIONS, *, seed: int) -> Manifest:
    """Split the patients that can be measured on; all others go to train.

    Measured on are patients with a label; where nobody has one, those with a mask; without masks, all.

    Args:
        manifest: the images; splits that it has are replaced.
        fractions: as for `assign_splits`.
        seed: as for `assign_splits`.

    Raises:
        InputError: as for `assign_splits`.
    """
    known = (manifest.table[name].is_valid().to_numpy() for name in ("label", "mask_path"))
    measured = next((rows for rows in known if rows.any()), np.ones(len(manifest), dtype=bool))
    split_of = _split_of_patients(manifest, measured, fractions, seed)
    return manifest.with_column("split", [split_of.get(patient, "train") for patient in manifest.column("patient")])


def check_splits(manifest: Manifest) -> None:
    """See that no patient sits in two splits.

    Raises:
        InputError: one does, or a split has a name that is none of `SPLITS`.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for patient, split in zip(manifest.column("patient"), manifest.column("split"), strict=True):
        if split is not None:
            found[patient].add(split)
    unknown = set().union(*found.values()) - set(SPLITS)
    if unknown:
        raise InputError(f"the split {min(unknown)!r} is none of {', '.join(SPLITS)}; rename it")
    torn = [splits for splits in found.values() if len(splits) > 1]
    if torn:
        unit = manifest.patient_unit
        names = " and ".join(split for split in SPLITS if split in torn[0])
        raise InputError(
            f"{len(torn)} of {len(found)} patients (unit: {unit}) have images in more than one split, such as {names}; "
            "give each patient one split, or leave the splits to medino"
        )


def check_fractions(fractions: Mapping[str, float]) -> dict[str, float]:
    """The fractions above zero, in the order of `SPLITS`.

    Raises:
        InputError: they are no parts of 1, or of something that is no split.
    """
    unknown = set(fractions) - set(SPLITS)
    parts = [float(fraction) for fraction in fractions.values()]
    if unknown or any(part < 0 for part in parts) or abs(sum(parts) - 1) > 1e-6:
        raise InputError(f"the splits {dict(fractions)} are not parts of 1 for {', '.join(SPLITS)}; change them")
    return {name: float(fractions[name]) for name in SPLITS if fractions.get(name, 0) > 0}


def _split_of_patients(
    manifest: Manifest, measured: np.ndarray, fractions: Mapping[str, float], seed: int
) -> dict[str, str]:
    """The split of each patient of the rows that `measured` is true for."""
    wanted = check_fractions(fractions)
    ordered: list[str] = []
    by_label = _patients_by_label(manifest, measured)
    for label in _in_order(by_label):
        patients = by_label[label]
        ordered += [patients[i] for i in numpy_generator(seed, "splits", label).permutation(len(patients))]
    counts = _shares(len(ordered), wanted, manifest)
    return dict(zip(ordered, _spread(counts), strict=True))


def _patients_by_label(manifest: Manifest, measured: np.ndarray) -> dict[str, list[str]]:
    """Patients of each label ("" for none), in an order that neither the rows' order nor the key for hashing moves."""
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    first: dict[str, tuple[int, str]] = {}
    columns = (manifest.column("patient"), manifest.column("label"), _places(manifest))
    for patient, label, place in compress(zip(*columns, strict=True), measured):
        if label is not None:
            labels[patient][label] += 1
        first[patient] = min(first.get(patient, place), place)
    strata: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(first, key=lambda patient: (first[patient], patient)):
        found = labels[patient]
        strata[min(found, key=lambda label: (-found[label], label)) if found else ""].append(patient)
    return strata


def _in_order(labels: Iterable[str]) -> list[str]:
    """Labels ("" for none first) by value where all are finite numbers, so that splits spread along it; or as text."""
    names = sorted(labels)
    try:
        values = {label: float(label) if label else -math.inf for label in names}
    except ValueError:
        return names
    finite = all(math.isfinite(value) for label, value in values.items() if label)
    return sorted(names, key=lambda label: values[label]) if finite else names


def _places(manifest: Manifest) -> Iterator[tuple[int, str]]:
    """Root and path of each row; all paths at once would fill the memory."""
    for batch in manifest.table.select(["root", "path"]).to_batches(max_chunksize=4096):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _shares(patients: int, fractions: Mapping[str, float], manifest: Manifest) -> dict[str, int]:
    """How many patients each split gets: by largest remainder, but at least one."""
    if patients < len(fractions):
        raise InputError(
            f"{patients} patients (unit: {manifest.patient_unit or 'none'}) can't fill the splits "
            f"{', '.join(fractions)}; scan more patients or ask for fewer splits"
        )
    exact = {name: fraction * patients for name, fraction in fractions.items()}
    counts = {name: max(1, int(part)) for name, part in exact.items()}
    while sum(counts.values()) != patients:
        step = 1 if sum(counts.values()) < patients else -1
        open_to_change = [name for name in counts if counts[name] + step >= 1]
        changed = max(open_to_change, key=lambda name: step * (exact[name] - counts[name]))
        counts[changed] += step
    return counts


def _spread(counts: Mapping[str, int]) -> list[str]:
    """A sequence with so many of each name, each spread evenly over it, and so over the strata that it runs through."""
    total = sum(counts.values())
    given = dict.fromkeys(counts, 0)
    sequence = []
    for place in range(1, total + 1):
        behind = {name: count * place / total - given[name] for name, count in counts.items()}
        name = max(behind, key=lambda name: behind[name])
        given[name] += 1
        sequence.append(name)
    return sequence
