"""A watched pretraining through the command: the probe in YAML, what the run keeps of it, what it keeps to itself."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from medino.cli.main import main
from medino.core import RunFolder, read_provenance
from medino.data import scan
from medino.tracking import read_metrics
from tests.ssl.conftest import TINY_BACKBONE, write_images

PLANTED = "Quillfeather"
"""A person's name in the folders of training images and probe."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images to train on, and twelve labelled ones of other patients, scanned with one key."""
    folder = tmp_path_factory.mktemp("data") / PLANTED
    write_images(folder / "images")
    write_images(folder / "others", seed=1)
    names = sorted(path.name for path in (folder / "others").iterdir())
    rows = [f"{name},{'ab'[place % 2]}" for place, name in enumerate(names)]
    (folder / "labels.csv").write_text("\n".join(["path,label", *rows]))
    key = folder / "key"
    scan([folder / "images"], key=key).write(folder / "cohort.parquet")
    scan([folder / "others"], labels=folder / "labels.csv", key=key, patient_pattern="([a-f]_[0-9]+)").write(
        folder / "probe.parquet"
    )
    return folder


def config(folder: Path, **watch: Any) -> Path:
    watch = {"every_n_steps": 1, "least_information": 0.0, **watch}
    settings = {
        "trainer": {
            "max_steps": 4,
            "accelerator": "cpu",
            "callbacks": [
                {"class_path": "Watch", "init_args": {"every_n_steps": 1, "least_information": 0.0, **watch}}
            ],
        },
        "model": {
            "class_path": "medino.ssl.DINOv2",
            "init_args": {
                "backbone_settings": TINY_BACKBONE,
                "prototypes": 32,
                "head_hidden_dim": 32,
                "head_bottleneck_dim": 16,
            },
        },
        "data": {
            "class_path": "medino.ssl.PretrainingData",
            "init_args": {
                "manifest": str(folder / "cohort.parquet"),
                "batch_size": 4,
                "global_size": 32,
                "local_size": 16,
                "num_local_crops": 2,
            },
        },
    }
    path = folder / "watched.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def test_a_probe_in_yaml_chooses_the_best_backbone_and_no_byte_of_the_run_names_anybody(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder(tmp_path / "run")
    words = ["--config", str(config(folder, probe=str(folder / "probe.parquet"))), "-o", str(run.path)]
    assert main(["fit", *words]) == 0
    assert main(["report", str(run.path)]) == 0
    said = capfd.readouterr()
    assert "the best backbone is that of step" in caplog.text
    assert PLANTED not in said.out + said.err + caplog.text
    facts = json.loads(run.best_backbone.with_suffix(".json").read_text())["facts"]
    assert facts["criterion"] == "probe_balanced_accuracy"
    assert read_provenance(run)["best_backbone"] == facts
    assert len(read_metrics(run.metrics)["watch/probe_balanced_accuracy"]) == 4
    report = run.report.read_text()
    assert "Online probe" in report
    assert f"step {facts['step']} by the probe&#39;s balanced accuracy" in report.replace("&#x27;", "&#39;")
    for path in run.path.rglob("*"):
        assert PLANTED not in path.name
        assert not path.is_file() or PLANTED.encode() not in path.read_bytes(), path.name


def test_a_probe_of_trained_patients_is_refused_in_one_line_and_leaves_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(folder / "cohort.parquet", folder / "own.parquet")
    shutil.copy(folder / "cohort.rejects.parquet", folder / "own.rejects.parquet")
    for probe, why in (("own", "no label"), ("none", "none.parquet")):
        words = ["--config", str(config(folder, probe=str(folder / f"{probe}.parquet"))), "-o", str(tmp_path / "run")]
        assert main(["fit", *words]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("medino fit: error: ")
        assert why in line
    assert not (tmp_path / "run").exists()
