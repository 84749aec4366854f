"""`medino plan`: what a run will take, measured by a few steps that leave nothing, and which settings suit it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from medino.cli.main import main
from medino.cli.measuring import Pace
from medino.cli.planning import bytes_on_disk, disk_rows, duration, model_rows, optimiser_bytes, time_rows, unique_bytes
from medino.core import RunFolder
from medino.data import Manifest, assign_splits, scan, write_phantom
from medino.ssl import DINOv2, LoRA, latest_checkpoint

PLANTED = "Quillfeather"
"""A person's name in the folder that all data lies in."""

MODEL = {
    "backbone_settings": {"embed_dim": 24, "depth": 2, "num_heads": 2, "image_size": 32},
    "prototypes": 32,
    "head_hidden_dim": 32,
    "head_bottleneck_dim": 16,
}

SETTINGS: dict[str, Any] = {
    "trainer": {"max_steps": 40, "accelerator": "cpu"},
    "model": {"class_path": "medino.ssl.DINOv2", "init_args": MODEL},
    "data": {
        "class_path": "medino.ssl.PretrainingData",
        "init_args": {"batch_size": 4, "global_size": 32, "local_size": 16, "num_local_crops": 2},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom archive of 16 patients, its manifest, and a configuration."""
    folder = tmp_path_factory.mktemp("data") / PLANTED
    archive = write_phantom(folder / "archive", patients=16, images_per_patient=2, size=64, seed=1)
    manifest = scan([archive.images])
    assign_splits(manifest, {"train": 0.5, "validation": 0.25, "test": 0.25}, seed=0).write(folder / "cohort.parquet")
    write_yaml(folder / "pretraining.yaml", SETTINGS, folder / "cohort.parquet")
    return folder


def write_yaml(path: Path, settings: dict[str, Any], manifest: Path) -> Path:
    data = {**settings["data"], "init_args": {**settings["data"]["init_args"], "manifest": str(manifest)}}
    path.write_text(yaml.safe_dump({**settings, "data": data}), encoding="utf-8")
    return path


def plan(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> str:
    """What the command prints, on a wide terminal."""
    monkeypatch.setenv("COLUMNS", "240")
    capsys.readouterr()
    assert main(["plan", *map(str, words)]) == 0
    return capsys.readouterr().out


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line on standard error."""
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("medino plan: error: ")
    return line


def cells(text: str, name: str) -> list[str]:
    """The cells of a table's row."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"│ {name} ")]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_plan_says_what_the_run_takes_and_leaves_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(folder.rglob("*"))
    said = plan(capsys, monkeypatch, "--config", folder / "pretraining.yaml", "-o", tmp_path / "run")
    assert cells(said, "images") == ["images", "16", "of 8 patients (unit: patient)"]
    assert cells(said, "steps")[1:] == ["40", "of 4 images: 10.0 passes over them"]
    rows = ("on disk", "parameters", "memory: optimiser", "loading", "step", "pace", "time", "disk: checkpoints")
    for row in rows:
        assert cells(said, row)[1] not in ("", "unknown"), row
    assert cells(said, "peak learning rate")[1] == "0.00025"
    assert list(tmp_path.iterdir()) == []
    assert sorted(folder.rglob("*")) == before
    assert PLANTED not in said


def test_what_it_advises_can_be_given_back_and_then_it_has_no_more_advice(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = folder / "pretraining.yaml"
    said = plan(capsys, monkeypatch, "--config", config)
    assert cells(said, "prototypes")[1:3] == ["32", "256"]
    assert cells(said, "weight_decay")[1:3] == ["0.04", ""]
    advice = said[said.index("model:\n") :]
    assert "weight_decay: " not in advice.replace("final_weight_decay", "")
    (tmp_path / "advice.yaml").write_text(advice)
    again = plan(capsys, monkeypatch, "--config", config, "--config", tmp_path / "advice.yaml")
    assert cells(again, "prototypes")[1:3] == ["256", ""]
    assert "All of these settings suit the run." in again
    # And the rest of the first file still holds.
    assert cells(again, "parameters")[1] != cells(said, "parameters")[1]
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["plan", "--config", str(config), "--config", str(tmp_path / "advice.yaml"), "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["backbone_settings"]["layerscale_init"] == 0.1


def test_the_disk_that_it_foretells_is_what_a_run_takes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path / "run")
    words = ["fit", "--config", str(folder / "pretraining.yaml"), "-o", str(run.path), "--trainer.max_steps", "2"]
    assert main(words) == 0
    checkpoint = latest_checkpoint(run)
    assert checkpoint is not None
    module = DINOv2(**MODEL)  # type: ignore[arg-type]
    foretold = unique_bytes(list(module.state_dict().values())) + optimiser_bytes(module)
    # A network this small is mostly names; a large one is not.
    assert foretold < checkpoint.stat().st_size < 1.8 * foretold
    assert disk_rows(module)[0][0] == "disk: checkpoints"


def test_what_is_frozen_is_counted_apart_and_held_once(folder: Path) -> None:
    pace = Pace(loading=1.0, step=1.0, peak_bytes=None, workers=1)
    full, lora = DINOv2(**MODEL), DINOv2(**MODEL, strategy=LoRA(rank=2))  # type: ignore[arg-type]
    rows = {name: (much, said) for name, much, said in model_rows(lora, pace)}
    learning = sum(each.numel() for each in lora.core.student.parameters() if each.requires_grad)
    assert rows["parameters"][1].startswith(f"{learning:,} learn")
    assert optimiser_bytes(lora) == 8 * learning < optimiser_bytes(full)
    own = unique_bytes(list(full.core.student.parameters()))
    both = unique_bytes([*full.core.student.parameters(), *full.core.teacher.parameters()])
    assert both == 2 * own == 2 * 4 * sum(each.numel() for each in full.core.student.parameters())
    shared = unique_bytes([*lora.core.student.parameters(), *lora.core.teacher.parameters()])
    assert shared < 2 * unique_bytes(list(lora.core.student.parameters()))
    assert rows["memory: a step"][0] == "unknown"


def test_the_slower_of_loading_and_step_sets_the_pace() -> None:
    loader = Pace(loading=3.0, step=1.0, peak_bytes=None, workers=2)
    assert loader.seconds == 3.0
    rows = {name: (much, said) for name, much, said in time_rows(loader, 3600, 12)}
    assert rows["pace"] == (
        "4.0 images a second",
        "loading takes 3.0 x step; more num_workers, or images packed by medino pack",
    )
    assert rows["time"][0] == "3.0 hours"
    # Without other processes, one waits for the other.
    assert Pace(loading=3.0, step=1.0, peak_bytes=None, workers=0).seconds == 4.0
    assert [duration(seconds) for seconds in (5, 120, 7200)] == ["5 seconds", "2.0 minutes", "2.0 hours"]


def test_a_file_of_many_slices_is_counted_once(folder: Path) -> None:
    manifest = Manifest.read(folder / "cohort.parquet")
    size = bytes_on_disk(manifest)
    assert size == sum(
        path.stat().st_size for path in (folder / "archive" / "images").rglob("*.dcm") if "damaged" not in path.name
    )
    assert bytes_on_disk(manifest.select([0] * 5)) == manifest.column("file_bytes")[0]
    assert bytes_on_disk(manifest.with_column("file_bytes", [None] * len(manifest))) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trainer.max_steps", "-1"], "set trainer.max_steps"),
        (["--data.init_args.batch_size", "1"], "batch_size is 1"),
        (["--data.init_args.splits", "[holdout]"], "no row of split holdout"),
        (["--model.init_args.prototypez", "3"], "prototypez"),
    ],
)
def test_what_can_t_be_planned_is_said_in_words(
    words: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--config", str(folder / "pretraining.yaml"), *words]) == 2
    assert said in error_line(capsys)


@pytest.mark.parametrize(("images", "said"), [(0, "holds no image"), (1, "nothing to tell apart")])
def test_no_image_or_one_is_said_in_words(
    images: int, said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Manifest.read(folder / "cohort.parquet").select(range(images)).write(tmp_path / "few.parquet")
    config = write_yaml(tmp_path / "few.yaml", SETTINGS, tmp_path / "few.parquet")
    assert main(["plan", "--config", str(config)]) == 2
    assert said in error_line(capsys)


def test_a_segmentation_and_nothing_at_all_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan"]) == 2
    assert "plan.model" in error_line(capsys)
    words = ["plan", "--config", str(folder / "pretraining.yaml"), "--model", "Segmentation"]
    assert main([*words, "--model.class_names", "[background,lung]"]) == 2
    assert "plan is for pretraining" in error_line(capsys)
