"""The pretraining data: a manifest's images as multi-crop batches, every draw at its address."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn

from medino.core import InputError, TrainingStoppedError
from medino.data import Intensity, Manifest, SampleAddress, StepBatchSampler, record_rejects, row_weights
from medino.models import BackboneConfig
from medino.ssl.batch import PretrainingBatch
from medino.ssl.distributed import rank, world_size
from medino.ssl.step_batches import StepBatches, StepLoader, ViewsOn
from medino.views import BlockMasks, MultiCrop


class PretrainingData(pl.LightningDataModule):
    """Unlabelled images for `DINOv2`.

    The backbone (patch size, mean and deviation) is asked of the module that is trained. Masks and views follow
    DINOv2's recipe; comments give DINO v1's values.

    Args:
        manifest: the Parquet file that `medino scan` wrote.
        batch_size: images of one training step, over all processes.
        views: kind of image: "natural", "radiology" or "histology".
        global_size: side of the global crops, pixels.
        local_size: side of the local crops, pixels.
        num_local_crops: local crops of each image.
        global_scale: share of the image's area in a global crop, least and most.
        local_scale: the same of a local crop.
        blur: "published" or "reference", see `MultiCrop`.
        horizontal_flip: None: what the kind of image has by default.
        window: grey window, see `Intensity`.
        channels: how grey becomes three channels: "repeat", "windows" or "neighbours".
        windows: the three windows of `channels: windows`; None: by modality.
        mask_ratio: share of a masked crop's patches that is masked, least and most.
        mask_probability: share of the global crops that is masked.
        splits: train on the rows of these splits; None: on those of split "train", or on all where no split is given.
        uniform_over: "rows", "series" or "patients": what is drawn evenly, see `StepBatchSampler`. With "patients" a
            patient is drawn, then one of its series, then a slice of this. With all but the plain "rows", a batch
            holds one slice of a series at most.
        slices_per_series: slices of each series in a pass (with "rows" or "series"): a CT's hundreds of slices are
            nearly the same image. None: all of them with "rows", else one.
        weights: how often rows are drawn by what a column of the manifest holds, such as `{modality: {CT: 1, MR: 2}}`;
            values that are not named count 1, and several columns multiply.
        num_workers: processes that read and augment; any number gives the same batches.
        views_on: "worker": the processes that read make the views; "device": they send each image once, and the
            device that trains makes the same views, up to rounding. For a GPU whose loader can't keep pace.
        seed: of the order, views and masks.

    Raises:
        InputError: the manifest can't be read or holds no such rows; a size or a number is out of range.
    """

    def __init__(
        self,
        manifest: str,
        batch_size: int = 64,
        views: Literal["natural", "radiology", "histology"] = "natural",
        global_size: int = 224,
        local_size: int = 98,  # short recipe 96 (patch 16), long 98 (patch 14)
        num_local_crops: int = 8,
        global_scale: tuple[float, float] = (0.32, 1.0),  # DINO v1 0.4, 1
        local_scale: tuple[float, float] = (0.05, 0.32),  # DINO v1 0.05, 0.4
        blur: Literal["published", "reference"] = "published",
        horizontal_flip: bool | None = None,
        window: str = "auto",
        channels: Literal["repeat", "windows", "neighbours"] = "repeat",
        windows: tuple[str, str, str] | None = None,
        mask_ratio: tuple[float, float] = (0.1, 0.5),
        mask_probability: float = 0.5,
        splits: list[str] | None = None,
        uniform_over: Literal["rows", "series", "patients"] = "rows",
        slices_per_series: int | None = None,
        weights: dict[str, dict[str, float]] | None = None,
        num_workers: int = 0,
        views_on: ViewsOn = "worker",
        seed: int = 0,
    ) -> None:
        super().__init__()
        # The manifest's path can name people, and hyperparameters go into checkpoints and logs.
        self.save_hyperparameters(ignore=["manifest"], logger=False)
        self.manifest_path = manifest
        self.batch_size = batch_size
        if batch_size < 2:
            raise InputError(f"batch_size is {batch_size}; KoLeo needs a neighbour in the batch, give 2 or more")
        if num_workers < 0:
            raise InputError(f"num_workers is {num_workers}; give 0 or more")
        self.intensity = Intensity(window=window, channels=channels, windows=windows)
        self.manifest = self._rows(splits)
        self.weights = None if weights is None else row_weights(self.manifest, weights)

    def _rows(self, splits: list[str] | None) -> Manifest:
        """The rows of the manifest that belong to the splits."""
        manifest = Manifest.read(self.manifest_path)
        if len(manifest) == 0:
            raise InputError(f"the manifest {self.manifest_path} holds no image; scan a folder that does")
        self.fingerprint = manifest.fingerprint
        column = manifest.table["split"]
        found = set(column.unique().to_pylist())
        if splits is None:
            splits = ["train"] if "train" in found else []
        if not splits:
            return manifest
        chosen = manifest.select(pc.is_in(column, pa.array(splits, pa.string())).to_numpy())
        if len(chosen) == 0:
            named = ", ".join(sorted(map(str, found)))
            raise InputError(
                f"the manifest {self.manifest_path} has no row of split {', '.join(splits)} (it has {named}); "
                "choose other splits"
            )
        return chosen

    def views_for(self, backbone: BackboneConfig) -> MultiCrop:
        """The multi-crop of a backbone.

        Raises:
            InputError: a crop is not a whole number of patches.
        """
        h: Any = self.hparams
        for name in ("global_size", "local_size"):
            if h[name] < backbone.patch_size or h[name] % backbone.patch_size:
                raise InputError(
                    f"{name} is {h[name]} pixels, which is no multiple of the backbone's patch of "
                    f"{backbone.patch_size}; give {_nearest_multiple(h[name], backbone.patch_size)}"
                )
        return MultiCrop(
            kind=h.views,
            global_size=h.global_size,
            local_size=h.local_size,
            num_local_crops=h.num_local_crops,
            global_scale=tuple(h.global_scale),
            local_scale=tuple(h.local_scale),
            blur=h.blur,
            horizontal_flip=h.horizontal_flip,
            intensity=self.intensity,
            mean=backbone.mean,
            std=backbone.std,
        )

    def batches(
        self,
        backbone: BackboneConfig,
        total_steps: int,
        *,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ) -> StepLoader:
        """The training batches of one process.

        Args:
            backbone: settings of the backbone that they are for.
            total_steps: steps of the whole run.
            start_step: the first step that is still to do.
            rank: of the process.
            world_size: number of processes.
            pin_memory: for training on a GPU.
        """
        h: Any = self.hparams
        sampler = StepBatchSampler(
            self.manifest.table["patient"],
            self.batch_size,
            total_steps,
            h.seed,
            h.uniform_over,
            rank=rank,
            world_size=world_size,
            start_step=start_step,
            series=self.manifest.table["series"],
            slices_per_series=h.slices_per_series,
            weights=self.weights,
        )
        dataset = self._dataset(self.manifest, backbone, self.batch_size, "views")
        return StepLoader(dataset, sampler, total_steps, h.num_workers, pin_memory)

    def _dataset(self, manifest: Manifest, backbone: BackboneConfig, batch_size: int, purpose: str) -> StepBatches:
        h: Any = self.hparams
        manifest.check_roots()
        manifest.check_sides(backbone.patch_size)
        views = self.views_for(backbone)
        side = h.global_size // backbone.patch_size
        masks = BlockMasks((side, side), tuple(h.mask_ratio), h.mask_probability)
        return StepBatches(manifest, views, masks, batch_size, h.seed, h.channels == "neighbours", purpose, h.views_on)

    def setup(self, stage: str) -> None:
        """Check the crops against the backbone before anything starts."""
        self.views_for(self._backbone)

    @property
    def _backbone(self) -> BackboneConfig:
        config = getattr(self._trainer.lightning_module, "backbone_config", None)
        if not isinstance(config, BackboneConfig):
            raise InputError("PretrainingData is for DINOv2; this model has no backbone_config")
        return config

    @property
    def _trainer(self) -> pl.Trainer:
        if self.trainer is None:
            raise InputError("this datamodule has no trainer; call batches(...) to use it without one")
        return self.trainer

    def train_dataloader(self) -> StepLoader:
        """The batches from the step on at which the module stands."""
        trainer = self._trainer
        return self.batches(
            self._backbone,
            trainer.max_steps,
            start_step=int(getattr(trainer.lightning_module, "next_step", 0)),
            rank=rank(),
            world_size=world_size(),
            pin_memory=trainer.strategy.root_device.type == "cuda",
        )

    def val_dataloader(self) -> StepLoader | list[Any]:
        """Views of the rows of split "validation", the same each time; none during training, which needs none."""
        if self._trainer.state.fn != TrainerFn.VALIDATING:
            return []
        everything = Manifest.read(self.manifest_path)
        manifest = everything.select(everything.column("split") == "validation")
        size = min(self.batch_size, len(manifest)) // world_size()
        if size < 2:
            raise InputError(f"{len(manifest)} validation images are too few for views in batches; assign a split")
        first = rank() * size
        steps = len(manifest) // (size * world_size())
        addresses = [
            [SampleAddress(step, place, step * size * world_size() + place) for place in range(first, first + size)]
            for step in range(steps)
        ]
        dataset = self._dataset(manifest, self._backbone, size * world_size(), "validation views")
        return StepLoader(dataset, addresses, steps, self.hparams["num_workers"])

    def on_before_batch_transfer(self, batch: PretrainingBatch, dataloader_idx: int) -> PretrainingBatch:
        """Stop, in words, where no batch could be made."""
        if batch.failure:
            raise TrainingStoppedError(batch.failure)
        return batch

    def transfer_batch_to_device(
        self, batch: PretrainingBatch, device: torch.device, dataloader_idx: int
    ) -> PretrainingBatch:
        """Move the batch; to a GPU without waiting, as Lightning by itself does for plain tensors alone."""
        return batch.to(device, non_blocking=device.type == "cuda")

    def on_after_batch_transfer(self, batch: PretrainingBatch, dataloader_idx: int) -> PretrainingBatch:
        """Make the crops, where workers left that to the device."""
        return batch if batch.images is None else batch.with_views(self.views_for(self._backbone))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: which images the run is drawn from."""
        return {"manifest": self.fingerprint}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Say where the run may go on with other images than it began with."""
        if state_dict["manifest"] != self.fingerprint:
            rank_zero_warn(
                f"the manifest {self.manifest_path} has changed since this run's checkpoint was written: batches may "
                "hold other images than the same run would have drawn; give it the manifest as it was"
            )

    # What the run folder records

    @property
    def patients(self) -> list[str]:
        """Keyed hashes of the patients whose images may be drawn; in a long run all of them are."""
        return sorted(self.manifest.table["patient"].unique().to_pylist())

    def sample_id(self, row: int) -> str:
        """The id of a row, which is safe to log."""
        return str(self.manifest.table["sample_id"][row])

    def record_rejects(self, reasons: Mapping[str, str]) -> None:
        """Move samples that failed to decode to the manifest's rejects.

        Args:
            reasons: why, by sample id.
        """
        named = pc.is_in(self.manifest.table["sample_id"], pa.array(list(reasons), pa.string()))
        rows = {self.sample_id(row): row for row in np.flatnonzero(named).tolist()}
        samples = [(self.manifest.sample(rows[key]), reason) for key, reason in reasons.items() if key in rows]
        record_rejects(
            self.manifest_path,
            [sample.reject(reason) for sample, reason in samples],
        )


def _nearest_multiple(size: int, patch_size: int) -> int:
    return max(round(size / patch_size), 1) * patch_size
