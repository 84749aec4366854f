from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from medino.core import InputError
from medino.data import Intensity, Manifest, scan
from medino.features import EvaluationTransform
from medino.segmentation import Segmentation, SegmentationBatch, SegmentationData

TrainerMaker = Callable[..., pl.Trainer]

VALUES = {"background": 0, "bright": 128, "dark": 255}
PHANTOM_VALUES = {"background": 0, "lung": 1, "finding": 2}
SMALL = EvaluationTransform(size=64)


def training_batches(data: SegmentationData, steps: int, **process: int) -> list[SegmentationBatch]:
    """The batches of the first steps, as one process of several sees them."""
    data.setup("fit")
    place = {"global_rank": 0, "world_size": 1, "global_step": 0, **process}
    data.trainer = SimpleNamespace(max_steps=steps, **place)  # type: ignore[assignment]
    return list(data.train_dataloader())


def copy_with(manifest: Path, target: Path, **columns: Any) -> Path:
    """The manifest with some columns replaced, elsewhere."""
    changed = Manifest.read(manifest)
    for name, values in columns.items():
        changed = changed.with_column(name, values)
    changed.write(target / "changed.parquet")
    return target / "changed.parquet"


def test_each_split_gives_its_own_rows_with_masks_in_order(shapes: Path) -> None:
    data = SegmentationData(str(shapes), VALUES, SMALL, batch_size=4)
    data.setup("fit")
    data.setup("test")
    ids = Manifest.read(shapes).column("sample_id")
    assert [i for batch in data.val_dataloader() for i in batch.sample_ids] == ids[14:18].tolist()
    batches = list(data.test_dataloader())
    assert [i for batch in batches for i in batch.sample_ids] == ids[18:].tolist()
    assert batches[0].images.shape == (4, 3, 64, 64)
    assert batches[0].masks.dtype == torch.int64
    assert batches[0].masks.unique().tolist() == [0, 1, 2]


def test_batches_do_not_depend_on_workers_or_processes(shapes: Path) -> None:
    def data(**settings: Any) -> SegmentationData:
        return SegmentationData(str(shapes), VALUES, SMALL, batch_size=4, crop=32, horizontal_flip=True, **settings)

    alone = training_batches(data(), 5)
    by_workers = training_batches(data(num_workers=2, keep_mb=0), 5)
    halves = [training_batches(data(), 5, global_rank=rank, world_size=2) for rank in (0, 1)]
    for step, batch in enumerate(alone):
        assert torch.equal(batch.images, by_workers[step].images)
        assert torch.equal(batch.images, torch.cat([half[step].images for half in halves]))
        assert torch.equal(batch.masks, torch.cat([half[step].masks for half in halves]))
    resumed = training_batches(data(), 5, global_step=3)
    assert torch.equal(resumed[0].images, alone[3].images)


def test_image_and_mask_are_varied_alike(shapes: Path) -> None:
    data = SegmentationData(str(shapes), VALUES, SMALL, batch_size=8, crop=40, horizontal_flip=True, vertical_flip=True)
    for batch in training_batches(data, 4):
        assert batch.images.shape[-2:] == batch.masks.shape[-2:] == (40, 40)
        assert batch.repeats == 0
        brightness = batch.images.mean(dim=1)
        # The shapes were drawn so that brightness alone tells the class.
        assert bool((brightness[batch.masks == 1] > 0.8).all())
        assert bool((brightness[batch.masks == 2] < -0.8).all())


def test_left_and_right_are_exchanged_only_where_allowed(shapes: Path) -> None:
    plain = training_batches(SegmentationData(str(shapes), VALUES, SMALL, batch_size=14), 1)[0]
    flipped = training_batches(SegmentationData(str(shapes), VALUES, SMALL, batch_size=14, horizontal_flip=True), 1)[0]
    as_it_was = [torch.equal(a, b) for a, b in zip(plain.images, flipped.images, strict=True)]
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(plain.images, flipped.images, strict=True)]
    assert all(a != b for a, b in zip(as_it_was, mirrored, strict=True))
    assert 0 < sum(mirrored) < 14


def test_few_patients_are_drawn_by_the_seed_with_all_their_images(phantom: Path) -> None:
    def patients(seed: int, count: int) -> set[str]:
        data = SegmentationData(str(phantom), PHANTOM_VALUES, SMALL, batch_size=8, train_patients=count, seed=seed)
        seen = training_batches(data, 4)
        assert len({sample_id for batch in seen for sample_id in batch.sample_ids}) == 2 * count
        return {patient for batch in seen for patient in batch.patients}

    assert len(patients(0, 3)) == 3
    assert patients(0, 3) == patients(0, 3)
    assert patients(0, 3) < patients(0, 5)
    assert len({frozenset(patients(seed, 3)) for seed in range(4)}) > 1


def test_more_patients_than_there_are_is_an_error(phantom: Path) -> None:
    data = SegmentationData(str(phantom), PHANTOM_VALUES, SMALL, train_patients=50)
    with pytest.raises(InputError, match="train_patients is 50, but 8 patients"):
        data.setup("fit")


def test_the_grid_spacing_follows_the_resizing(phantom: Path) -> None:
    data = SegmentationData(str(phantom), PHANTOM_VALUES, EvaluationTransform(size=32))
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    # 360 mm in 64 pixels, then in 32.
    assert batch.spacings[0] == pytest.approx((11.25, 11.25))


def test_padding_is_background(tmp_path: Path, shapes: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        Image.fromarray(np.full((16, 48), 128, dtype=np.uint8)).save(tmp_path / part / "wide.png")
    manifest = scan([tmp_path / "images"], masks=tmp_path / "masks").with_column("split", ["test"])
    manifest.write(tmp_path / "cohort.parquet")
    data = SegmentationData(
        str(tmp_path / "cohort.parquet"), {"rest": 7, "all": 128}, EvaluationTransform(size=48, fit="pad")
    )
    data.setup("test")
    (batch,) = data.test_dataloader()
    assert batch.masks[0, :16].unique().tolist() == [0]
    assert batch.masks[0, 16:32].unique().tolist() == [1]


def test_a_value_without_a_class_is_named(shapes: Path) -> None:
    data = SegmentationData(str(shapes), {"background": 0, "bright": 128}, SMALL)
    with pytest.raises(InputError, match=r"holds the values 255, class_values has background: 0, bright: 128"):
        data.setup("fit")


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        Image.fromarray(np.zeros((64, 64), dtype=np.uint8)).save(tmp_path / part / "0.png")
    manifest = scan([tmp_path / "images"], masks=tmp_path / "masks").with_column("split", ["train"])
    manifest.write(tmp_path / "cohort.parquet")
    Image.fromarray(np.zeros((64, 60), dtype=np.uint8)).save(tmp_path / "masks" / "0.png")
    with pytest.raises(InputError, match=r"64 x 60 .* 64 x 64"):
        SegmentationData(str(tmp_path / "cohort.parquet"), VALUES, SMALL).setup("fit")


def test_a_split_without_masks_is_an_error(shapes: Path, tmp_path: Path) -> None:
    bare = copy_with(shapes, tmp_path, mask_path=[None] * 24)
    with pytest.raises(InputError, match="no rows with a mask in the split 'train'"):
        SegmentationData(str(bare), VALUES, SMALL).setup("fit")


def test_a_patient_on_two_sides_is_refused(shapes: Path, tmp_path: Path) -> None:
    torn = copy_with(shapes, tmp_path, patient=["one"] * 24)
    with pytest.raises(InputError, match="more than one split"):
        SegmentationData(str(torn), VALUES, SMALL).setup("fit")


def test_a_trainer_without_steps_is_refused(shapes: Path, trainer: TrainerMaker) -> None:
    data = SegmentationData(str(shapes), VALUES, SMALL)
    with pytest.raises(InputError, match="the trainer has no max_steps"):
        trainer(-1, max_epochs=1).fit(Segmentation(list(VALUES)), data)


def test_an_image_that_can_not_be_decoded_is_left_out_with_a_warning(phantom: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(phantom)
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(b"no image at all")
    paths = manifest.column("path")
    row = int(np.flatnonzero(manifest.column("split") == "train")[0])
    paths[row] = str(damaged)
    data = SegmentationData(str(copy_with(phantom, tmp_path, path=paths)), PHANTOM_VALUES, SMALL)
    with pytest.warns(UserWarning, match="1 of 16 images are left out"):
        data.setup("fit")
    assert [sample_id for sample_id, _ in data.rejects] == [manifest.sample(row).sample_id]


def test_channels_of_neighbouring_slices_are_taken(shapes: Path) -> None:
    transform = EvaluationTransform(size=64, intensity=Intensity(channels="neighbours"))
    data = SegmentationData(str(shapes), VALUES, transform, batch_size=2)
    data.setup("test")
    assert next(iter(data.test_dataloader())).images.shape == (2, 3, 64, 64)


def test_the_command_line_builds_both_classes_from_yaml(shapes: Path, tmp_path: Path) -> None:
    from pytorch_lightning.cli import LightningCLI

    config = tmp_path / "segment.yaml"
    config.write_text(
        f"""
model:
  class_path: medino.segmentation.Segmentation
  init_args:
    class_names: [background, bright, dark]
    head: multilayer
    layers: [2, 5]
data:
  class_path: medino.segmentation.SegmentationData
  init_args:
    manifest: {shapes}
    class_values: {{background: 0, bright: 128, dark: 255}}
    transform: {{size: 64, fit: pad, intensity: {{window: full}}}}
    train_patients: 4
trainer: {{max_steps: 1, accelerator: cpu, logger: false, default_root_dir: {tmp_path}}}
"""
    )
    cli = LightningCLI(
        pl.LightningModule,
        pl.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_callback=None,
        auto_configure_optimizers=False,
        run=False,
        args=["--config", str(config)],
    )
    assert isinstance(cli.model, Segmentation)
    assert isinstance(cli.datamodule, SegmentationData)
    assert cli.datamodule.transform == EvaluationTransform(size=64, fit="pad", intensity=Intensity(window="full"))
    assert dict(cli.model.hparams)["layers"] == [2, 5]
