from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from medino.cli.main import main
from medino.core import InputError
from medino.data import Manifest, scan
from medino.features import EvaluationTransform
from medino.probes import read_evidence
from medino.segmentation import DenseData, DenseRegression, DenseResult, dense_evidence, scale_invariant_loss
from medino.segmentation.dense_metrics import dense_result, mean_dense_metrics

TrainerMaker = Callable[..., pl.Trainer]

SMALL = EvaluationTransform(size=64)
NAN = float("nan")


def value_of(redness: np.ndarray) -> np.ndarray:
    """The law of the synthetic maps: 20 where the image is blue, e^2.5 times as much where it is red."""
    return 20 * np.exp(2.5 * redness)


@pytest.fixture(scope="module")
def hills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 20 images smooth between blue and red; a pixel's value follows from its colour alone.

    Maps are TIFF; in each the lowest rows have no value: NaN, 0, and infinity.
    """
    folder = tmp_path_factory.mktemp("hills")
    generator = np.random.default_rng(0)
    for part in ("images", "maps"):
        (folder / part).mkdir()
    for number in range(20):
        coarse = Image.fromarray(generator.uniform(0, 1, (3, 3)).astype(np.float32))
        redness = np.asarray(coarse.resize((64, 64), Image.Resampling.BICUBIC)).clip(0, 1)
        image = np.stack([40 + 180 * redness, np.full_like(redness, 40), 220 - 180 * redness], axis=-1)
        values = value_of(redness).astype(np.float32)
        values[56:59], values[59:62], values[62:] = np.nan, 0, np.inf
        Image.fromarray(np.rint(image).astype(np.uint8)).save(folder / "images" / f"{number:02d}.png")
        Image.fromarray(values).save(folder / "maps" / f"{number:02d}.tiff")
    manifest = scan([folder / "images"], masks=folder / "maps")
    splits = ["train"] * 12 + ["validation"] * 2 + ["test"] * 6
    manifest.with_column("split", splits).write(folder / "cohort.parquet")
    return folder / "cohort.parquet"


def test_the_loss_is_the_papers_for_each_lambda() -> None:
    generator = torch.Generator().manual_seed(0)
    log_predicted, target = torch.randn(1, 3, 4, generator=generator), torch.rand(1, 3, 4, generator=generator) + 0.5
    d = (log_predicted - target.log()).flatten()
    of_logs = d.square().mean()
    of_pairs = (d[:, None] - d[None, :]).square().mean() / 2
    torch.testing.assert_close(scale_invariant_loss(log_predicted, target, 0.0), of_logs)
    torch.testing.assert_close(scale_invariant_loss(log_predicted, target, 1.0), of_pairs)
    torch.testing.assert_close(scale_invariant_loss(log_predicted, target, 0.5), (of_logs + of_pairs) / 2)


def test_one_factor_an_image_costs_nothing_at_lambda_1() -> None:
    target = torch.rand(2, 4, 4) + 0.5
    factors = torch.tensor([3.0, 0.2])[:, None, None]
    assert float(scale_invariant_loss((target * factors).log(), target, 1.0)) == pytest.approx(0, abs=1e-6)
    assert float(scale_invariant_loss((target * factors).log(), target, 0.5)) > 0.1


def test_pixels_without_a_target_have_no_say_in_loss_and_gradient() -> None:
    log_predicted = torch.randn(2, 4, 4, requires_grad=True)
    target = torch.rand(2, 4, 4) + 0.5
    target[0, :2], target[1] = NAN, NAN
    loss = scale_invariant_loss(log_predicted, target, 0.5)
    torch.testing.assert_close(loss, scale_invariant_loss(log_predicted[:1, 2:], target[:1, 2:], 0.5))
    loss.backward()
    assert log_predicted.grad is not None
    assert bool((log_predicted.grad[:1, 2:] != 0).all())
    assert float(log_predicted.grad[0, :2].abs().sum() + log_predicted.grad[1].abs().sum()) == 0


def test_a_batch_without_any_target_costs_nothing() -> None:
    log_predicted = torch.randn(2, 4, 4, requires_grad=True)
    loss = scale_invariant_loss(log_predicted, torch.full((2, 4, 4), NAN), 0.5)
    loss.backward()
    assert float(loss) == 0
    assert log_predicted.grad is not None
    assert float(log_predicted.grad.abs().sum()) == 0


def test_metrics_of_a_map_off_by_a_factor() -> None:
    target = torch.tensor([[1.0, 2.0], [NAN, 4.0]])
    close = dense_result(target * 1.2, target, "a", "p")
    assert close.abs_rel == pytest.approx(0.2)
    assert close.delta1 == 1
    assert close.rmse == pytest.approx(0.2 * (21 / 3) ** 0.5)
    far = dense_result(torch.tensor([[1.0, 2.6], [9.0, 3.0]]), target, "b", "p")
    assert far.delta1 == pytest.approx(1 / 3)
    assert mean_dense_metrics([close, far])["delta1"] == pytest.approx(2 / 3)
    assert mean_dense_metrics([]) == {}


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_a_head_finds_the_law_of_a_synthetic_map(
    hills: Path, trainer: TrainerMaker, tmp_path: Path, scale: float
) -> None:
    for path in (hills.parent / "maps").glob("*.tiff"):
        (tmp_path / "maps").mkdir(exist_ok=True)
        Image.fromarray(np.asarray(Image.open(path)) * np.float32(scale)).save(tmp_path / "maps" / path.name)
    manifest = scan([hills.parent / "images"], masks=tmp_path / "maps")
    manifest.with_column("split", Manifest.read(hills).column("split")).write(tmp_path / "cohort.parquet")
    model, runner = DenseRegression(learning_rate=1e-2), trainer(80)
    data = DenseData(str(tmp_path / "cohort.parquet"), transform=SMALL, batch_size=6)
    runner.fit(model, data)
    (metrics,) = runner.test(model, datamodule=data, verbose=False)
    assert metrics["test/delta1"] > 0.9
    assert metrics["test/abs_rel"] < 0.15
    # What a map of the same value everywhere reaches.
    truths = [case[case.isfinite()] for batch in data.test_dataloader() for case in batch.masks]
    constant = torch.stack([((t - model.mean_log.exp()).abs() / t).mean() for t in truths]).mean()
    assert metrics["test/abs_rel"] < 0.3 * float(constant)


def test_predicted_maps_are_written_in_the_units_of_the_training_maps(
    hills: Path, trainer: TrainerMaker, tmp_path: Path
) -> None:
    model, runner = DenseRegression(), trainer(1)
    data = DenseData(str(hills), transform=SMALL, batch_size=6)
    runner.fit(model, data)
    predictions = runner.predict(model, datamodule=data)
    assert predictions is not None
    written = {path.stem: np.asarray(Image.open(path)) for path in (tmp_path / "maps").glob("*.tiff")}
    assert set(written) == set(data.manifest.column("sample_id").tolist())
    first = data.manifest.sample(0).sample_id
    np.testing.assert_allclose(written[first], torch.as_tensor(predictions[0])[0].numpy())
    assert 20 < written[first].mean() < 250


def test_what_has_no_value_is_nan_on_the_grid_too(hills: Path) -> None:
    data = DenseData(str(hills), transform=EvaluationTransform(size=96, fit="pad"))
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    assert bool(batch.masks[:, :80].isfinite().all())
    assert bool(batch.masks[:, 85:].isnan().all())


def written(folder: Path, *maps: np.ndarray) -> str:
    for part in ("images", "maps"):
        (folder / part).mkdir()
    for number, values in enumerate(maps):
        Image.fromarray(np.full(values.shape, 99, dtype=np.uint8)).save(folder / "images" / f"{number}.png")
        Image.fromarray(values.astype(np.float32)).save(folder / "maps" / f"{number}.tiff")
    manifest = scan([folder / "images"], masks=folder / "maps").with_column("split", ["train"] * len(maps))
    manifest.write(folder / "cohort.parquet")
    return str(folder / "cohort.parquet")


def test_padding_has_no_target(tmp_path: Path) -> None:
    path = written(tmp_path, np.full((32, 64), 5.0))
    data = DenseData(path, transform=EvaluationTransform(size=64, fit="pad"))
    data.setup("fit")
    (case,) = [data.training_cases()[0]]
    assert bool(case.mask[:16].isnan().all())
    assert bool((case.mask[16:48] == 5).all())


@pytest.mark.parametrize(("value", "missing"), [(-3.0, 0.0), (0.0, None)])
def test_values_that_have_no_logarithm_are_said(tmp_path: Path, value: float, missing: float | None) -> None:
    values = np.full((64, 64), 5.0)
    values[3, 4] = value
    with pytest.raises(InputError, match=rf"the map of sample \w+ holds {value:g}, .* say by missing_value"):
        DenseData(written(tmp_path, values), missing, SMALL).setup("fit")


def test_another_value_may_mean_that_there_is_none(tmp_path: Path) -> None:
    values = np.full((64, 64), 5.0)
    values[:, :8] = -1024
    data = DenseData(written(tmp_path, values), -1024.0, SMALL)
    data.setup("fit")
    assert int(data.training_cases()[0].mask.isnan().sum()) == 64 * 8


def test_a_map_without_any_value_is_left_out_with_a_warning(tmp_path: Path) -> None:
    data = DenseData(written(tmp_path, np.full((64, 64), 5.0), np.full((64, 64), np.nan)), transform=SMALL)
    with pytest.warns(UserWarning, match="1 of 2 images are left out; .* its map has no value"):
        data.setup("fit")
    assert len(data.training_cases()) == 1


def test_settings_without_a_meaning_are_refused() -> None:
    with pytest.raises(InputError, match=r"scale_invariance is 1\.5"):
        DenseRegression(scale_invariance=1.5)
    with pytest.raises(InputError, match="head is 'conv'"):
        DenseRegression(head="conv")  # type: ignore[arg-type]


def test_evidence_has_each_case_and_an_interval_over_patients() -> None:
    results = [DenseResult(str(i), f"p{i // 2}", rmse=i, abs_rel=0.1, delta1=0.9) for i in range(6)]
    named: dict[str, Any] = {"dataset": "d", "backbone": "b", "features": "last", "head": "linear"}
    rows = dense_evidence(results, **named, patient_unit="patient", pretraining_patients=["p1"])
    outcomes = [row for row in rows if row.kind == "outcome" and row.metric == "rmse"]
    assert [row.value for row in outcomes] == [0, 1, 2, 3, 4, 5]
    (summary,) = [row for row in rows if row.kind == "summary" and row.metric == "rmse"]
    assert summary.value == 2.5
    assert summary.patients == 3
    assert summary.patients_seen == 1
    assert summary.low is not None
    assert summary.high is not None
    assert 0.5 <= summary.low < 2.5 < summary.high <= 4.5
    assert (summary.seed, summary.resamples) == (0, 1000)


def test_the_command_trains_tests_and_reports(hills: Path, tmp_path: Path) -> None:
    config = tmp_path / "dense.yaml"
    config.write_text(
        f"""
trainer: {{max_steps: 2, accelerator: cpu}}
model: {{class_path: medino.segmentation.DenseRegression, init_args: {{head: multilayer, lora_rank: 2}}}}
data:
  class_path: medino.segmentation.DenseData
  init_args: {{manifest: {hills}, transform: {{size: 64}}, batch_size: 4}}
"""
    )
    run = tmp_path / "run"
    assert main(["fit", "--config", str(config), "-o", str(run)]) == 0
    assert main(["test", "--config", str(config), "-o", str(run)]) == 0
    evidence = read_evidence(run / "evidence.parquet")
    assert set(evidence["task"].to_pylist()) == {"dense_regression"}
    assert set(evidence["metric"].to_pylist()) == {"rmse", "abs_rel", "delta1"}
    assert set(evidence["probe"].to_pylist()) == {"multilayer + LoRA 2"}
    assert main(["report", str(run)]) == 0
