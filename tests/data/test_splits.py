"""Splits keep patients whole, labels in proportion, and depend on the seed alone."""

from collections import Counter

import numpy as np
import pytest

from medino.core import InputError
from medino.data.manifest import Manifest
from medino.data.schema import Sample
from medino.data.splits import assign_splits, check_splits, split_measured

FRACTIONS = {"train": 0.6, "validation": 0.1, "test": 0.3}


def cohort(patients: int, *, hashes: str = "p", images: int = 3) -> Manifest:
    """Patients with several images each; the first fifth has label "rare", one image in three none."""
    samples = []
    for patient in range(patients):
        for image in range(images):
            facts = dict.fromkeys(Sample.__dataclass_fields__) | {
                "sample_id": f"{patient}-{image}",
                "root": 0,
                "path": f"{patient:04d}/{image}.dcm",
                "format": "dicom",
                "frame": 0,
                "patient": f"{hashes}{(patient * 7) % patients:04d}",
                "study": "s",
                "series": "s",
                "patient_unit": "patient",
                "rows": 8,
                "columns": 8,
                "samples_per_pixel": 1,
                "label": None if image == 2 else ["common", "rare"][patient < patients / 5],
            }
            samples.append(Sample(**facts))
    return Manifest.from_samples(samples)


def split_of(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.column("path"), manifest.column("split"), strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_a_patient_never_sits_on_two_sides(seed: int) -> None:
    check_splits(assign_splits(cohort(37), FRACTIONS, seed=seed))


def test_the_fractions_hold_over_all_patients_and_for_each_label() -> None:
    split = assign_splits(cohort(200, images=1), FRACTIONS, seed=1)
    found = Counter(zip(split.column("label"), split.column("split"), strict=True))
    assert Counter(split.column("split")) == {"train": 120, "validation": 20, "test": 60}
    for label, patients in (("common", 160), ("rare", 40)):
        assert all(abs(found[label, name] - fraction * patients) <= 2 for name, fraction in FRACTIONS.items())


def labelled(labels: list[str]) -> Manifest:
    """One image of each patient, with these labels."""
    return cohort(len(labels), images=1).with_column("label", labels)


def test_splits_spread_along_labels_that_are_numbers() -> None:
    """Any ten patients whose values follow each other have about the same shares; as text, 9.1 comes after 10.2."""
    values = [f"{1.1**place:.3f}" for place in range(1, 121)]
    split = assign_splits(labelled(values), FRACTIONS, seed=0)
    by_value = dict(zip(split.column("label"), split.column("split"), strict=True))
    for start in range(111):
        found = Counter(by_value[value] for value in values[start : start + 10])
        assert all(abs(found[name] - 10 * fraction) <= 1 for name, fraction in FRACTIONS.items())


@pytest.mark.parametrize("other", ["x", "nan", "inf"])
def test_one_label_that_is_no_number_keeps_the_order_of_text(other: str) -> None:
    labels = [str(place) for place in range(1, 31)] + [other]
    split = split_of(assign_splits(labelled(labels), FRACTIONS, seed=0))
    words = split_of(assign_splits(labelled([f"{label}." for label in labels]), FRACTIONS, seed=0))
    as_text = [split[path] for path in sorted(split, key=lambda path: labels[int(path[:4])])]
    assert as_text == [words[path] for path in sorted(words, key=lambda path: labels[int(path[:4])])]


def test_the_order_of_rows_does_not_matter() -> None:
    whole = cohort(30)
    mixed = whole.select(np.random.default_rng(0).permutation(len(whole)))
    assert split_of(assign_splits(mixed, FRACTIONS, seed=2)) == split_of(assign_splits(whole, FRACTIONS, seed=2))


def test_the_key_that_patients_were_hashed_with_does_not_matter() -> None:
    one, other = cohort(30), cohort(30)
    patients = sorted(set(other.column("patient")), reverse=True)
    renamed = {patient: f"{place:03d}" for place, patient in enumerate(patients)}
    other = other.with_column("patient", [renamed[patient] for patient in other.column("patient")])
    assert split_of(assign_splits(one, FRACTIONS, seed=2)) == split_of(assign_splits(other, FRACTIONS, seed=2))


def test_the_seed_decides() -> None:
    assert split_of(assign_splits(cohort(30), seed=1)) == split_of(assign_splits(cohort(30), seed=1))
    assert split_of(assign_splits(cohort(30), seed=1)) != split_of(assign_splits(cohort(30), seed=2))


def test_every_split_gets_a_patient_however_few_there_are() -> None:
    split = assign_splits(cohort(3), {"train": 0.9, "validation": 0.05, "test": 0.05}, seed=0)
    assert set(split.column("split")) == {"train", "validation", "test"}


def test_a_split_that_is_not_asked_for_stays_empty() -> None:
    assert set(assign_splits(cohort(10), {"train": 0.5, "test": 0.5}, seed=0).column("split")) == {"train", "test"}


@pytest.mark.parametrize("column", ["label", "mask_path"])
def test_only_patients_that_can_be_measured_on_are_held_out(column: str) -> None:
    patients = cohort(40).with_column("label", [None] * 120)
    known = [int(path[:4]) % 2 == 0 for path in patients.column("path")]
    split = split_measured(patients.with_column(column, ["x" if row else None for row in known]), FRACTIONS, seed=0)
    assert set(split.column("split")[~np.array(known)]) == {"train"}
    assert Counter(split.column("split")[known]) == {"train": 36, "validation": 6, "test": 18}


@pytest.mark.parametrize("fractions", [{"train": 0.5}, {"train": 1.2, "test": -0.2}, {"train": 0.5, "holdout": 0.5}])
def test_fractions_that_are_no_parts_of_one_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(InputError, match="not parts of 1"):
        assign_splits(cohort(10), fractions, seed=0)


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(InputError, match=r"2 patients \(unit: patient\) can't fill the splits train, validation, test"):
        assign_splits(cohort(2), FRACTIONS, seed=0)


def test_a_patient_on_both_sides_of_a_given_split_is_refused() -> None:
    torn = cohort(4).with_column("split", ["train", "train", "test"] * 4)
    with pytest.raises(InputError, match=r"4 of 4 patients .* more than one split, such as train and test"):
        check_splits(torn)
    check_splits(cohort(4).with_column("split", ["train", None, "train"] * 4))


def test_a_split_of_another_name_is_refused() -> None:
    with pytest.raises(InputError, match="'holdout' is none of train, validation, test"):
        check_splits(cohort(1).with_column("split", ["holdout"] * 3))
