"""Batches are the same however they are made, broken files become rejects, settings that don't fit are refused."""

import dataclasses
import inspect
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medino.core import InputError, RunFolder, TrainingStoppedError
from medino.data import Manifest, PixelDataset, Pixels
from medino.models import PRESETS, BackboneConfig
from medino.ssl import DINOv2, PretrainingBatch
from tests.ssl.conftest import IMAGES, TINY_BACKBONE, tiny_data

BACKBONE = PRESETS["mini"].replace(**TINY_BACKBONE)
Train = Callable[..., tuple[DINOv2, dict[int, float]]]


def batches(manifest: Path, steps: int = 3, **where: Any) -> list[PretrainingBatch]:
    data = {
        name: where.pop(name)
        for name in ("num_workers", "views", "uniform_over", "slices_per_series", "weights")
        if name in where
    }
    return list(tiny_data(manifest, **data).batches(BACKBONE, steps, **where))


def assert_same(one: PretrainingBatch, other: PretrainingBatch) -> None:
    assert (one.step, one.first_position, one.sample_ids) == (other.step, other.first_position, other.sample_ids)
    for name in ("global_crops", "local_crops", "masks"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_a_batch_has_the_shapes_that_the_module_takes(manifest: Path) -> None:
    first, *others = batches(manifest)
    assert first.global_crops.shape == (8, 3, 32, 32)
    assert first.local_crops.shape == (8, 3, 16, 16)
    assert first.masks.shape == (8, 16)
    assert (first.batch_size, len(first.sample_ids), len(others)) == (4, 4, 2)
    assert int(first.masks.any(dim=1).sum()) == 4


@pytest.mark.parametrize("num_workers", [1, 3])
def test_any_number_of_workers_makes_the_same_batches(manifest: Path, num_workers: int) -> None:
    for one, other in zip(batches(manifest), batches(manifest, num_workers=num_workers), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("views", ["natural", "radiology", "histology"])
def test_two_processes_see_together_what_one_would(manifest: Path, views: str) -> None:
    whole = batches(manifest, views=views)
    parts = [batches(manifest, views=views, rank=rank, world_size=2) for rank in range(2)]
    for one, *halves in zip(whole, *parts, strict=True):
        assert [half.first_position for half in halves] == [0, 2]
        assert one.sample_ids == halves[0].sample_ids + halves[1].sample_ids
        for name in ("global_crops", "local_crops", "masks"):
            # Crop-major: the images of a crop lie together, so the halves are joined crop by crop.
            joined = torch.cat([getattr(half, name).unflatten(0, (2, 2)) for half in halves], dim=1).flatten(0, 1)
            assert torch.equal(getattr(one, name), joined), name


def test_a_later_start_goes_on_with_the_same_batches(manifest: Path) -> None:
    for one, other in zip(batches(manifest)[1:], batches(manifest, start_step=1), strict=True):
        assert_same(one, other)


def test_crops_lie_crop_major(manifest: Path) -> None:
    data = tiny_data(manifest)
    dataset = data.batches(BACKBONE, 1).loader.dataset
    (batch,) = data.batches(BACKBONE, 1)
    (addresses,) = data.batches(BACKBONE, 1).loader.sampler
    alone = dataset[[addresses[2]]]
    assert torch.equal(batch.global_crops[[2, 6]], alone.global_crops)
    assert torch.equal(batch.local_crops[[2, 6]], alone.local_crops)


def test_a_broken_file_is_replaced_and_reported_and_training_goes_on(
    manifest: Path, tmp_path: Path, train: Train
) -> None:
    broken = tmp_path / "images" / "c_02.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.warns(UserWarning, match="can't be decoded and is left out"):
        _, losses = train(manifest, 6, data={"num_workers": 1})
    assert len(losses) == 6
    after = Manifest.read(manifest)
    assert len(after) == IMAGES - 1
    assert [reject.path for reject in after.rejects] == ["c_02.png"]
    text = RunFolder(tmp_path / "run").rejects.read_text()
    assert text.startswith("sample_id,reason")
    assert len(text.splitlines()) == 2
    assert "c_02" not in text


def test_a_broken_file_gives_the_same_batches_for_any_number_of_workers(manifest: Path, tmp_path: Path) -> None:
    broken = tmp_path / "images" / "c_02.png"
    broken.write_bytes(b"")
    alone, together = batches(manifest, 6), batches(manifest, 6, num_workers=2)
    assert sum(len(batch.rejects) for batch in alone) > 0
    for one, other in zip(alone, together, strict=True):
        assert_same(one, other)
        assert one.rejects == other.rejects


@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_that_broke_on_the_way_stop_the_run_in_words(manifest: Path, tmp_path: Path, num_workers: int) -> None:
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"nothing")
    (batch,) = batches(manifest, 1, num_workers=num_workers)
    with pytest.raises(TrainingStoppedError, match="20 images in a row can't be decoded") as caught:
        tiny_data(manifest).on_before_batch_transfer(batch, 0)
    assert "\n" not in str(caught.value)


def test_the_data_moves_its_batches_and_waits_for_no_gpu(
    manifest: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning by itself waits until all but plain tensors are there, so that pinned memory gains nothing."""
    moves: list[tuple[str, bool, str]] = []

    def to(batch: PretrainingBatch, device: torch.device, non_blocking: bool = False) -> PretrainingBatch:
        moves.append((device.type, non_blocking, inspect.stack()[1].function))
        return batch

    monkeypatch.setattr(PretrainingBatch, "to", to)
    train(manifest, 2)
    assert moves == [("cpu", False, "transfer_batch_to_device")] * 2
    (batch,) = batches(manifest, 1)
    tiny_data(manifest).transfer_batch_to_device(batch, torch.device("cuda", 0), 0)
    assert moves[2:] == [("cuda", True, "transfer_batch_to_device")]


def test_nothing_but_broken_files_is_refused_before_the_first_step(
    manifest: Path, tmp_path: Path, train: Train
) -> None:
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"none of the \d+ images .* can be decoded; look at them by medino scan"):
        train(manifest, 2)


def test_only_training_rows_are_trained_on(split_manifest: Path) -> None:
    whole = Manifest.read(split_manifest)
    training = set(whole.select(whole.column("split") == "train").column("sample_id"))
    seen = {sample_id for batch in batches(split_manifest, 6) for sample_id in batch.sample_ids}
    assert seen == training
    assert len(tiny_data(split_manifest, splits=["train", "test"]).manifest) > len(training)


def test_uniform_over_patients_gives_each_the_same_share(manifest: Path) -> None:
    whole = Manifest.read(manifest)
    # One patient is left with a single image, the others have two.
    whole.select(range(1, IMAGES)).write(manifest)
    patient_of = dict(zip(whole.column("sample_id"), whole.column("patient"), strict=True))
    drawn = [[patient_of[s] for s in batch.sample_ids] for batch in batches(manifest, 2, uniform_over="patients")]
    # A pass: two batches of four different patients each, so that two of the six come once more.
    assert all(len(set(batch)) == 4 for batch in drawn)
    assert sorted(Counter(drawn[0] + drawn[1]).values()) == [1, 1, 1, 1, 2, 2]


def test_slices_of_a_series_are_limited_and_kept_apart(manifest: Path) -> None:
    whole = Manifest.read(manifest)
    series = whole.column("patient")
    whole.with_column("series", series).write(manifest)
    series_of = dict(zip(whole.column("sample_id"), series, strict=True))
    drawn = [[series_of[s] for s in batch.sample_ids] for batch in batches(manifest, 2, slices_per_series=1)]
    assert all(sorted(set(batch)) == sorted(batch) for batch in drawn)
    assert sorted(Counter(drawn[0] + drawn[1]).values()) == [1, 1, 1, 1, 2, 2]


def test_weights_go_by_a_column(manifest: Path) -> None:
    whole = Manifest.read(manifest)
    modality = np.array(["CT", "MR", None] * IMAGES)[:IMAGES]
    whole.with_column("modality", modality).write(manifest)
    modality_of = dict(zip(whole.column("sample_id"), modality, strict=True))
    made = batches(manifest, 12, weights={"modality": {"CT": 3, "MR": 0}})
    drawn = Counter(modality_of[s] for batch in made for s in batch.sample_ids)
    assert drawn["MR"] == 0
    assert drawn["CT"] == 3 * drawn[None] == 36


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 1}, "batch_size is 1; KoLeo needs a neighbour"),
        ({"num_workers": -1}, "num_workers is -1"),
        ({"splits": ["tests"]}, "no row of split tests"),
        ({"window": "wide"}, "no window 'wide'"),
        ({"weights": {"modality": {"CTT": 2}}}, "no image has the modality 'CTT'"),
        ({"weights": {"path": {"a": 2}}}, "weights go by modality"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused(
    split_manifest: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        tiny_data(split_manifest, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"global_size": 30}, "global_size is 30 pixels, which is no multiple of the backbone's patch of 8; give 32"),
        ({"local_size": 4}, "local_size is 4 pixels, .* patch of 8; give 8"),
    ],
)
def test_crops_that_are_no_whole_number_of_patches_are_refused(
    manifest: Path, train: Train, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        train(manifest, 2, data=changes)


def test_images_smaller_than_a_patch_are_refused(manifest: Path) -> None:
    with pytest.raises(InputError, match=r"images are smaller than a patch of 64 pixels .*--min-side 64"):
        tiny_data(manifest, global_size=64, local_size=64).batches(BACKBONE.replace(patch_size=64), 2)


def test_a_batch_that_processes_cannot_share_is_refused(manifest: Path) -> None:
    with pytest.raises(InputError, match="4 can't be divided among 3 processes"):
        batches(manifest, world_size=3)


def test_a_missing_or_empty_manifest_is_refused(tmp_path: Path, manifest: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        tiny_data(tmp_path / "nothing.parquet")
    Manifest.read(manifest).select([]).write(tmp_path / "empty.parquet")
    with pytest.raises(InputError, match="holds no image"):
        tiny_data(tmp_path / "empty.parquet")


def test_views_are_normalised_by_the_backbones_own_mean_and_deviation(manifest: Path) -> None:
    def crops(backbone: BackboneConfig) -> torch.Tensor:
        (batch,) = tiny_data(manifest).batches(backbone, 1)
        return batch.global_crops

    plain = crops(BACKBONE.replace(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    assert 0 <= float(plain.min()) <= float(plain.max()) <= 1
    shifted = crops(BACKBONE.replace(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)))
    torch.testing.assert_close(shifted, (plain - 0.5) / 0.25)


def test_an_image_with_nan_is_replaced_and_reported(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = PixelDataset.__getitem__

    def with_nan(self: PixelDataset, index: int) -> Pixels:
        pixels = read(self, index)
        return dataclasses.replace(pixels, values=pixels.values / 0 * 0) if index == 3 else pixels

    monkeypatch.setattr(PixelDataset, "__getitem__", with_nan)
    made = batches(manifest, 3)
    assert {row for batch in made for row, _ in batch.rejects} == {3}
    assert all("not finite" in reason for batch in made for _, reason in batch.rejects)
    assert all(bool(batch.global_crops.isfinite().all()) for batch in made)
