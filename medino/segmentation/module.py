"""Segmentation as a LightningModule: a head trained on the patch tokens of a frozen backbone."""

import copy
from collections.abc import Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig

from medino.core import InputError, derive_seed, torch_generator
from medino.models import Interpolation, backbone_fingerprint, build_backbone, load_backbone
from medino.segmentation.batch import SegmentationBatch
from medino.segmentation.datamodule import SegmentationData
from medino.segmentation.frozen import FrozenFeatures
from medino.segmentation.heads import LAYERS_OF_HEAD, HeadName, build_head, draw_channel_factors
from medino.segmentation.metrics import CaseResult, case_results, mean_metrics
from medino.segmentation.writers import MaskWriter, OverlayWriter
from medino.ssl import report_skipped_step, stop_after_skipped_steps
from medino.ssl.distributed import all_processes_agree, gather_objects

WINDOWS_AT_ONCE = 4
"""Windows of a larger image that pass through the backbone together."""

BACKBONE_PREFIX = "features.backbone."


class Segmentation(pl.LightningModule):
    """A segmentation head on a frozen backbone.

    The loss is MONAI's Dice + cross-entropy; the optimiser AdamW on the head alone, its learning rate falling linearly
    to 0 over the trainer's `max_steps`, as in DINOv2's linear segmentation. In validation and test an image larger
    than those trained on is covered by overlapping windows of the training size. Checkpoints hold the head and not the
    backbone, only its fingerprint; a checkpoint is refused where another backbone is given.

    Args:
        class_names: the classes by index, the background first; as the datamodule's `class_values`.
        weights: the backbone: a name of known weights, a file or folder of any layout that is read, or a run's folder;
            None takes `backbone` untrained.
        interpolation: whose way to resize the position embedding of `weights`: "meta", "hf" or "timm"; None follows
            the family of the file.
        backbone: name of the preset to build where there is no weights file.
        head: "linear" (BatchNorm, dropout, 1x1 convolution on the last layer) or "multilayer" (four layers, two 3x3
            convolutions on a finer grid).
        layers: the blocks looked at, counted from 0; None takes the last one or, for "multilayer", the last four.
        dropout: share of channels dropped in training.
        learning_rate: of AdamW, at the start.
        weight_decay: of AdamW.
        overlap: share of a window that the next one covers again (a third: 512 with stride 341).
        token_cache_mb: memory for the token maps of training images that repeat unchanged.
        save_overlays: how many test images to write as figures with both masks drawn in; these show patients' images.
        seed: of the head's initial weights, of dropout, and of the backbone where it has no weights file.
        max_nonfinite_steps: a step with NaN or infinity in loss or gradient is skipped; after this many in a row the
            run stops.

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
    ) -> None:
        super().__init__()
        if max_nonfinite_steps < 1:
            raise InputError(f"max_nonfinite_steps is {max_nonfinite_steps}; give 1 or more")
        if len(class_names) < 2 or len(set(class_names)) < len(class_names):
            raise InputError(f"class_names is {class_names}; give the background and at least one class, each once")
        # Paths can name people, and a checkpoint outlives the run's folder: `weights` is not kept in it.
        self.save_hyperparameters(ignore=["weights"])
        self.class_names = list(class_names)
        self.dropout, self.overlap, self.seed = dropout, overlap, seed
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.save_overlays = save_overlays
        if head not in LAYERS_OF_HEAD:
            raise InputError(f"head is {head!r}; it can be {' or '.join(map(repr, LAYERS_OF_HEAD))}")
        network = load_backbone(weights, interpolation) if weights is not None else build_backbone(backbone, seed=seed)
        self.backbone_fingerprint = backbone_fingerprint(network)
        self.features = FrozenFeatures(network, LAYERS_OF_HEAD[head] if layers is None else layers, token_cache_mb)
        self.head = build_head(head, self.features.channels, len(class_names), derive_seed(seed, "segmentation_head"))
        # `batch`: Dice over the whole batch, since a single slice often lacks a class altogether.
        self.loss = DiceCELoss(softmax=True, batch=True)
        self.trained_side: torch.Tensor
        self.register_buffer("trained_side", torch.zeros((), dtype=torch.int64))
        self.max_nonfinite_steps = max_nonfinite_steps
        self.nonfinite_in_a_row = 0
        self._loss_is_finite = True
        self._norm_before: dict[str, Any] = {}
        self.test_results: list[CaseResult] = []
        self._cases: list[CaseResult] = []

    def setup(self, stage: str) -> None:
        """Check that trainer and datamodule fit the head and the backbone.

        Raises:
            InputError: the precision is float16, the data's classes are not the head's, its normalisation is not the
                backbone's, or an image is smaller than a patch.
        """
        precision = str(self.trainer.precision)
        if stage == "fit" and precision.startswith("16"):
            raise InputError(f"precision {precision} is not for training this head; use bf16-mixed or 32-true")
        datamodule = getattr(self.trainer, "datamodule", None)
        if not isinstance(datamodule, SegmentationData):
            return
        if datamodule.class_names != self.class_names:
            raise InputError(
                f"the model's class_names are {self.class_names}, the data's class_values name "
                f"{datamodule.class_names}; give the same names in the same order"
            )
        transform, config = datamodule.transform, self.features.backbone.config
        datamodule.manifest.check_sides(config.patch_size)
        if (transform.mean, transform.std) != (config.mean, config.std):
            raise InputError(
                f"the data's transform normalises by mean {transform.mean} and std {transform.std}, the backbone "
                f"'{config.name}' expects {config.mean} and {config.std}; set these in the transform"
            )

    def configure_callbacks(self) -> list[pl.Callback]:
        """Masks are written in prediction; overlays in test, where asked for."""
        ours = [MaskWriter(), *([OverlayWriter(self.save_overlays)] if self.save_overlays else [])]
        present = {type(callback) for callback in cast(Any, self.trainer).callbacks}
        return [callback for callback in ours if type(callback) not in present]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW on the head; the learning rate falls linearly to 0 over the trainer's `max_steps`."""
        optimizer = torch.optim.AdamW(self.head.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        steps = max(self.trainer.max_steps, 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(1 - step / steps, 0.0))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores (B, C, H, W), before softmax, of images (B, 3, H, W) of any size that fits the patches.

        Images larger than those trained on are covered by windows of the training size, whose scores are averaged
        where they overlap.
        """
        side = int(self.trained_side)
        if side == 0 or max(images.shape[-2:]) <= side:
            return self._scores(self.features(images), images.shape[-2:])
        scores = sliding_window_inference(
            images,
            roi_size=(side, side),
            sw_batch_size=WINDOWS_AT_ONCE,
            predictor=lambda windows: self._scores(self.features(windows), windows.shape[-2:]),
            overlap=self.overlap,
        )
        assert isinstance(scores, torch.Tensor)
        return scores

    def training_step(self, batch: SegmentationBatch, batch_index: int) -> torch.Tensor:
        """Dice + cross-entropy of one batch."""
        self.trained_side.fill_(max(batch.images.shape[-2:]))
        self._norm_before = copy.deepcopy(self.head.norm.state_dict())
        maps = self.features.of_batch(batch)
        generators = [
            torch_generator(self.seed, "segmentation_dropout", batch.step, place) for place in batch.positions
        ]
        factors = draw_channel_factors(maps.shape[1], self.dropout, generators).to(maps)
        loss = self.loss_of(self._scores(maps, batch.masks.shape[-2:], factors), batch.masks)
        self._loss_is_finite = bool(torch.isfinite(loss))
        if self._loss_is_finite:
            self.log("train/loss", loss.detach(), batch_size=len(batch.images))
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Leave the head as it was, on all processes alike, where loss or gradient are not finite.

        AdamW leaves a parameter without a gradient alone, its moments too, while the step counts: a resumed run draws
        the same batches.
        """
        gradients = [parameter.grad for parameter in self.head.parameters() if parameter.grad is not None]
        finite = self._loss_is_finite and all(bool(gradient.isfinite().all()) for gradient in gradients)
        if all_processes_agree(finite, self.device):
            self.nonfinite_in_a_row = 0
            return
        self.nonfinite_in_a_row += 1
        self.head.zero_grad(set_to_none=True)
        self.head.norm.load_state_dict(self._norm_before)

    def on_train_batch_end(self, outputs: Any, batch: SegmentationBatch, batch_index: int) -> None:
        """Say which samples were skipped; stop where nothing finite comes any more.

        Raises:
            TrainingStoppedError: `max_nonfinite_steps` in a row were skipped.
        """
        if self.nonfinite_in_a_row:
            reason = "loss or gradient are not finite"
            report_skipped_step(batch.step, reason, batch.sample_ids)
            stop_after_skipped_steps(
                self.trainer,
                batch.step,
                reason,
                self.nonfinite_in_a_row,
                self.max_nonfinite_steps,
                "Lower learning_rate, or look at these samples",
            )

    def loss_of(self, scores: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """The loss of scores (B, C, H, W) against class indices (B, H, W)."""
        # One-hot, since cross-entropy with indices has no deterministic CUDA kernel for maps.
        target = F.one_hot(masks, len(self.class_names)).permute(0, 3, 1, 2).float()
        return self.loss(scores.float(), target)

    def validation_step(self, batch: SegmentationBatch, batch_index: int) -> None:
        """Measure each case."""
        self._measure(batch)

    def test_step(self, batch: SegmentationBatch, batch_index: int) -> torch.Tensor:
        """Measure each case; returns the predicted classes (B, H, W)."""
        return self._measure(batch)

    def predict_step(self, batch: SegmentationBatch, batch_index: int) -> torch.Tensor:
        """The predicted classes (B, H, W), indices into `class_names`, on the grid of the evaluation transform."""
        return self(batch.images).argmax(dim=1)

    def on_fit_end(self) -> None:
        """Free the kept token maps."""
        self.features.forget()

    def on_validation_epoch_start(self) -> None:
        """Begin a list of cases."""
        self._cases = []

    def on_validation_epoch_end(self) -> None:
        """Log the means over cases."""
        means = mean_metrics(gather_results(self._cases))
        self.log_dict({f"validation/{name}": value for name, value in means.items()}, rank_zero_only=True)

    def on_test_epoch_start(self) -> None:
        """Begin a list of cases."""
        self._cases = []

    def on_test_epoch_end(self) -> None:
        """Log the means over cases and keep the cases in `test_results`."""
        self.test_results = gather_results(self._cases)
        means = mean_metrics(self.test_results)
        self.log_dict({f"test/{name}": value for name, value in means.items()}, rank_zero_only=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the backbone out: it never changes and has a file of its own."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: state[key] for key in state if not key.startswith(BACKBONE_PREFIX)}
        checkpoint["backbone_fingerprint"] = self.backbone_fingerprint
        # ModelCheckpoint would store its folder, and folders can name people.
        callbacks = checkpoint.get("callbacks", {})
        checkpoint["callbacks"] = {key: callbacks[key] for key in callbacks if "ModelCheckpoint" not in key}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Complete the checkpoint by the backbone at hand.

        Raises:
            InputError: the head was trained on another backbone.
        """
        if checkpoint.get("backbone_fingerprint") != self.backbone_fingerprint:
            raise InputError(
                f"the checkpoint's head was trained on the backbone {checkpoint.get('backbone_fingerprint')}, "
                f"the one given is {self.backbone_fingerprint}; set `weights` to the file that it was trained on"
            )
        for key, value in self.state_dict().items():
            if key.startswith(BACKBONE_PREFIX):
                checkpoint["state_dict"][key] = value

    def _scores(
        self, maps: torch.Tensor, size: Sequence[int], channel_factors: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The head's scores of token maps, resized to (B, C, *size)."""
        return F.interpolate(self.head(maps, channel_factors), size=list(size), mode="bilinear", align_corners=False)

    def _measure(self, batch: SegmentationBatch) -> torch.Tensor:
        predicted = self(batch.images).argmax(dim=1)
        cases = zip(predicted, batch.masks, batch.sample_ids, batch.patients, batch.spacings, strict=True)
        for case, target, sample_id, patient, spacing in cases:
            self._cases += case_results(case, target, self.class_names, sample_id, patient, spacing)
        return predicted


def gather_results(results: list[CaseResult]) -> list[CaseResult]:
    """The results of all processes, each case once (Lightning's own samplers repeat cases to fill the last batch)."""
    gathered = [result for part in gather_objects(results) for result in part]
    return list({(result.sample_id, result.class_name): result for result in gathered}.values())
