"""The backbone is held to the bit until the heads have learnt what they can, and then follows at a rising rate."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medino.core import InputError, RunFolder
from medino.ssl import DINOv2, HeadsFirst, LoRA, latest_checkpoint
from medino.ssl.heads_first import BackboneRelease, held, held_tokens
from tests.ssl.conftest import TINY_BACKBONE, tiny_data, tiny_module
from tests.ssl.test_module import StopAfter, same_state

Train = Callable[..., tuple[DINOv2, dict[int, float]]]

HALF = HeadsFirst(window=0.0, least_improvement=-100.0, at_most=0.5, ramp=0.5)
"""Released after half of the run and not before."""


def release(total_steps: int = 100, first_counted_step: int = 0, **settings: Any) -> BackboneRelease:
    made = BackboneRelease(HeadsFirst(**settings))
    made.begin(total_steps, first_counted_step)
    return made


def released_at(made: BackboneRelease, losses: list[float]) -> tuple[int, str]:
    for step, loss in enumerate(losses):
        if reason := made.note(step, loss):
            assert made.released_at == step + 1
            return step + 1, reason
    raise AssertionError("never released")


def backbone(module: DINOv2, which: str = "student") -> dict[str, torch.Tensor]:
    state = getattr(module.core, which).backbone.state_dict()
    return {name: value.clone() for name, value in state.items() if name != "mask_token"}


def test_the_backbone_is_released_where_a_made_curve_becomes_flat() -> None:
    # Falls by 0.1 a step from 10 to 5 in 50 steps, then by 0.001: windows of 5 steps differ by 0.5 and then by 0.005.
    curve = [10 - 0.1 * step if step <= 50 else 5 - 0.001 * (step - 50) for step in range(100)]
    step, reason = released_at(release(window=0.05, least_improvement=0.01, at_most=1.0), curve)
    expected = next(
        end + 1 for end in range(9, 100) if 1 - sum(curve[end - 4 : end + 1]) / sum(curve[end - 9 : end - 4]) < 0.01
    )
    assert step == expected
    assert 55 <= step <= 60
    assert "over 5 steps, by less than 1.00%" in reason


def test_the_backbone_is_released_at_the_latest_after_the_stated_share() -> None:
    falling = [0.9**step for step in range(100)]
    step, reason = released_at(release(window=0.02, least_improvement=0.01, at_most=0.3), falling)
    assert (step, reason) == (30, "30% of the run is over")


def test_steps_in_which_little_can_be_learnt_do_not_count() -> None:
    flat = [7.0] * 100
    assert released_at(release(window=0.05, at_most=1.0), flat)[0] == 10
    assert released_at(release(window=0.05, at_most=1.0, first_counted_step=20), flat)[0] == 30


def test_the_rate_rises_linearly_once_released() -> None:
    made = release(ramp=0.1, at_most=0.2)
    assert made.multiplier(3) == 0
    made.restore({"losses": [], "released_at": 20})
    assert [made.multiplier(step) for step in (20, 24, 29, 30, 99)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 1.0])
    made = release(ramp=0.0)
    made.restore({"losses": [], "released_at": 20})
    assert made.multiplier(20) == 1


@pytest.mark.parametrize("changes", [{}, {"strategy": LoRA(rank=2)}, {"objective": "dino"}])
def test_student_and_teacher_backbone_stay_to_the_bit_until_they_are_released(
    changes: dict[str, Any], manifest: Path, train: Train
) -> None:
    start = backbone(tiny_module(**changes))
    settings = {"heads_first": HALF, "warmup": 0.0, "frozen_last_layer": 0.0, **changes}
    module, _ = train(manifest, 8, run="held", module=settings, callbacks=(StopAfter(3),))
    for which in ("student", "teacher"):
        assert all(torch.equal(value, start[name]) for name, value in backbone(module, which).items())
    heads = dict(module.core.student.dino_head.named_parameters())
    before = dict(tiny_module(**changes).core.student.dino_head.named_parameters())
    assert all(not torch.equal(value, before[name]) for name, value in heads.items())
    assert module.release is not None
    assert module.release.released_at == 4
    module, _ = train(manifest, 8, run="whole", module=settings)
    for which in ("student", "teacher"):
        assert any(not torch.equal(value, start[name]) for name, value in backbone(module, which).items())


@pytest.mark.parametrize("learns", [True, False])
def test_the_mask_token_learns_with_the_heads_where_it_is_to(learns: bool, manifest: Path, train: Train) -> None:
    heads_first = {"at_most": 1.0, "least_improvement": -100.0, "mask_token": learns}
    module, _ = train(manifest, 4, module={"heads_first": heads_first, "warmup": 0.0})
    for network in (module.core.student, module.core.teacher):
        assert (float(network.backbone.mask_token.detach().abs().max()) > 0) == learns


def test_a_held_backbone_gives_what_it_would_give_and_has_no_gradients_but_the_mask_tokens(manifest: Path) -> None:
    module = tiny_module(drop_path_rate=0.0)
    batch = next(iter(tiny_data(manifest).batches(module.backbone_config, 1)))
    student, teacher = module.core.student.backbone, module.core.teacher.backbone
    with torch.no_grad():
        student.mask_token.normal_()
        teacher_tokens = teacher(batch.global_crops)
    usual = student.forward_crops([batch.global_crops, batch.local_crops], [batch.masks, None])
    usual[0].patches.square().sum().backward()
    expected = student.mask_token.grad.clone()
    student.zero_grad()
    with held(student, learn_mask_token=True):
        tokens = held_tokens(student, batch, batch.masks, teacher_tokens)
        for one, other in zip(tokens, usual, strict=True):
            torch.testing.assert_close(one.class_token, other.class_token)
            torch.testing.assert_close(one.patches, other.patches)
        assert not tokens[1].class_token.requires_grad
        tokens[0].patches.square().sum().backward()
    torch.testing.assert_close(student.mask_token.grad, expected)
    assert all(value.grad is None for name, value in student.named_parameters() if name != "mask_token")
    assert all(value.requires_grad for value in student.parameters())
    with held(student, learn_mask_token=False):
        assert not held_tokens(student, batch, batch.masks, teacher_tokens)[0].patches.requires_grad


@pytest.mark.parametrize("stop", [1, 4])
def test_a_run_resumed_while_held_or_after_is_the_run_uninterrupted(
    stop: int, manifest: Path, tmp_path: Path, train: Train
) -> None:
    settings = {"heads_first": {"window": 0.15, "at_most": 0.5, "ramp": 0.5}, "warmup": 0.0}
    whole, losses = train(manifest, 8, run="whole", module=settings)
    train(manifest, 8, run="parts", module=settings, callbacks=(StopAfter(stop),))
    checkpoint = latest_checkpoint(RunFolder(tmp_path / "parts"))
    resumed, after = train(manifest, 8, run="parts", module=settings, ckpt_path=checkpoint)
    assert after == {step: losses[step] for step in range(stop + 1, 8)}
    assert same_state(whole, resumed)
    assert whole.release is not None
    assert resumed.release is not None
    assert resumed.release.released_at == whole.release.released_at is not None
    loaded = DINOv2.load_from_checkpoint(checkpoint, weights_only=True)
    assert loaded.hparams["heads_first"] == whole.hparams["heads_first"]


def test_the_release_is_said_and_the_backbones_rate_is_logged(
    manifest: Path, tmp_path: Path, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    from medino.tracking import RunMetricsLogger

    run = RunFolder(tmp_path / "run")
    settings = {"heads_first": HALF, "warmup": 0.0, "lr_scaling": "none", "base_lr": 1e-3, "min_lr": 1e-3}
    with caplog.at_level("INFO"):
        train(manifest, 8, module=settings, logger=RunMetricsLogger(run))
    assert "backbone released at step 4: 50% of the run is over" in caplog.text
    with run.metrics.open(newline="") as file:
        rates = [float(row["schedule/backbone_learning_rate"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([0, 0, 0, 0, 0.25e-3, 0.5e-3, 0.75e-3, 1e-3])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"windows": 0.1}, "heads_first has no setting 'windows'; it has window, "),
        ({"window": 20}, r"heads_first\.window is 20; give the share of the run"),
        ({"least_improvement": 1.0}, r"heads_first\.least_improvement is 1\.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        tiny_module(heads_first=settings, backbone_settings=TINY_BACKBONE)
