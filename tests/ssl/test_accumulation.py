"""Micro-batches give the large batch's losses and weights; where they don't, that is what is said and logged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medino.core import InputError
from medino.ssl import Anchor, DINOv2, HeadsFirst, koleo_loss
from medino.ssl.accumulation import micro_batches
from medino.ssl.settings import scopes
from tests.ssl.conftest import TINY_BACKBONE, tiny_data, tiny_module

Train = Callable[..., tuple[DINOv2, dict[int, float]]]

WELL_CONDITIONED: dict[str, Any] = {
    # Drop path is drawn for each part of the batch; gradients must be well above rounding, as AdamW divides by them.
    "drop_path_rate": 0.0,
    "backbone_settings": {**TINY_BACKBONE, "layerscale_init": 1.0},
    "koleo_weight": 0.0,
    "lr_scaling": "none",
    "base_lr": 1e-3,
    "warmup": 0.0,
}

CASES: dict[str, dict[str, Any]] = {
    "centre": {"centering": "centering"},
    "sinkhorn": {"centering": "sinkhorn_knopp", "separate_ibot_head": True},
    "queue and anchor": {"centering": "sinkhorn_knopp", "sinkhorn_queue": 6, "anchor": Anchor(3.0, 5.0)},
    "heads first": {"heads_first": HeadsFirst(at_most=0.5, least_improvement=-9.0, ramp=0.5)},
    "dino v1": {"objective": "dino"},
}


def without_rounding(name: str, value: torch.Tensor) -> torch.Tensor:
    # The biases of keys move by rounding alone, see test_golden_steps.py.
    return torch.cat([value.chunk(3)[0], value.chunk(3)[2]]) if name.endswith("qkv.bias") else value


def test_micro_batches_are_the_batch_in_parts_each_at_its_place(manifest: Path) -> None:
    batch = next(iter(tiny_data(manifest, batch_size=6).batches(tiny_module().backbone_config, 1)))
    parts = micro_batches(batch, 3)
    assert [part.first_position for part in parts] == [0, 2, 4]
    assert [sample_id for part in parts for sample_id in part.sample_ids] == batch.sample_ids
    for name in ("global_crops", "local_crops", "masks"):
        together = torch.cat([getattr(part, name).unflatten(0, (-1, 2)) for part in parts], dim=1).flatten(0, 1)
        assert torch.equal(together, getattr(batch, name))
    with pytest.raises(InputError, match="6 images on each process can't be divided into 4 micro-batches"):
        micro_batches(batch, 4)


@pytest.mark.parametrize("name", CASES)
def test_micro_batches_give_the_losses_and_weights_of_the_large_batch(name: str, manifest: Path, train: Train) -> None:
    settings = WELL_CONDITIONED | CASES[name]
    large, losses = train(manifest, 4, run="large", module=settings)
    small, parts = train(manifest, 4, run="small", module={**settings, "accumulate": 2})
    assert parts == pytest.approx(losses, rel=1e-5)
    expected, found = large.state_dict(), small.state_dict()
    for key, value in expected.items():
        if value.is_floating_point():
            difference = without_rounding(key, value) - without_rounding(key, found[key])
            assert float(difference.abs().max()) <= 1e-5, key


def test_koleo_is_the_mean_over_the_micro_batches(manifest: Path) -> None:
    module = tiny_module(drop_path_rate=0.0, koleo_weight=1.0)
    batch = next(iter(tiny_data(manifest).batches(module.backbone_config, 1)))
    parts = micro_batches(batch, 2)
    found = [
        module.core.learn(part, taught).terms["koleo"]
        for part, taught in zip(parts, module.core.teach(parts, 0.05), strict=True)
    ]
    with torch.no_grad():
        tokens = module.core.student.backbone(batch.global_crops, batch.masks).class_token.unflatten(0, (2, 2, 2))
        for number in range(2):
            expected = koleo_loss(tokens[0, number]) + koleo_loss(tokens[1, number])
            torch.testing.assert_close(found[number], expected, rtol=1e-4, atol=1e-5)


def test_what_is_computed_over_which_images_is_said() -> None:
    settings = dict(tiny_module(centering="sinkhorn_knopp").hparams)
    assert scopes(settings, 64, 1) == []
    settings |= {"accumulate": 4, "sinkhorn_queue": 512}
    assert scopes(settings, 64, 2) == [
        "64 images a step, on 2 processes in 4 micro-batches; DINO, iBOT and their gradients are the whole batch's",
        "the teacher's targets (Sinkhorn-Knopp) are made over all 64 images, "
        "class tokens with those of 512 past images",
        "KoLeo looks for the nearest neighbour among 16 images",
    ]
    settings |= {"koleo_scope": "process", "koleo_queue": 32}
    assert scopes(settings, 64, 2)[-1] == "KoLeo looks for the nearest neighbour among 8 images and 32 past ones"


def test_the_scope_is_logged_when_training_starts(
    manifest: Path, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        train(manifest, 1, module={"accumulate": 2})
    assert "4 images a step, on 1 process in 2 micro-batches" in caplog.text
    assert "the teacher's targets (the centre) are made over all 4 images" in caplog.text
    assert "KoLeo looks for the nearest neighbour among 2 images" in caplog.text
