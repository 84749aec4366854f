"""What belongs together and lies apart is found by its identifiers."""

from sample_rows import REQUIRED

from medino.curation import patients_in_two_splits, shared_by_two_patients
from medino.data import Manifest, Sample


def cohort(*rows: dict[str, object]) -> Manifest:
    return Manifest.from_samples(
        Sample(**(REQUIRED | {"format": "raster", "sample_id": f"s{n}"} | row)) for n, row in enumerate(rows)
    )


def test_a_patient_in_two_splits_is_found() -> None:
    manifest = cohort(
        {"patient": "a", "split": "train"},
        {"patient": "a", "split": None},
        {"patient": "b", "split": "test"},
        {"patient": "a", "split": "test"},
    )
    (torn,) = patients_in_two_splits(manifest)
    assert (torn.identifier, torn.places, torn.samples) == ("a", ("test", "train"), ("s3", "s0"))


def test_a_series_under_two_patients_is_found() -> None:
    manifest = cohort(
        {"patient": "a", "study": "1", "series": "x", "instance": "i"},
        {"patient": "b", "study": "2", "series": "x", "instance": None},
        {"patient": "b", "study": "2", "series": "y", "instance": "j"},
    )
    assert [(torn.what, torn.places) for torn in shared_by_two_patients(manifest)] == [("series", ("a", "b"))]


def test_a_clean_cohort_has_neither() -> None:
    manifest = cohort({"patient": "a", "study": "1", "series": "x"}, {"patient": "b", "study": "2", "series": "y"})
    assert not patients_in_two_splits(manifest)
    assert not shared_by_two_patients(manifest)
