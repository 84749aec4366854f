"""On whom: counts that can be kept, and nothing that names anybody."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from medino.core import InputError, RunFolder, read_provenance
from medino.data import Manifest
from medino.tracking import data_section, record_data


def test_the_counts_are_those_of_the_manifest(run: RunFolder) -> None:
    assert read_provenance(run)["data"] == {
        "images": 240,
        "patients": 120,
        "patient_unit": "patient",
        "rejects": 0,
        "splits": {
            "train": {"images": 120, "patients": 60, "labelled": 120, "with mask": 0},
            "test": {"images": 120, "patients": 60, "labelled": 120, "with mask": 0},
        },
        "labels": {"consolidation": 80, "effusion": 80, "nodule": 80},
        "modalities": {"DX": 240},
        "manufacturers": {"Scanner A": 120, "Scanner B": 120},
    }


def test_no_path_and_no_hash_of_the_manifest_is_kept(run: RunFolder, make_manifest: Callable[..., Manifest]) -> None:
    kept = json.dumps(read_provenance(run)["data"])
    manifest = make_manifest()
    for name in ("path", "sample_id", "patient", "study", "series"):
        assert not any(value in kept for value in manifest.column(name) if len(value) > 3)


def test_an_unknown_patient_is_said() -> None:
    section = data_section({"patient_unit": "file", "pretraining_patients": ["a", "b"]})
    assert section is not None
    assert "nobody knows the patient" in section.html
    assert data_section({}) is None


def test_a_run_without_provenance_is_refused(run: RunFolder, make_manifest: Callable[..., Manifest]) -> None:
    with pytest.raises(InputError, match="does not exist"):
        record_data(replace(run, path=run.path / "nowhere"), make_manifest())
