"""Callbacks that write what the module predicts: masks in prediction, overlays in test."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image

from medino.core import RunFolder, whole_file
from medino.segmentation.batch import SegmentationBatch
from medino.segmentation.overlays import overlay_figure, write_overlay

MASKS_FOLDER = "masks"
"""Where in the run folder predicted masks are written."""

MAPS_FOLDER = "maps"
"""Where predicted maps of values are."""


def write_mask(path: str | Path, mask: torch.Tensor) -> None:
    """Write a mask (H, W) of values from 0 to 65535 as PNG, whole or not at all: 8 bits where they suffice, else 16."""
    values = mask.cpu().numpy().astype(np.uint8 if int(mask.max()) < 256 else np.uint16)
    with whole_file(path) as temporary:
        Image.fromarray(values).save(temporary, format="PNG")


class MaskWriter(pl.Callback):
    """Write each predicted mask as `masks/SAMPLE_ID.png` in the run folder, in the values of the training masks.

    Of overlapping classes the pixel holds bits: 1 for the first class after the background, 2 for the next, 4, ...
    """

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: SegmentationBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Called by Lightning after each batch."""
        target = cast(Any, trainer).datamodule.target
        for sample_id, mask in zip(batch.sample_ids, outputs, strict=True):
            write_mask(Path(trainer.default_root_dir) / MASKS_FOLDER / f"{sample_id}.png", target.decoded(mask.cpu()))


class MapWriter(pl.Callback):
    """Write each predicted map of values as `maps/SAMPLE_ID.tiff` (32 bits, floating point) in the run folder."""

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: SegmentationBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Called by Lightning after each batch."""
        for sample_id, values in zip(batch.sample_ids, outputs, strict=True):
            with whole_file(Path(trainer.default_root_dir) / MAPS_FOLDER / f"{sample_id}.tiff") as temporary:
                Image.fromarray(values.float().cpu().numpy()).save(temporary, format="TIFF")


class OverlayWriter(pl.Callback):
    """Write the first test images with truth and prediction as `figures/overlay-SAMPLE_ID.png` in the run folder.

    The figures show patients' images: use only where the user asked for them.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._written = 0

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self._written = 0

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: SegmentationBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Called by Lightning after each batch."""
        folder = RunFolder(Path(trainer.default_root_dir)).figures
        class_names, transform = cast(Any, pl_module).class_names, cast(Any, trainer).datamodule.transform
        mean, std = torch.tensor(transform.mean)[:, None, None], torch.tensor(transform.std)[:, None, None]
        cases = zip(batch.sample_ids, batch.images.cpu(), batch.masks.cpu(), outputs.cpu(), strict=True)
        for sample_id, image, target, predicted in cases:
            if trainer.is_global_zero and self._written < self.count:
                figure = overlay_figure(
                    image * std + mean, target, predicted, class_names, sample_id, cast(Any, pl_module).overlapping
                )
                write_overlay(folder / f"overlay-{sample_id}.png", figure)
                self._written += 1
