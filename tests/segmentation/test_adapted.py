from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from medino.core import InputError
from medino.features import EvaluationTransform
from medino.models import PRESETS, build_backbone, save_backbone
from medino.segmentation import Segmentation, SegmentationBatch, SegmentationData
from medino.segmentation.adapted import AdaptedFeatures

TrainerMaker = Callable[..., pl.Trainer]

VALUES = {"background": 0, "bright": 128, "dark": 255}
SMALL = EvaluationTransform(size=64)

FELT = PRESETS["mini"].replace(layerscale_init=1.0)
"""Its blocks have a say though they are untrained: at the recipe's 1e-5 nothing in them shows."""


def adapted(**settings: Any) -> Segmentation:
    return Segmentation(list(VALUES), **{"lora_rank": 4, "learning_rate": 1e-2, **settings})


def shapes_data(manifest: Path) -> SegmentationData:
    return SegmentationData(str(manifest), VALUES, SMALL, batch_size=4, crop=32)


def learnt(model: Segmentation) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.features.state_dict().items() if "lora_" in name}


def backbone_alone(model: Segmentation) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.features.state_dict().items() if "lora_" not in name}


def with_random_adapters(dtype: torch.dtype) -> AdaptedFeatures:
    generator = torch.Generator().manual_seed(0)
    features = AdaptedFeatures(build_backbone(FELT, seed=1).to(dtype), [2, 5], 4, generator)
    with torch.no_grad():
        for parameter in features.adapters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=dtype) * 0.1)
    return features


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_merged_adapters_compute_the_same(dtype: torch.dtype, tolerance: float) -> None:
    features = with_random_adapters(dtype)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=dtype)
    with torch.no_grad():
        apart = features(images)
        features.merge()
        merged = features(images)
        features.part()
        torch.testing.assert_close(merged, apart, rtol=tolerance, atol=tolerance)
        assert torch.equal(features(images), apart)
    untouched = build_backbone(FELT, seed=1).to(dtype).eval()
    without = torch.cat([tokens.patches for tokens in untouched.intermediate(images, [2, 5])], dim=-1)
    assert float((apart - without.permute(0, 3, 1, 2)).abs().mean()) > 0.1


def test_adapters_begin_as_nothing_and_stand_where_they_can_learn() -> None:
    plain, model = Segmentation(list(VALUES), layers=[1, 3]), adapted(layers=[1, 3])
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(plain.eval()(images), model.eval()(images))
    blocks = {name.split(".")[2] for name in learnt(model)}
    assert blocks == {"0", "1", "2", "3"}


def test_head_and_adapters_learn_and_the_backbone_does_not(shapes: Path, trainer: TrainerMaker) -> None:
    model, runner = adapted(), trainer(4)
    before, frozen = learnt(model), backbone_alone(model)
    head = {name: value.clone() for name, value in model.head.state_dict().items()}
    runner.fit(model, shapes_data(shapes))
    assert all(torch.equal(frozen[name], value) for name, value in backbone_alone(model).items())
    assert all(not torch.equal(before[name], value) for name, value in learnt(model).items())
    assert not torch.equal(head["classify.weight"], model.head.state_dict()["classify.weight"])
    assert model.features.backbone.mask_token is not None
    assert not model.features.backbone.mask_token.requires_grad


def test_adapters_fit_what_a_head_alone_does_not(shapes: Path, trainer: TrainerMaker, tmp_path: Path) -> None:
    weights = str(tmp_path / "felt.safetensors")
    save_backbone(build_backbone(FELT, seed=1), weights)

    def last_loss(lora_rank: int | None) -> float:
        model, runner = adapted(weights=weights, lora_rank=lora_rank, learning_rate=3e-3, dropout=0.0), trainer(20)
        runner.fit(model, SegmentationData(str(shapes), VALUES, SMALL, batch_size=7))
        return float(runner.callback_metrics["train/loss"])

    assert last_loss(4) < 0.9 * last_loss(None)


def test_a_checkpoint_holds_head_and_adapters_and_resumes_to_the_bit(
    shapes: Path, trainer: TrainerMaker, tmp_path: Path
) -> None:
    whole = adapted()
    saving = ModelCheckpoint(tmp_path, filename="half", every_n_train_steps=3, save_top_k=-1)
    trainer(6, callbacks=[saving], enable_checkpointing=True).fit(whole, shapes_data(shapes))
    content = torch.load(tmp_path / "half.ckpt", weights_only=True)
    of_backbone = {key for key in content["state_dict"] if "backbone" in key}
    assert of_backbone == {f"features.{name}" for name in learnt(whole)}

    resumed = adapted()
    trainer(6).fit(resumed, shapes_data(shapes), ckpt_path=str(tmp_path / "half.ckpt"), weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        Segmentation(list(VALUES)).load_state_dict(content["state_dict"])


def test_prediction_is_by_merged_adapters(shapes: Path, trainer: TrainerMaker) -> None:
    model, runner, data = adapted(), trainer(4), shapes_data(shapes)
    runner.fit(model, data)
    seen = []

    class Watch(pl.Callback):
        def on_predict_batch_start(self, trainer: pl.Trainer, pl_module: Any, *batch: Any) -> None:
            seen.append(len(pl_module.features._merged))

    predictions = trainer(callbacks=[Watch()]).predict(model, datamodule=data)
    assert predictions is not None
    assert set(seen) == {1}
    assert model.features._merged == ()
    model.eval()
    loader = iter(data.predict_dataloader())
    with torch.no_grad():
        agreeing = [(model.predicted(next(loader).images) == mask).float().mean() for mask in predictions]
    assert min(agreeing) > 0.999  # A score on the edge may fall to either side.


def test_a_step_that_is_not_finite_leaves_head_and_adapters(shapes: Path, trainer: TrainerMaker) -> None:
    class Bad(Segmentation):
        def training_step(self, batch: SegmentationBatch, batch_index: int) -> torch.Tensor:
            return super().training_step(batch._replace(images=torch.full_like(batch.images, torch.nan)), batch_index)

    model = Bad(list(VALUES), lora_rank=4)
    before = {name: value.clone() for name, value in model.state_dict().items() if name != "trained_side"}
    with pytest.warns(UserWarning, match="is skipped"):
        trainer(2).fit(model, shapes_data(shapes))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize("rank", [0, 10_000])
def test_a_rank_out_of_range_is_refused(rank: int) -> None:
    with pytest.raises(InputError, match="LoRA's rank is"):
        adapted(lora_rank=rank)
