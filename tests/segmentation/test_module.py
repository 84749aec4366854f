from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from medino.core import InputError, TrainingStoppedError
from medino.features import EvaluationTransform
from medino.models import build_backbone, save_backbone
from medino.segmentation import Segmentation, SegmentationBatch, SegmentationData

TrainerMaker = Callable[..., pl.Trainer]

VALUES = {"background": 0, "bright": 128, "dark": 255}
SMALL = EvaluationTransform(size=64)


def shapes_data(manifest: Path, **settings: Any) -> SegmentationData:
    return SegmentationData(str(manifest), VALUES, SMALL, **{"batch_size": 7, **settings})


def module(**settings: Any) -> Segmentation:
    return Segmentation(list(VALUES), **settings)


class Losses(Callback):
    """Notes the loss of every step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.values.append(float(outputs["loss"]))


def fit_losses(trainer: TrainerMaker, manifest: Path, steps: int, **settings: Any) -> tuple[list[float], Segmentation]:
    losses, model = Losses(), module(**settings)
    trainer(steps, callbacks=[losses]).fit(model, shapes_data(manifest))
    return losses.values, model


@pytest.mark.parametrize(
    ("head", "steps", "settings"),
    [("linear", 60, {}), ("multilayer", 60, {}), ("unetr", 25, {"crop": 32, "batch_size": 4})],
)
def test_a_head_learns_shapes_that_it_can_see(
    shapes: Path, trainer: TrainerMaker, head: str, steps: int, settings: dict[str, int]
) -> None:
    model = module(head=head, learning_rate=1e-2)
    runner = trainer(steps)
    data = shapes_data(shapes, **settings)
    runner.fit(model, data)
    (metrics,) = runner.test(model, datamodule=data, verbose=False)
    assert metrics["test/dice/bright"] > 0.9
    assert metrics["test/dice/dark"] > 0.9
    assert len(model.test_results) == 6 * 2
    assert {result.unit for result in model.test_results} == {"px"}


def test_the_backbone_stays_as_it_was_bit_for_bit(shapes: Path, trainer: TrainerMaker) -> None:
    model = module()
    before = {key: value.clone() for key, value in model.features.state_dict().items()}
    head_before = {key: value.clone() for key, value in model.head.state_dict().items()}
    runner = trainer(3)
    runner.fit(model, shapes_data(shapes, horizontal_flip=True))
    assert not model.features.backbone.training
    assert all(torch.equal(before[key], value) for key, value in model.features.state_dict().items())
    assert all(parameter.grad is None for parameter in model.features.parameters())
    optimised = {id(p) for group in runner.optimizers[0].param_groups for p in group["params"]}
    assert optimised == {id(parameter) for parameter in model.head.parameters()}
    assert not torch.equal(head_before["classify.weight"], model.head.state_dict()["classify.weight"])


def test_two_runs_with_one_seed_are_the_same_bit_for_bit(shapes: Path, trainer: TrainerMaker) -> None:
    torch.manual_seed(1)
    first, one = fit_losses(trainer, shapes, 5, seed=3)
    torch.manual_seed(2)
    second, two = fit_losses(trainer, shapes, 5, seed=3)
    other, _ = fit_losses(trainer, shapes, 5, seed=4)
    assert first == second
    assert first != other
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


class StopAt(Callback):
    """Ends training as a killed job does, after some steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


def test_a_resumed_run_is_the_run_uninterrupted(shapes: Path, trainer: TrainerMaker, tmp_path: Path) -> None:
    expected, whole = fit_losses(trainer, shapes, 6)

    saving = ModelCheckpoint(tmp_path, filename="last", every_n_train_steps=3)
    before = Losses()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer(6, callbacks=[before, saving, StopAt(4)], enable_checkpointing=True).fit(module(), shapes_data(shapes))
    after, resumed = Losses(), module()
    trainer(6, callbacks=[after]).fit(
        resumed, shapes_data(shapes), ckpt_path=str(tmp_path / "last.ckpt"), weights_only=True
    )
    assert before.values[:3] + after.values == expected
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_checkpoint_holds_the_head_alone_and_no_path(shapes: Path, trainer: TrainerMaker, tmp_path: Path) -> None:
    weights = tmp_path / "secret-name.safetensors"
    save_backbone(build_backbone("mini", seed=5), weights)
    runner = trainer(2)
    model = module(weights=str(weights))
    runner.fit(model, shapes_data(shapes))
    path = tmp_path / "end.ckpt"
    runner.save_checkpoint(path)
    content = torch.load(path, weights_only=True)
    assert not [key for key in content["state_dict"] if "backbone" in key]
    assert b"secret-name" not in path.read_bytes()

    again = Segmentation.load_from_checkpoint(path, weights=str(weights), weights_only=True)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(again.eval()(images), model.eval()(images))
    with pytest.raises(InputError, match="trained on the backbone"):
        Segmentation.load_from_checkpoint(path, weights_only=True)


def test_a_large_image_is_covered_by_windows_of_the_training_size() -> None:
    model = module(overlap=0.0, head="multilayer").eval()
    model.trained_side.fill_(64)
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = model(image)
        for top in (0, 64):
            for left in (0, 64):
                part = slice(top, top + 64), slice(left, left + 64)
                direct = model(image[:, :, *part])
                torch.testing.assert_close(scores[:, :, *part], direct, rtol=1e-4, atol=1e-5)


def test_windows_overlap_by_a_third_and_are_averaged() -> None:
    model = module().eval()
    model.trained_side.fill_(48)
    image = torch.randn(1, 3, 48, 80, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = model(image)
        first, second = model(image[..., :48]), model(image[..., 32:])
    torch.testing.assert_close(scores[..., :32], first[..., :32], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores[..., 48:], second[..., 16:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores[..., 32:48], (first[..., 32:] + second[..., :16]) / 2, rtol=1e-4, atol=1e-5)


def test_training_on_crops_tests_whole_images_by_windows(shapes: Path, trainer: TrainerMaker) -> None:
    model, runner, data = module(learning_rate=1e-2), trainer(30), shapes_data(shapes, crop=48)
    runner.fit(model, data)
    assert int(model.trained_side) == 48
    (metrics,) = runner.test(model, datamodule=data, verbose=False)
    assert metrics["test/dice"] > 0.8


def test_token_maps_from_memory_are_those_of_the_backbone(shapes: Path, trainer: TrainerMaker) -> None:
    model = module(layers=[2, 5])
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 3, 64, 64, generator=generator)
    batch = SegmentationBatch(images, torch.zeros(3, 64, 64).long(), ["a", "b", "a"], ["p"] * 3, [None] * 3, 0, [], 2)
    maps = model.features.of_batch(batch)
    tokens = model.features.backbone.intermediate(images, [2, 5])
    expected = torch.cat([layer.patches for layer in tokens], dim=-1).permute(0, 3, 1, 2)
    torch.testing.assert_close(maps[:2], expected[:2])
    assert torch.equal(maps[0], maps[2])
    assert model.features.channels == expected.shape[1]


def test_training_with_and_without_memory_for_tokens_agree(shapes: Path, trainer: TrainerMaker) -> None:
    kept, _ = fit_losses(trainer, shapes, 4)
    fresh, _ = fit_losses(trainer, shapes, 4, token_cache_mb=0)
    assert kept == pytest.approx(fresh, rel=1e-4)


def test_the_loss_is_cross_entropy_plus_dice() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, masks = torch.randn(2, 3, 8, 8, generator=generator), torch.randint(3, (2, 8, 8), generator=generator)
    shares = scores.softmax(1)
    dice = []
    for index in range(3):
        share, truth = shares[:, index], (masks == index).float()
        dice.append(1 - (2 * (share * truth).sum() + 1e-5) / (share.sum() + truth.sum() + 1e-5))
    expected = torch.nn.functional.cross_entropy(scores, masks) + torch.stack(dice).mean()
    torch.testing.assert_close(module().loss_of(scores, masks), expected)


class OneBadStep(Segmentation):
    """Its loss is not finite in one step."""

    def __init__(self, bad_step: int, **settings: Any) -> None:
        super().__init__(list(VALUES), **settings)
        self.bad_step = bad_step
        self.state_before: dict[str, torch.Tensor] = {}

    def training_step(self, batch: SegmentationBatch, batch_index: int) -> torch.Tensor:
        if batch.step == self.bad_step:
            self.state_before = {key: value.clone() for key, value in self.head.state_dict().items()}
            batch = batch._replace(images=torch.full_like(batch.images, torch.nan))
        return super().training_step(batch, batch_index)

    def on_train_batch_end(self, outputs: Any, batch: SegmentationBatch, batch_index: int) -> None:
        if batch.step == self.bad_step:
            for key, value in self.head.state_dict().items():
                assert torch.equal(value, self.state_before[key])
        super().on_train_batch_end(outputs, batch, batch_index)


def test_a_step_that_is_not_finite_is_skipped_with_its_samples_named(shapes: Path, trainer: TrainerMaker) -> None:
    model, runner = OneBadStep(1, token_cache_mb=0), trainer(4)
    data = shapes_data(shapes)
    with pytest.warns(UserWarning, match="step 1 is skipped: loss or gradient are not finite; its samples: ") as said:
        runner.fit(model, data)
    assert model.state_before
    (warning,) = [str(one.message) for one in said if "is skipped" in str(one.message)]
    assert len(warning.split(", ")) == 7
    assert runner.global_step == 4
    assert model.nonfinite_in_a_row == 0
    assert all(value.isfinite().all() for value in model.head.state_dict().values())


def test_nothing_but_steps_that_are_not_finite_stop_training_in_words(shapes: Path, trainer: TrainerMaker) -> None:
    model = module(max_nonfinite_steps=2)
    with torch.no_grad():
        model.head.classify.weight[0] = float("nan")
    with (
        pytest.warns(UserWarning, match="is skipped"),
        pytest.raises(TrainingStoppedError, match=r"stopped at step 1: .* 2 steps in a row; no checkpoint was due"),
    ):
        trainer(5).fit(model, shapes_data(shapes))


def test_masks_are_predicted_in_the_values_they_were_given_in(
    shapes: Path, trainer: TrainerMaker, tmp_path: Path
) -> None:
    model, runner, data = module(learning_rate=1e-2), trainer(20), shapes_data(shapes)
    runner.fit(model, data)
    predictions = runner.predict(model, datamodule=data)
    assert predictions is not None
    assert sum(len(part) for part in predictions) == 24
    written = sorted((tmp_path / "masks").glob("*.png"))
    assert len(written) == 24
    values = set(np.unique(np.stack([np.asarray(Image.open(path)) for path in written])).tolist())
    assert values == {0, 128, 255}


def test_images_are_drawn_only_where_asked_for(shapes: Path, trainer: TrainerMaker, tmp_path: Path) -> None:
    data = shapes_data(shapes)
    trainer().test(module(), datamodule=data, verbose=False)
    assert not list(tmp_path.rglob("*.png"))
    model = module(save_overlays=4)
    trainer().test(model, datamodule=data, verbose=False)
    written = sorted((tmp_path / "figures").glob("overlay-*.png"))
    assert [path.stem.split("-")[2] for path in written] == ["worst", "worst", "middle", "best"]
    assert np.asarray(Image.open(written[0])).std() > 0
    measured: dict[str, list[float]] = {}
    for result in model.test_results:
        measured.setdefault(result.sample_id, []).append(result.dice)
    dice = [np.mean(measured[path.stem.split("-")[3]]) for path in written]
    every = sorted(map(np.mean, measured.values()))
    assert sorted(dice[:2]) == every[:2]
    assert every[1] <= dice[2] <= every[-1] == dice[3]


def test_distances_are_in_mm_where_the_spacing_is_known(phantom: Path, trainer: TrainerMaker) -> None:
    values = {"background": 0, "lung": 1, "finding": 2}
    model, data = Segmentation(list(values)), SegmentationData(str(phantom), values, SMALL)
    trainer().test(model, datamodule=data, verbose=False)
    assert {result.unit for result in model.test_results} == {"mm"}


def test_settings_that_do_not_fit_are_refused(shapes: Path, trainer: TrainerMaker) -> None:
    with pytest.raises(InputError, match="class_names"):
        Segmentation(["background"])
    with pytest.raises(InputError, match="head is 'conv'"):
        Segmentation(list(VALUES), head="conv")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="blocks 0 to 5"):
        module(layers=[9])
    with pytest.raises(InputError, match="same names in the same order"):
        trainer().fit(Segmentation(["background", "dark", "bright"]), shapes_data(shapes))
    other = SegmentationData(str(shapes), VALUES, EvaluationTransform(size=64, mean=(0.5, 0.5, 0.5)))
    with pytest.raises(InputError, match="normalises by mean"):
        trainer().fit(module(), other)
