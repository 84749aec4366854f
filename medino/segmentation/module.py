"""Segmentation as a LightningModule: a head trained on the patch tokens of a frozen backbone."""

from collections.abc import Iterator

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss, DiceLoss

from medino.core import InputError
from medino.models import Interpolation
from medino.segmentation.batch import SegmentationBatch
from medino.segmentation.datamodule import SegmentationData
from medino.segmentation.heads import HeadName
from medino.segmentation.metrics import CaseResult, case_results, mean_metrics
from medino.segmentation.targets import bits_of, classes_of
from medino.segmentation.training import HeadModule
from medino.segmentation.writers import MaskWriter, OverlayWriter


class Segmentation(HeadModule):
    """A segmentation head on a frozen backbone, or on one with low-rank adapters that learn with it.

    The loss is MONAI's Dice + cross-entropy, or of overlapping classes, each with a sigmoid of its own, Dice + binary
    cross-entropy (a pixel is of a class from a probability of 0.5). The optimiser is AdamW on what learns, its learning
    rate falling linearly to 0 over the trainer's `max_steps`, as in DINOv2's linear segmentation. In validation and
    test an image larger than those trained on is covered by overlapping windows of the training size. Checkpoints hold
    what learns and not the backbone, only its fingerprint; a checkpoint is refused where another backbone is given.

    Args:
        class_names: the classes by index, the background first; as the datamodule's `class_values`.
        weights: the backbone: a name of known weights, a file or folder of any layout that is read, or a run's folder;
            None takes `backbone` untrained.
        interpolation: whose way to resize the position embedding of `weights`: "meta", "hf" or "timm"; None follows
            the family of the file.
        backbone: name of the preset to build where there is no weights file.
        head: "linear" (BatchNorm, dropout, 1x1 convolution on the last layer), "multilayer" (four layers, two 3x3
            convolutions on a finer grid) or "unetr" (four layers and the image itself, a decoder as UNETR's).
        layers: the blocks looked at, counted from 0; None takes the last one, for "multilayer" the last four, for
            "unetr" four evenly spaced ones.
        dropout: share of channels dropped in training.
        learning_rate: of AdamW, at the start.
        weight_decay: of AdamW.
        overlap: share of a window that the next one covers again (a third: 512 with stride 341).
        token_cache_mb: memory for the token maps of training images that repeat unchanged.
        save_overlays: how many test images, the worst, the middle and the best ones, to write as figures with both
            masks drawn in; these show patients' images.
        seed: of the head's initial weights, of dropout, and of the backbone where it has no weights file.
        max_nonfinite_steps: a step with NaN or infinity in loss or gradient is skipped; after this many in a row the
            run stops.
        overlapping: whether a pixel may be of several classes; as the datamodule's. The masks of batches and the
            predicted ones then hold bits (`medino.segmentation.targets.bits_of`).
        lora_rank: rank of LoRA adapters in the attention of all blocks up to the last one looked at, as
            `medino.ssl.LoRA`; they learn with the head at its learning rate, and a checkpoint holds them with it. In
            test and prediction they are added to their layers. None leaves the backbone frozen.

    Raises:
        InputError: fewer than two classes, an unknown head or preset, or weights that can't be read.
    """

    def __init__(
        self,
        class_names: list[str],
        weights: str | None = None,
        interpolation: Interpolation | None = None,
        backbone: str = "mini",
        head: HeadName = "linear",
        layers: list[int] | None = None,
        dropout: float = 0.1,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-3,
        overlap: float = 1 / 3,
        token_cache_mb: int = 512,
        save_overlays: int = 0,
        seed: int = 0,
        max_nonfinite_steps: int = 10,
        overlapping: bool = False,
        lora_rank: int | None = None,
    ) -> None:
        if len(class_names) < 2 or len(set(class_names)) < len(class_names):
            raise InputError(f"class_names is {class_names}; give the background and at least one class, each once")
        super().__init__(
            len(class_names) - overlapping,
            weights=weights,
            interpolation=interpolation,
            backbone=backbone,
            head=head,
            layers=layers,
            dropout=dropout,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            overlap=overlap,
            token_cache_mb=token_cache_mb,
            seed=seed,
            max_nonfinite_steps=max_nonfinite_steps,
            lora_rank=lora_rank,
        )
        # Paths can name people, and a checkpoint outlives the run's folder: `weights` is not kept in it.
        self.save_hyperparameters(ignore=["weights"])
        self.class_names, self.overlapping = list(class_names), overlapping
        self.save_overlays = save_overlays
        # `batch`: Dice over the whole batch, since a single slice often lacks a class altogether.
        self.loss = DiceLoss(sigmoid=True, batch=True) if overlapping else DiceCELoss(softmax=True, batch=True)
        self.test_results: list[CaseResult]

    def setup(self, stage: str) -> None:
        """Check that trainer and datamodule fit the head and the backbone.

        Raises:
            InputError: as `HeadModule.setup`, or the data's classes are not the head's.
        """
        super().setup(stage)
        datamodule = getattr(self.trainer, "datamodule", None)
        if not isinstance(datamodule, SegmentationData):
            return
        if datamodule.class_names != self.class_names:
            raise InputError(
                f"the model's class_names are {self.class_names}, the data's class_values name "
                f"{datamodule.class_names}; give the same names in the same order"
            )
        if datamodule.overlapping != self.overlapping:
            raise InputError(
                f"overlapping is {self.overlapping} in the model and {datamodule.overlapping} in the data; "
                "set both alike"
            )

    def configure_callbacks(self) -> list[pl.Callback]:
        """Masks are written in prediction; overlays in test, where asked for."""
        return self.not_there([MaskWriter(), *([OverlayWriter(self.save_overlays)] if self.save_overlays else [])])

    def loss_of(self, scores: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """The loss of scores (B, C, H, W) against a batch's masks (B, H, W); the background has no score of its own
        where classes overlap."""
        scores = scores.float()
        if self.overlapping:
            target = classes_of(masks, scores.shape[1]).float()
            return self.loss(scores, target) + F.binary_cross_entropy_with_logits(scores, target)
        # One-hot, since cross-entropy with indices has no deterministic CUDA kernel for maps.
        target = F.one_hot(masks, len(self.class_names)).permute(0, 3, 1, 2).float()
        return self.loss(scores, target)

    def predicted(self, images: torch.Tensor) -> torch.Tensor:
        """The predicted masks (B, H, W) of images: indices into `class_names`, or bits of overlapping classes."""
        scores = self(images)
        return bits_of(scores > 0) if self.overlapping else scores.argmax(dim=1)

    def measured(self, predicted: torch.Tensor, batch: SegmentationBatch) -> dict[str, list[CaseResult]]:
        """The results of each case, one a class."""
        cases = zip(predicted, batch.masks, batch.sample_ids, batch.patients, batch.spacings, strict=True)
        return {
            sample_id: [
                result
                for names, of_case, truth in self._exclusive(case, target)
                for result in case_results(of_case, truth, names, sample_id, patient, spacing)
            ]
            for case, target, sample_id, patient, spacing in cases
        }

    def means_of(self, results: list[CaseResult]) -> dict[str, float]:
        """Means over cases and classes."""
        return mean_metrics(results)

    def _exclusive(
        self, predicted: torch.Tensor, target: torch.Tensor
    ) -> Iterator[tuple[list[str], torch.Tensor, torch.Tensor]]:
        """Names and masks of indices: all classes at once, or one overlapping class after the other."""
        if not self.overlapping:
            yield self.class_names, predicted, target
            return
        background, *names = self.class_names
        channels = (classes_of(mask, len(names)).long() for mask in (predicted, target))
        for name, of_case, truth in zip(names, *channels, strict=True):
            yield [background, name], of_case, truth
