"""A head trained on the patch tokens of a backbone: optimiser, windows, skipped steps, checkpoints.

What the head answers (its loss and its metrics) is a subclass's.
"""

import copy
from typing import Any, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from monai.inferers import sliding_window_inference
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import nn

from medino.core import InputError, derive_seed, torch_generator
from medino.models import Interpolation, backbone_fingerprint, build_backbone, load_backbone
from medino.models.lora import ADAPTER
from medino.segmentation.adapted import AdaptedFeatures
from medino.segmentation.batch import SegmentationBatch
from medino.segmentation.datamodule import MaskedImages
from medino.segmentation.evaluation import EvaluatedModule
from medino.segmentation.frozen import FrozenFeatures
from medino.segmentation.heads import LAYERS_OF_HEAD, HeadName, build_head, draw_channel_factors, layers_of_head
from medino.ssl import report_skipped_step, stop_after_skipped_steps
from medino.ssl.distributed import all_processes_agree

WINDOWS_AT_ONCE = 4
"""Windows of a larger image that pass through the backbone together."""

BACKBONE_PREFIX = "features.backbone."


class HeadModule(EvaluatedModule):
    """Trains a head of so many outputs; for the other arguments see `Segmentation`.

    Args:
        outputs: channels that the head answers with.

    Attributes:
        probe: the name of the head, and of the adapters where there are any, as evidence has it.
    """

    def __init__(
        self,
        outputs: int,
        *,
        weights: str | None,
        interpolation: Interpolation | None,
        backbone: str,
        head: HeadName,
        layers: list[int] | None,
        dropout: float,
        learning_rate: float,
        weight_decay: float,
        overlap: float,
        token_cache_mb: int,
        seed: int,
        max_nonfinite_steps: int,
        lora_rank: int | None,
    ) -> None:
        super().__init__()
        if max_nonfinite_steps < 1:
            raise InputError(f"max_nonfinite_steps is {max_nonfinite_steps}; give 1 or more")
        if head not in LAYERS_OF_HEAD:
            raise InputError(f"head is {head!r}; it can be {' or '.join(map(repr, LAYERS_OF_HEAD))}")
        self.probe = head if lora_rank is None else f"{head} + LoRA {lora_rank}"
        self.dropout, self.overlap, self.seed = dropout, overlap, seed
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        network = load_backbone(weights, interpolation) if weights is not None else build_backbone(backbone, seed=seed)
        self.backbone_fingerprint = backbone_fingerprint(network)
        looked_at = layers_of_head(head, layers, network.config.depth)
        self.features = (
            FrozenFeatures(network, looked_at, token_cache_mb)
            if lora_rank is None
            else AdaptedFeatures(network, looked_at, lora_rank, torch_generator(seed, "segmentation_lora"))
        )
        head_seed = derive_seed(seed, "segmentation_head")
        self.head = build_head(head, self.features.channels, outputs, head_seed, network.config.patch_size)
        self.trained_side: torch.Tensor
        self.register_buffer("trained_side", torch.zeros((), dtype=torch.int64))
        self.max_nonfinite_steps = max_nonfinite_steps
        self.nonfinite_in_a_row = 0
        self._loss_is_finite = True
        self._norm_before: dict[str, Any] = {}

    def loss_of(self, scores: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """The loss of the head's answers (B, C, H, W) against a batch's masks (B, H, W)."""
        raise NotImplementedError

    def learning(self) -> list[nn.Parameter]:
        """The parameters of the head, and of the adapters where there are any."""
        adapters = self.features.adapters() if isinstance(self.features, AdaptedFeatures) else []
        return [*self.head.parameters(), *adapters]

    def setup(self, stage: str) -> None:
        """Check that trainer and datamodule fit the head and the backbone.

        Raises:
            InputError: the precision is float16, the data's normalisation is not the backbone's, or an image is
                smaller than a patch.
        """
        precision = str(self.trainer.precision)
        if stage == "fit" and precision.startswith("16"):
            raise InputError(f"precision {precision} is not for training this head; use bf16-mixed or 32-true")
        datamodule = getattr(self.trainer, "datamodule", None)
        if isinstance(datamodule, MaskedImages):
            transform, config = datamodule.transform, self.features.backbone.config
            datamodule.manifest.check_sides(config.patch_size)
            if (transform.mean, transform.std) != (config.mean, config.std):
                raise InputError(
                    f"the data's transform normalises by mean {transform.mean} and std {transform.std}, the backbone "
                    f"'{config.name}' expects {config.mean} and {config.std}; set these in the transform"
                )

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW on what learns; the learning rate falls linearly to 0 over the trainer's `max_steps`."""
        optimizer = torch.optim.AdamW(self.learning(), lr=self.learning_rate, weight_decay=self.weight_decay)
        steps = max(self.trainer.max_steps, 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(1 - step / steps, 0.0))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The head's answers (B, C, H, W), of images (B, 3, H, W) of any size that fits the patches.

        Images larger than those trained on are covered by windows of the training size, whose answers are averaged
        where they overlap.
        """
        side = int(self.trained_side)
        if side == 0 or max(images.shape[-2:]) <= side:
            return self._scores(self.features(images), images)
        scores = sliding_window_inference(
            images,
            roi_size=(side, side),
            sw_batch_size=WINDOWS_AT_ONCE,
            predictor=lambda windows: self._scores(self.features(windows), windows),
            overlap=self.overlap,
        )
        assert isinstance(scores, torch.Tensor)
        return scores

    def training_step(self, batch: SegmentationBatch, batch_index: int) -> torch.Tensor:
        """The loss of one batch."""
        self.trained_side.fill_(max(batch.images.shape[-2:]))
        self._norm_before = copy.deepcopy(self.head.norm.state_dict())
        maps = self.features.of_batch(batch)
        generators = [
            torch_generator(self.seed, "segmentation_dropout", batch.step, place) for place in batch.positions
        ]
        factors = draw_channel_factors(maps.shape[1], self.dropout, generators).to(maps)
        loss = self.loss_of(self._scores(maps, batch.images, factors), batch.masks)
        self._loss_is_finite = bool(torch.isfinite(loss))
        if self._loss_is_finite:
            self.log("train/loss", loss.detach(), batch_size=len(batch.images))
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Leave head and adapters as they were, on all processes alike, where loss or gradient are not finite.

        AdamW leaves a parameter without a gradient alone, its moments too, while the step counts: a resumed run draws
        the same batches.
        """
        gradients = [parameter.grad for parameter in self.learning() if parameter.grad is not None]
        finite = self._loss_is_finite and all(bool(gradient.isfinite().all()) for gradient in gradients)
        if all_processes_agree(finite, self.device):
            self.nonfinite_in_a_row = 0
            return
        self.nonfinite_in_a_row += 1
        self.zero_grad(set_to_none=True)
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

    def on_fit_end(self) -> None:
        """Free the kept token maps."""
        self.features.forget()

    def merge_adapters(self) -> None:
        """From here on compute with a copy of the backbone that the adapters, if any, are added to."""
        if isinstance(self.features, AdaptedFeatures):
            self.features.merge()

    def part_adapters(self) -> None:
        """Compute with backbone and adapters apart again."""
        if isinstance(self.features, AdaptedFeatures):
            self.features.part()

    def on_test_start(self) -> None:
        """Merge the adapters."""
        self.merge_adapters()

    def on_test_end(self) -> None:
        """Part them again."""
        self.part_adapters()

    def on_predict_start(self) -> None:
        """Merge the adapters."""
        self.merge_adapters()

    def on_predict_end(self) -> None:
        """Part them again."""
        self.part_adapters()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the backbone out, but for its adapters: it never changes and has a file of its own."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: state[key] for key in state if not is_of_backbone(key)}
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
            if is_of_backbone(key):
                checkpoint["state_dict"][key] = value

    def not_there(self, callbacks: list[pl.Callback]) -> list[pl.Callback]:
        """Those callbacks of whose kind the trainer has none yet."""
        present = {type(callback) for callback in cast(Any, self.trainer).callbacks}
        return [callback for callback in callbacks if type(callback) not in present]

    def _scores(
        self, maps: torch.Tensor, images: torch.Tensor, channel_factors: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The head's answers to the token maps of images (B, 3, H, W), resized to (B, C, H, W)."""
        scores = self.head(maps, channel_factors, images)
        return F.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=False)


def is_of_backbone(key: str) -> bool:
    """Whether a name in the state is of the backbone itself, which no training changes, and not of its adapters."""
    return key.startswith(BACKBONE_PREFIX) and not key.rpartition(".")[2].startswith(ADAPTER)
