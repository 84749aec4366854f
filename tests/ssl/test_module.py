"""Training runs as it should: learns, repeats itself, resumes to the bit, stops in words."""

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from medino.core import InputError, RunFolder, TrainingStoppedError, read_provenance
from medino.data import Manifest
from medino.models import backbone_fingerprint, load_backbone
from medino.ssl import DINO_V1, DINOv2, latest_checkpoint
from tests.ssl.conftest import TINY_BACKBONE, tiny_data, tiny_module, tiny_trainer

Train = Callable[..., tuple[DINOv2, dict[int, float]]]


class StopAfter(pl.Callback):
    """Ends training when a step is done, as a time limit does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        trainer.should_stop = trainer.should_stop or batch.step == self.step


class Killed(StopAfter):
    """Dies when a step is done."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch.step == self.step:
            raise RuntimeError("killed")


class BreakSteps(pl.Callback):
    """Makes the loss of some steps NaN, as an overflow would."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch.step in self.steps:
            batch.global_crops.fill_(float("nan"))


def same_state(one: DINOv2, other: DINOv2) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_the_loss_falls_on_a_fixed_small_set(manifest: Path, train: Train) -> None:
    _, losses = train(manifest, 30, module={"drop_path_rate": 0.0, "centering": "sinkhorn_knopp"})
    values = [losses[step] for step in range(30)]
    assert all(math.isfinite(value) for value in values)
    assert sum(values[-5:]) / 5 < sum(values[:5]) / 5 - 0.1


def test_two_runs_with_one_seed_are_equal_to_the_bit(manifest: Path, train: Train) -> None:
    first, losses = train(manifest, run="a")
    second, again = train(manifest, run="b")
    assert losses == again
    assert same_state(first, second)
    _, other = train(manifest, run="c", module={"seed": 1})
    assert other != losses


@pytest.mark.parametrize("objective", [{"centering": "centering"}, {"centering": "sinkhorn_knopp"}, DINO_V1])
def test_a_run_stopped_and_resumed_is_the_run_uninterrupted(
    manifest: Path, tmp_path: Path, train: Train, objective: dict[str, Any]
) -> None:
    settings = {**objective, "backbone_settings": {**objective.get("backbone_settings", {}), **TINY_BACKBONE}}
    whole, losses = train(manifest, 7, run="whole", module=settings)
    _, before = train(manifest, 7, run="parts", module=settings, callbacks=(StopAfter(2),))
    checkpoint = latest_checkpoint(RunFolder(tmp_path / "parts"))
    assert checkpoint is not None
    resumed, after = train(manifest, 7, run="parts", module=settings, ckpt_path=checkpoint)
    assert sorted(before) == [0, 1, 2]
    assert sorted(after) == [3, 4, 5, 6]
    assert before | after == losses
    assert same_state(whole, resumed)


def test_a_run_killed_between_checkpoints_goes_on_from_the_last_one(
    manifest: Path, tmp_path: Path, train: Train
) -> None:
    settings = {"checkpoint_every_n_steps": 2}
    whole, losses = train(manifest, 7, run="whole", module=settings)
    with pytest.raises(RuntimeError, match="killed"):
        train(manifest, 7, run="parts", module=settings, callbacks=(Killed(4),))
    checkpoint = latest_checkpoint(RunFolder(tmp_path / "parts"))
    assert checkpoint is not None
    assert checkpoint.name == "step-00000004.ckpt"
    resumed, after = train(manifest, 7, run="parts", module=settings, data={"num_workers": 2}, ckpt_path=checkpoint)
    assert after == {step: losses[step] for step in (4, 5, 6)}
    assert same_state(whole, resumed)


def test_a_step_with_nan_is_skipped_and_said(manifest: Path, tmp_path: Path, train: Train) -> None:
    with pytest.warns(UserWarning, match="step 1 is skipped"):
        module, losses = train(manifest, 4, callbacks=(BreakSteps(1),))
    assert sorted(losses) == [0, 2, 3]
    assert (module.next_step, module.skipped_steps, module.nonfinite_in_a_row) == (4, 1, 0)
    assert all(bool(value.isfinite().all()) for value in module.state_dict().values())
    header, row = (RunFolder(tmp_path / "run").skipped_steps).read_text().splitlines()
    assert header == "step,reason,sample_ids"
    assert row.startswith("1,the loss is not finite,")
    assert len(row.split(",")[2].split()) == 4


def test_a_run_with_a_skipped_step_resumes_to_the_bit(manifest: Path, tmp_path: Path, train: Train) -> None:
    broken = BreakSteps(1, 4)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="step . is skipped")
        whole, losses = train(manifest, 6, run="whole", callbacks=(broken,))
        train(manifest, 6, run="parts", callbacks=(broken, StopAfter(2)))
        checkpoint = latest_checkpoint(RunFolder(tmp_path / "parts"))
        resumed, after = train(manifest, 6, run="parts", callbacks=(broken,), ckpt_path=checkpoint)
    assert after == {step: losses[step] for step in (3, 5)}
    assert same_state(whole, resumed)
    assert resumed.skipped_steps == 2
    kept = [RunFolder(tmp_path / name).skipped_steps.read_text() for name in ("whole", "parts")]
    assert kept[0] == kept[1]


def test_dino_v1_on_a_backbone_with_a_mask_token_leaves_it_alone(manifest: Path, train: Train) -> None:
    module, _ = train(manifest, 2, module={"objective": "dino"})
    assert not module.core.student.backbone.mask_token.requires_grad
    assert float(module.core.student.backbone.mask_token.abs().max()) == 0


def test_a_skipped_step_changes_neither_networks_nor_centres(manifest: Path, train: Train) -> None:
    with pytest.warns(UserWarning, match="is skipped"):
        module, _ = train(manifest, 1, callbacks=(BreakSteps(0),))
    assert same_state(module, tiny_module())


def test_a_gradient_that_is_not_finite_is_skipped_too(manifest: Path, train: Train) -> None:
    class BreakGradient(pl.Callback):
        def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            pl_module.core.student.backbone.cls_token.grad.fill_(float("inf"))

    with pytest.warns(UserWarning, match="a gradient is not finite"):
        module, _ = train(manifest, 1, callbacks=(BreakGradient(),))
    assert same_state(module, tiny_module())


def test_training_stops_in_words_after_the_stated_number_of_bad_steps(
    manifest: Path, tmp_path: Path, train: Train
) -> None:
    settings = {"max_nonfinite_steps": 2, "checkpoint_every_n_steps": 2}
    with (
        pytest.warns(UserWarning, match="is skipped"),
        pytest.raises(TrainingStoppedError, match=r"2 steps in a row; .* checkpoint is kept \(step-0000000\d\.ckpt\)"),
    ):
        train(manifest, 9, module=settings, callbacks=(BreakSteps(2, 3, 4),))
    run = RunFolder(tmp_path / "run")
    assert latest_checkpoint(run) is not None
    assert len(run.skipped_steps.read_text().splitlines()) == 3


def test_the_run_folder_holds_backbone_and_provenance(manifest: Path, tmp_path: Path, train: Train) -> None:
    module, _ = train(manifest, 3)
    run = RunFolder.existing(tmp_path / "run")
    backbone = load_backbone(run.backbone)
    teacher = module.core.teacher.backbone.state_dict()
    assert all(torch.equal(value, teacher[key]) for key, value in backbone.state_dict().items())
    provenance = read_provenance(run)
    assert provenance["steps"] == 3
    assert provenance["images_seen"] == 12
    assert len(provenance["pretraining_patients"]) == 6
    assert provenance["fingerprints"] == {
        "backbone_before": backbone_fingerprint(tiny_module().core.teacher.backbone),
        "manifest": Manifest.read(manifest).fingerprint,
        "key": Manifest.read(manifest).settings["key_id"],
    }


def test_a_trial_leaves_nothing(manifest: Path, tmp_path: Path, train: Train) -> None:
    train(manifest, -1, fast_dev_run=True)
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_a_new_run_does_not_mix_with_an_older_ones_checkpoints(manifest: Path, train: Train) -> None:
    train(manifest, 2)
    with pytest.raises(InputError, match=r"already holds step-00000002\.ckpt"):
        train(manifest, 2)


def test_checkpoints_hold_plain_settings_and_no_path(manifest: Path, tmp_path: Path, train: Train) -> None:
    train(manifest, 2, enable_checkpointing=True)
    checkpoint = latest_checkpoint(RunFolder(tmp_path / "run"))
    assert checkpoint is not None
    content = torch.load(checkpoint, weights_only=True)
    json.dumps(content["hyper_parameters"])
    assert str(tmp_path).encode() not in checkpoint.read_bytes()
    assert tmp_path.name.encode() not in checkpoint.read_bytes()


def test_a_module_loads_from_its_checkpoint_without_the_weights_it_started_from(
    manifest: Path, tmp_path: Path, train: Train
) -> None:
    train(manifest, 1, run="first")
    weights = RunFolder(tmp_path / "first").backbone
    module, _ = train(manifest, 2, run="second", module={"weights": str(weights), "backbone_settings": None})
    weights.unlink()
    checkpoint = latest_checkpoint(RunFolder(tmp_path / "second"))
    loaded = DINOv2.load_from_checkpoint(checkpoint, weights_only=True)
    assert same_state(module, loaded)


def test_training_starts_from_the_given_weights(manifest: Path, tmp_path: Path, train: Train) -> None:
    train(manifest, 1, run="first")
    weights = RunFolder(tmp_path / "first").backbone
    module = tiny_module(weights=str(weights), backbone_settings=None)
    expected = load_backbone(weights).state_dict()
    for network in (module.core.student, module.core.teacher):
        assert all(torch.equal(value, expected[key]) for key, value in network.backbone.state_dict().items())


def test_validation_gives_losses_and_changes_nothing(split_manifest: Path, tmp_path: Path) -> None:
    module, before = tiny_module(), tiny_module()
    (metrics,) = tiny_trainer(tmp_path / "run", 1).validate(module, datamodule=tiny_data(split_manifest), verbose=False)
    assert metrics["validation/total"] > 0
    assert same_state(module, before)


def test_the_learning_rate_is_scaled_as_it_says(manifest: Path, train: Train, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        module, _ = train(manifest, 1, module={"base_lr": 0.016, "lr_scaling": "sqrt", "warmup": 0.0})
    assert module.schedules is not None
    assert module.schedules.learning_rate[0] == pytest.approx(0.016 * (4 / 1024) ** 0.5)
    assert "peak learning rate 0.001 = base_lr 0.016 * sqrt(4 / 1024)" in caplog.text
    module, _ = train(manifest, 1, run="linear", module={"base_lr": 0.016, "lr_scaling": "linear", "warmup": 0.0})
    assert module.schedules is not None
    assert module.schedules.learning_rate[0] == pytest.approx(0.016 * 4 / 256)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective": "simclr"}, "objective is 'simclr'"),
        ({"warmup": 100}, "warmup is 100; give the share of the run"),
        ({"backbone": "huge"}, "there is no backbone 'huge'"),
        ({"backbone_settings": {"deph": 3}}, "no setting 'deph'"),
        ({"backbone_settings": {"mask_token": False}}, "no mask token"),
        ({"student_temperature": 0.0}, "student_temperature is 0.0"),
        ({"weights": "nowhere.pth"}, "nowhere.pth does not exist"),
        ({"checkpoint_every_n_steps": 0}, "checkpoint_every_n_steps is 0"),
        ({"separate_ibot_head": True, "ibot_prototypes": -3}, "ibot_prototypes is -3"),
        ({"koleo_weight": -0.1}, "koleo_weight is -0.1"),
    ],
)
def test_settings_that_no_run_could_mean_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        tiny_module(**changes)


def test_a_run_without_a_number_of_steps_is_refused(manifest: Path, train: Train) -> None:
    with pytest.raises(InputError, match=r"set trainer\.max_steps"):
        train(manifest, -1)


def test_a_pretraining_on_a_cpu_keeps_freed_memory(
    manifest: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("medino.ssl.module.keep_freed_memory", lambda: asked.append(1))
    train(manifest, 1)
    assert asked


def test_a_finished_run_can_be_made_longer(manifest: Path, tmp_path: Path, train: Train) -> None:
    train(manifest, 3)
    checkpoint = latest_checkpoint(RunFolder(tmp_path / "run"))
    module, losses = train(manifest, 5, ckpt_path=checkpoint)
    assert sorted(losses) == [3, 4]
    assert module.next_step == 5


def test_training_in_bfloat16_stays_finite(manifest: Path, train: Train) -> None:
    module, losses = train(manifest, 4, precision="bf16-mixed")
    assert sorted(losses) == [0, 1, 2, 3]
    assert module.skipped_steps == 0
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())


@pytest.mark.parametrize("precision", ["16-true", "bf16-true", "64-true"])
def test_precisions_that_overflow_or_were_not_tried_are_refused(precision: Any, manifest: Path, train: Train) -> None:
    with pytest.raises(InputError, match=f"precision {precision} .*; use bf16-mixed or 32-true"):
        train(manifest, 1, precision=precision)


def test_the_monitors_are_logged_where_the_trainer_logs(manifest: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path / "run", 2, log_every_n_steps=2)
    trainer.fit(tiny_module(), datamodule=tiny_data(manifest))
    logged = trainer.callback_metrics
    assert {"teacher/rankme", "teacher/prototypes_used", "gradient_norm/backbone", "schedule/momentum"} <= set(logged)
    assert 1 <= float(logged["teacher/rankme"]) <= 8
