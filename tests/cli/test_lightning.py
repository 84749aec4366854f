"""`medino fit`, `validate`, `test` and `predict`: one run folder, resumed where it stopped, and errors in one line."""

import csv
import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from medino.cli.main import main
from medino.core import InputError, RunFolder, read_provenance
from medino.data import assign_splits, scan, write_phantom
from medino.models import backbone_fingerprint, load_backbone
from medino.probes import of_kind, read_evidence
from medino.tracking import RunMetricsLogger, read_metrics

PLANTED = "Quillfeather"
"""A person's name in the folder that all data lies in."""

CLASSES = {"background": 0, "lung": 1, "finding": 2}

PRETRAINING = {
    "trainer": {"max_steps": 3, "accelerator": "cpu", "log_every_n_steps": 1},
    "model": {
        "class_path": "medino.ssl.DINOv2",
        "init_args": {
            "backbone_settings": {"embed_dim": 24, "depth": 2, "num_heads": 2, "image_size": 32},
            "prototypes": 32,
            "head_hidden_dim": 32,
            "head_bottleneck_dim": 16,
            "checkpoint_every_n_steps": 2,
        },
    },
    "data": {
        "class_path": "medino.ssl.PretrainingData",
        "init_args": {"batch_size": 4, "global_size": 32, "local_size": 16, "num_local_crops": 2},
    },
}

SEGMENTATION = {
    "trainer": {"max_steps": 4, "accelerator": "cpu", "log_every_n_steps": 1},
    "model": {
        "class_path": "medino.segmentation.Segmentation",
        "init_args": {"class_names": list(CLASSES), "backbone": "mini"},
    },
    "data": {
        "class_path": "medino.segmentation.SegmentationData",
        "init_args": {"class_values": CLASSES, "transform": {"size": 64}, "batch_size": 4},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom archive of 16 patients, its manifest, and a configuration for each of the two models."""
    folder = tmp_path_factory.mktemp("data") / PLANTED
    archive = write_phantom(folder / "archive", patients=16, images_per_patient=1, size=64, seed=1)
    manifest = scan([archive.images], masks=archive.masks)
    assign_splits(manifest, {"train": 0.5, "validation": 0.25, "test": 0.25}, seed=0).write(folder / "cohort.parquet")
    for name, settings in (("pretraining", PRETRAINING), ("segmentation", SEGMENTATION)):
        init_args = {**settings["data"]["init_args"], "manifest": str(folder / "cohort.parquet")}
        write_yaml(folder / f"{name}.yaml", {**settings, "data": {**settings["data"], "init_args": init_args}})
    return folder


def write_yaml(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


def words(verb: str, config: Path, run: Path, *more: object) -> list[str]:
    return [verb, "--config", str(config), "-o", str(run), *map(str, more)]


def error_line(capsys: pytest.CaptureFixture[str], verb: str = "fit") -> str:
    """The one line that was printed on standard error."""
    (line,) = capsys.readouterr().err.splitlines()
    prefix = f"medino {verb}: error: "
    assert line.startswith(prefix)
    return line.removeprefix(prefix)


@pytest.fixture(scope="module")
def pretrained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "pretrained"
    assert main(words("fit", folder / "pretraining.yaml", run)) == 0
    return run


@pytest.fixture(scope="module")
def segmented(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "segmented"
    assert main(words("fit", folder / "segmentation.yaml", run)) == 0
    return run


def test_a_pretraining_leaves_the_run_folder_of_the_design(pretrained: Path) -> None:
    assert {path.name for path in pretrained.iterdir()} == {
        "config.yaml",
        "metrics.csv",
        "checkpoints",
        "backbone.safetensors",
        "backbone.json",
        "backbone_best.safetensors",
        "backbone_best.json",
        "provenance.json",
        "wandb",
    }
    run = RunFolder(pretrained)
    assert read_provenance(run)["steps"] == 3
    assert load_backbone(run.backbone).config.embed_dim == 24
    assert read_metrics(run.metrics)["step"].tolist() == [0, 1, 2]
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000002.ckpt", "step-00000003.ckpt"]


def test_the_settings_are_kept_without_paths(pretrained: Path) -> None:
    kept = yaml.safe_load((pretrained / "config.yaml").read_text(encoding="utf-8"))
    assert kept["model"]["init_args"]["prototypes"] == 32
    assert kept["model"]["init_args"]["base_lr"] == 4e-3
    assert kept["data"]["init_args"]["manifest"].startswith("<")


def test_no_file_of_a_run_names_the_folder_of_the_data(pretrained: Path, segmented: Path) -> None:
    files = [path for run in (pretrained, segmented) for path in run.rglob("*") if path.is_file()]
    assert any(path.suffix == ".ckpt" for path in files)
    assert any(path.suffix == ".wandb" for path in files)
    for path in files:
        assert PLANTED.encode() not in path.read_bytes(), path.name
        assert PLANTED not in path.name


@pytest.mark.parametrize("name", ["pretraining", "segmentation"])
def test_lightning_s_own_checkpoints_do_not_name_their_folder_either(name: str, folder: Path, tmp_path: Path) -> None:
    run = tmp_path / PLANTED
    assert main(words("fit", folder / f"{name}.yaml", run, "--trainer.enable_checkpointing", "true")) == 0
    checkpoints = list(run.rglob("*.ckpt"))
    assert {path.name.partition("=")[0] for path in checkpoints} >= {"epoch"}
    for path in checkpoints:
        assert PLANTED.encode() not in path.read_bytes(), path.name


def test_a_resumed_run_is_the_run_uninterrupted(folder: Path, pretrained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(words("fit", folder / "pretraining.yaml", run)) == 0
    whole = (run / "metrics.csv").read_text(encoding="utf-8")
    assert whole == (pretrained / "metrics.csv").read_text(encoding="utf-8")
    # As if it had been killed after two steps.
    (run / "checkpoints" / "step-00000003.ckpt").unlink()
    assert main(words("fit", folder / "pretraining.yaml", run, "--ckpt_path", "last")) == 0
    assert (run / "metrics.csv").read_text(encoding="utf-8") == whole
    resumed, uninterrupted = (load_backbone(RunFolder(folder).backbone) for folder in (run, pretrained))
    assert backbone_fingerprint(resumed) == backbone_fingerprint(uninterrupted)


def test_going_on_with_nothing_starts_at_the_start(folder: Path, pretrained: Path, tmp_path: Path) -> None:
    assert main(words("fit", folder / "pretraining.yaml", tmp_path / "run", "--ckpt_path", "last")) == 0
    assert (tmp_path / "run" / "metrics.csv").read_text() == (pretrained / "metrics.csv").read_text()


def test_of_a_finished_run_nothing_is_left_to_do(
    folder: Path, pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in pretrained.rglob("*") if path.is_file()}
    assert main(words("fit", folder / "pretraining.yaml", pretrained, "--ckpt_path", "last")) == 0
    out, err = capsys.readouterr()
    assert "its 3 steps are done, nothing is left to do (to train on, raise trainer.max_steps)" in out
    assert err == ""
    assert {path: path.read_bytes() for path in pretrained.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("raised", [OSError, InputError])
def test_where_metrics_find_no_room_the_last_checkpoint_is_named(
    raised: type[Exception],
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(logger: RunMetricsLogger) -> None:
        if list((tmp_path / "run").rglob("*.ckpt")):
            no_room = OSError(errno.ENOSPC, "No space left on device")
            if raised is OSError:
                raise no_room
            raise InputError("no room") from no_room

    monkeypatch.setattr(RunMetricsLogger, "save", full)
    assert main(words("fit", folder / "pretraining.yaml", tmp_path / "run")) == 1
    said = capsys.readouterr().err
    assert "(No space left on device); the last good checkpoint is kept (step-00000002.ckpt); free some space" in said
    assert "Traceback" not in said


def test_a_longer_segmentation_goes_on_in_the_same_table(folder: Path, tmp_path: Path) -> None:
    run, config = tmp_path / "run", folder / "segmentation.yaml"
    assert main(words("fit", config, run)) == 0
    first = list(csv.DictReader((run / "metrics.csv").open()))
    assert main(words("fit", config, run, "--ckpt_path", "last", "--trainer.max_steps", 6)) == 0
    both = list(csv.DictReader((run / "metrics.csv").open()))
    assert [row["step"] for row in both] == [str(step) for step in range(6)]
    assert [row["train/loss"] for row in both[:4]] == [row["train/loss"] for row in first]


def test_a_checkpoint_is_validated_tested_and_predicted_with(
    folder: Path, segmented: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder / "segmentation.yaml"
    settings = (segmented / "config.yaml").read_text(encoding="utf-8")
    assert main(words("validate", config, segmented)) == 0
    assert "validation/dice" in capsys.readouterr().out
    assert main(words("test", config, segmented)) == 0
    assert "test/dice" in capsys.readouterr().out
    metrics = read_metrics(segmented / "metrics.csv")
    assert metrics["step"].tolist() == [0, 1, 2, 3]
    assert np.isfinite(metrics["test/dice"]).tolist() == [False, False, False, True]
    summary = of_kind(read_evidence(segmented / "evidence.parquet"), "summary", metric="dice")
    overall = [value for target, value in zip(summary["target"], summary["value"], strict=True) if not target.as_py()]
    assert [value.as_py() for value in overall] == pytest.approx([metrics["test/dice"][3]], abs=1e-6)
    assert main(words("predict", config, segmented)) == 0
    assert len(list((segmented / "masks").glob("*.png"))) == 16
    assert (segmented / "config.yaml").read_text(encoding="utf-8") == settings


def test_a_pretraining_is_validated(folder: Path, pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("validate", folder / "pretraining.yaml", pretrained)) == 0
    assert "validation/total" in capsys.readouterr().out


def test_a_trial_writes_nothing(folder: Path, tmp_path: Path) -> None:
    for name in ("pretraining", "segmentation"):
        run = tmp_path / name
        assert main(words("fit", folder / f"{name}.yaml", run, "--trainer.fast_dev_run", "true")) == 0
        assert not run.exists()


def test_lightning_s_remarks_stay_off_the_terminal(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words("fit", folder / "pretraining.yaml", tmp_path / "run")) == 0
    remarks = [record.getMessage() for record in caplog.records if "lightning" in record.name]
    assert remarks[0].startswith("peak learning rate")
    assert remarks[-1].startswith("the best backbone is that of step")
    assert all("medino/" in record.pathname for record in caplog.records if "lightning" in record.name)
    assert capsys.readouterr().out == ""


def test_the_printed_configuration_can_be_given_back(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with pytest.raises(SystemExit, match=r"^0$"):
        main([*words("fit", folder / "pretraining.yaml", run, "--model.init_args.prototypes", 48), "--print_config"])
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["model"]["init_args"]["prototypes"] == 48
    config = tmp_path / "printed.yaml"
    config.write_text(printed, encoding="utf-8")
    assert main(["fit", "--config", str(config), "--trainer.fast_dev_run", "true"]) == 0


def test_a_strategy_is_chosen_in_yaml_and_kept_in_the_run(folder: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load((folder / "pretraining.yaml").read_text(encoding="utf-8"))
    settings["model"]["init_args"]["strategy"] = {"class_path": "medino.ssl.LoRA", "init_args": {"rank": 2}}
    run = tmp_path / "run"
    assert main(words("fit", write_yaml(tmp_path / "lora.yaml", settings), run)) == 0
    assert not any("lora" in name for name in load_backbone(run).state_dict())
    assert "medino.ssl.LoRA" in RunFolder(run).config.read_text(encoding="utf-8")
    settings["trainer"]["max_steps"] = 5
    assert main(words("fit", write_yaml(tmp_path / "lora.yaml", settings), run, "--ckpt_path", "last")) == 0
    assert read_provenance(RunFolder(run))["steps"] == 5


@pytest.mark.parametrize("place", ["file", "top of the file", "command line"])
def test_an_unknown_key_is_refused_in_one_line(
    place: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, more = folder / "pretraining.yaml", []
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    if place == "file":
        settings["model"]["init_args"]["prototypez"] = 3
    elif place == "top of the file":
        settings["prototypez"] = 3
    else:
        more = ["--model.init_args.prototypez", 3]
    assert main(words("fit", write_yaml(tmp_path / "c.yaml", settings), tmp_path / "run", *more)) == 2
    assert "'prototypez'" in error_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--data.init_args.manifest", "none.parquet", "none.parquet does not exist"),
        ("--model.init_args.weights", "none.safetensors", "none.safetensors"),
        ("--model.init_args.prototypes", "0", "prototypes is 0"),
        ("--model.init_args.prototypes", "many", "many"),
        ("--data.init_args.global_size", "33", "global_size"),
        ("--model.init_args.objective", "clip", "clip"),
        ("--trainer.max_steps", "-1", "trainer.max_steps"),
        ("--trainer.fast_dev_run", "-1", "fast_dev_run"),
        ("--trainer.accelerator", "abacus", "abacus"),
        ("--trainer.strategy", "fsdp", "fsdp"),
        ("--trainer.accumulate_grad_batches", "2", "takes its steps itself; set model.accumulate"),
        ("--trainer.gradient_clip_val", "1", "takes its steps itself; set model.clip_norm"),
        ("--trainer.overfit_batches", "2", "takes its steps itself; set trainer.max_steps"),
        ("--trainer.limit_train_batches", "2", "takes its steps itself; set trainer.max_steps"),
        ("--model", "NoSuchModel", "NoSuchModel"),
        ("--ckpt_path", "none.ckpt", "none.ckpt"),
        ("--config", "none.yaml", "none.yaml"),
    ],
)
def test_a_setting_that_cannot_be_used_is_said_in_one_line_and_leaves_nothing(
    option: str, value: str, said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words("fit", folder / "pretraining.yaml", tmp_path / "run", option, value)) == 2
    assert said in error_line(capsys).replace("peak learning rate", "")
    assert not (tmp_path / "run").exists()


def test_what_is_missing_is_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", str(folder / "pretraining.yaml")]) == 2
    assert "-o RUN" in error_line(capsys)
    assert main(["fit", "-o", str(tmp_path / "run")]) == 2
    assert "model" in error_line(capsys)
    assert main(words("test", folder / "segmentation.yaml", tmp_path / "run")) == 2
    assert "no checkpoint" in error_line(capsys, "test")


def test_a_run_is_not_overwritten_by_another(
    folder: Path, pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in pretrained.rglob("*") if path.is_file()}
    assert main(words("fit", folder / "pretraining.yaml", pretrained, "--model.init_args.seed", 1)) == 2
    assert "--ckpt_path last" in error_line(capsys)
    assert {path: path.read_bytes() for path in pretrained.rglob("*") if path.is_file()} == before


def test_a_file_that_is_no_checkpoint_or_of_another_model_is_refused(
    folder: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, checkpoint = folder / "pretraining.yaml", pretrained / "checkpoints" / "step-00000003.ckpt"
    for file in (config, pretrained / "backbone.safetensors"):
        assert main(words("fit", config, tmp_path / "run", "--ckpt_path", file)) == 2
        assert "not a checkpoint" in error_line(capsys)
    more = ("--ckpt_path", checkpoint, "--trainer.max_steps", 5, "--model.init_args.prototypes", 48)
    assert main(words("fit", config, tmp_path / "run", *more)) == 2
    assert "last_layer" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
