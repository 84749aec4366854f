"""A run's folder is known by its provenance, which says what went in and whose images were seen."""

from pathlib import Path

import pytest

from medino.core import InputError, RunFolder, patients_seen_by, read_provenance, write_json, write_provenance


def written(path: Path, **notes: object) -> RunFolder:
    run = RunFolder(path)
    write_provenance(
        run,
        seed=3,
        fingerprints={"weights": "w", "manifest": "m", "key": "k1"},
        pretraining_patients=["p2", "p1", "p2"],
        patient_unit="patient",
        notes=notes,
    )
    return run


def test_provenance_comes_back_with_each_patient_once(tmp_path: Path) -> None:
    facts = read_provenance(written(tmp_path / "run", steps=7))
    assert (facts["seed"], facts["steps"], facts["patient_unit"]) == (3, 7, "patient")
    assert facts["pretraining_patients"] == ["p1", "p2"]
    assert list(facts["fingerprints"]) == ["key", "manifest", "weights"]
    assert {"python", "medino", "torch"} <= set(facts["versions"])


def test_a_run_is_opened_by_its_provenance(tmp_path: Path) -> None:
    written(tmp_path / "run")
    assert RunFolder.existing(tmp_path / "run").report == tmp_path / "run" / "report.html"
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"other is not a run folder \(it has no provenance\.json\)"):
        RunFolder.existing(tmp_path / "other")
    with pytest.raises(InputError, match="none does not exist"):
        RunFolder.existing(tmp_path / "none")


def test_a_runs_backbone_brings_the_patients_it_saw_and_other_weights_none(tmp_path: Path) -> None:
    run = written(tmp_path / "run")
    run.backbone.touch()
    (run.path / "start.safetensors").touch()
    for weights in (run.path, run.backbone):
        assert patients_seen_by(weights, "k1") == patients_seen_by(weights, None) == ["p1", "p2"]
    for weights in (run.path / "start.safetensors", tmp_path / "elsewhere.safetensors"):
        assert patients_seen_by(weights, "k1") == []


def test_patients_whose_labels_chose_the_best_state_count_as_seen(tmp_path: Path) -> None:
    run = written(tmp_path / "run", probe_patients=["p2", "q"])
    assert patients_seen_by(run.path, "k1") == ["p1", "p2", "q"]


def test_patients_hashed_with_another_key_are_not_counted_as_unseen(tmp_path: Path) -> None:
    assert patients_seen_by(written(tmp_path / "run").path, "k2") is None


def test_provenance_of_another_version_or_of_no_run_is_refused(tmp_path: Path) -> None:
    run = written(tmp_path)
    write_json(run.provenance, {**read_provenance(run), "schema_version": 99})
    with pytest.raises(InputError, match="has schema version 99, this medino reads 1"):
        read_provenance(run)
    write_json(run.provenance, ["a list"])
    with pytest.raises(InputError, match="holds no provenance"):
        read_provenance(run)
