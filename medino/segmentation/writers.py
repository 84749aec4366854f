"""Callbacks that write what the module predicts: masks in prediction, overlays in test."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from PIL import Image

from medino.core import RunFolder, whole_file
from medino.segmentation.batch import SegmentationBatch
from medino.segmentation.cases import Case
from medino.segmentation.overlays import overlay_figure, shown_cases, write_overlay

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
    """Write the worst, the middle and the best test images by Dice, with truth and prediction, to the run's figures.

    The files are `figures/overlay-1-worst-SAMPLE_ID.png` and so on. They show patients' images: use only where the user
    asked for them.

    Args:
        count: how many in all, a third of each kind.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning when every case is measured."""
        module, cases = cast(Any, pl_module), cast(Any, trainer).test_dataloaders.dataset
        if not trainer.is_global_zero:
            return
        measured: dict[str, list[float]] = {}
        for result in module.test_results:
            measured.setdefault(result.sample_id, []).append(result.dice)
        # The cases that this process has read; with one process all of them.
        sample_ids = cases.pixels.manifest.column("sample_id")[cases.rows].tolist()
        places = [place for place, sample_id in enumerate(sample_ids) if sample_id in measured]
        dice = [float(np.mean(measured[sample_ids[place]])) for place in places]
        folder = RunFolder(Path(trainer.default_root_dir)).figures
        for number, kind, one in shown_cases(dice, self.count):
            figure = self._drawn(module, cases[places[one]], f"{kind}, Dice {dice[one]:.3f}")
            write_overlay(folder / f"overlay-{number}-{kind}-{sample_ids[places[one]]}.png", figure)

    @staticmethod
    @torch.no_grad()
    def _drawn(module: Any, case: Case, title: str) -> Figure:
        """The case with its own masks and those predicted once more: to keep all until then would take memory."""
        transform = module.trainer.datamodule.transform
        mean, std = torch.tensor(transform.mean)[:, None, None], torch.tensor(transform.std)[:, None, None]
        predicted = module.predicted(case.image[None].to(module.device))[0].cpu()
        return overlay_figure(
            case.image * std + mean, case.mask, predicted, module.class_names, title, module.overlapping
        )
