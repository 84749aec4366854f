"""A Lightning callback that draws what the patch tokens see during the adaptation; only where it is asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from PIL import Image
from pytorch_lightning.loggers import WandbLogger

from medino.core import InputError, RunFolder, whole_file
from medino.models import BackboneConfig
from medino.ssl import DINOv2, PretrainingBatch
from medino.tracking.maps import pca_maps


class PatchMaps(pl.Callback):
    """Write PCA maps of the teacher's patch tokens to `RUN/figures`, and to W&B where that is among the loggers.

    **These are images of patients.** Without this callback no run keeps or logs any; who adds it says that images may
    be kept beside the run and, with W&B online, sent to its server.

    The same crops are drawn each time: the first ones of the first batch after the start, or after a resumption.

    Args:
        run: the run's folder.
        every: optimiser steps between two drawings.
        images: how many images are drawn.
    """

    def __init__(self, run: str | Path, every: int = 500, images: int = 4) -> None:
        if every < 1 or images < 1:
            raise InputError(f"every is {every} and images {images}; give numbers of at least 1")
        self._folder = RunFolder(Path(run)).figures
        self._every = every
        self._images = images
        self._crops: torch.Tensor | None = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: PretrainingBatch, batch_idx: int
    ) -> None:
        """Draw after every `every`-th step."""
        if not isinstance(pl_module, DINOv2):
            return
        if self._crops is None and batch.batch_size:
            self._crops = batch.global_crops[: min(self._images, batch.batch_size)].detach().clone()
        step = batch.step + 1
        if self._crops is None or step % self._every:
            return
        backbone = pl_module.core.teacher.backbone
        with torch.no_grad():
            patches = backbone(self._crops).patches  # on all processes: where blocks are sharded, none can do it alone
        if not trainer.is_global_zero:
            return
        maps = pca_maps(list(patches))
        picture = side_by_side(self._crops, maps, backbone.config)
        with whole_file(self._folder / f"patch_maps_{step:06d}.png") as temporary:
            picture.save(temporary, format="PNG")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("patch_maps", [picture], step=step - 1)


def side_by_side(crops: torch.Tensor, maps: Sequence[torch.Tensor], config: BackboneConfig) -> Image.Image:
    """Each crop beside its map, one line an image.

    Args:
        crops: (B, 3, H, W), normalised by the mean and std of `config`.
        maps: for each crop (h, w, 3) in [0, 1].
        config: of the backbone.
    """
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (config.mean, config.std))
    lines = []
    for crop, colours in zip(crops.cpu(), maps, strict=True):
        grown = F.interpolate(colours.permute(2, 0, 1)[None], size=crop.shape[-2:], mode="nearest")[0]
        lines.append(torch.cat([crop * std + mean, grown.cpu()], dim=2))
    values = torch.cat(lines, dim=1).clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(values.permute(1, 2, 0).numpy())
