"""What happens in a training step of self-distillation, in Lightning's hooks, and what a checkpoint keeps of it."""

import dataclasses
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.utilities import rank_zero_info
from torch.distributed.tensor import DTensor

from medino.core import torch_generator
from medino.models import BackboneConfig
from medino.ssl.accumulation import micro_batches, of_whole_step
from medino.ssl.batch import PretrainingBatch
from medino.ssl.distributed import all_processes_agree, all_reduce_mean, average_gradients
from medino.ssl.heads_first import BackboneRelease, held
from medino.ssl.monitors import teacher_health
from medino.ssl.nonfinite import report_skipped_step, stop_after_skipped_steps
from medino.ssl.parameter_groups import clip_gradients, set_step_settings
from medino.ssl.schedules import Schedules, StepSettings
from medino.ssl.self_distillation import SelfDistillation
from medino.ssl.sharding import is_sharded
from medino.ssl.step_losses import StepLosses
from medino.ssl.step_values import step_values, validation_values

COUNTERS = ("next_step", "skipped_steps", "nonfinite_in_a_row")
"""What a checkpoint keeps of the module besides its tensors."""


class Training(pl.LightningModule):
    """The steps of a run; what is trained, and by which settings, a subclass makes.

    Attributes:
        core: student and teacher.
        release: when a backbone that is held at first is let go; None: never held.
        schedules: of the run, once its number of steps is known.
        next_step: the step that comes next.
        skipped_steps: how many were not finite so far.
        nonfinite_in_a_row: how many of the last ones.
    """

    core: SelfDistillation
    release: BackboneRelease | None

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.schedules: Schedules | None = None
        self.next_step = 0
        self.skipped_steps = 0
        self.nonfinite_in_a_row = 0

    @property
    def backbone_config(self) -> BackboneConfig:
        """The settings of student and teacher backbone."""
        return self.core.student.backbone.config

    def training_step(self, batch: PretrainingBatch, batch_index: int) -> dict[str, Any]:
        """One step of the recipe."""
        assert self.schedules is not None
        settings = self.schedules.at(batch.step)
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        set_step_settings(
            optimizer.optimizer,
            settings.learning_rate,
            settings.last_layer_learning_rate,
            settings.weight_decay,
            1.0 if self.release is None else self.release.multiplier(batch.step),
        )
        optimizer.zero_grad()
        self.next_step = batch.step + 1
        losses = self._losses_and_gradients(batch, settings)
        if losses is None:
            return self._skip(batch, "the loss is not finite")
        norms = clip_gradients(self.core.student_parts, self.hparams["clip_norm"], each_parameter=self.is_dino_v1)
        if not all_processes_agree(all(bool(norm.isfinite()) for norm in norms.values()), self.device):
            return self._skip(batch, "a gradient is not finite")
        if self.is_dino_v1 and self.schedules.last_layer_is_frozen(batch.step):
            self.core.drop_last_layer_gradients()
        optimizer.step()
        self.core.update_teacher(settings.momentum, self.backbone_is_held)
        self.core.update_centers(losses)
        self.core.update_queues(losses)
        self.nonfinite_in_a_row = 0
        self._log_step(batch, settings, losses, norms)
        self._release_backbone(batch.step, losses)
        return {"loss": losses.total}

    @property
    def backbone_is_held(self) -> bool:
        """Whether the backbone is held, as the heads learn first."""
        return self.release is not None and self.release.is_held

    def _losses_and_gradients(self, batch: PretrainingBatch, settings: StepSettings) -> StepLosses | None:
        """What a batch gives, its gradients left in the student; None where it is not finite."""
        batches = micro_batches(batch, self.hparams["accumulate"])
        is_held = self.backbone_is_held
        parts = []
        with ExitStack() as stack:
            if self.release is not None and is_held:
                stack.enter_context(held(self.core.student.backbone, self.release.settings.mask_token))
            for micro_batch, taught in zip(
                batches, self.core.teach(batches, settings.teacher_temperature, is_held), strict=True
            ):
                drop_path = torch_generator(
                    self.hparams["seed"], "drop_path", micro_batch.step, micro_batch.first_position
                )
                losses = self.core.learn(micro_batch, taught, drop_path, is_held)
                if not all_processes_agree(bool(losses.total.isfinite()), self.device):
                    return None
                is_last = micro_batch is batches[-1]
                # Data parallel training would wait for the gradients of a held backbone.
                with self._without_gradient_exchange() if is_held or not is_last else nullcontext():
                    self.manual_backward(losses.total / len(batches))
                parts.append(losses)
            # Of sharded parameters, the backward pass itself averages them.
            if is_held or is_sharded(self.core.student):
                average_gradients(each for each in self.core.student.parameters() if not isinstance(each, DTensor))
        return of_whole_step(parts)

    def _without_gradient_exchange(self) -> AbstractContextManager[None]:
        """Within it, a backward pass leaves each process its own gradients."""
        block = getattr(self.trainer.strategy, "block_backward_sync", None)
        return nullcontext() if block is None else block()

    def _release_backbone(self, step: int, losses: StepLosses) -> None:
        """Release the backbone where the heads have learnt what they can, on all processes alike."""
        if self.release is None or not self.release.is_held:
            return
        reason = self.release.note(step, float(all_reduce_mean(losses.cross_entropy)))
        if reason is not None:
            rank_zero_info(f"backbone released at step {step + 1}: {reason}")

    @property
    def is_dino_v1(self) -> bool:
        """Whether the objective is DINO v1's."""
        return self.core.objective == "dino"

    def _skip(self, batch: PretrainingBatch, reason: str) -> dict[str, Any]:
        """Leave student, teacher and centres as they were, on all processes alike, and say which samples it was."""
        self.core.student.zero_grad()
        self.skipped_steps += 1
        self.nonfinite_in_a_row += 1
        sample_ids = report_skipped_step(batch.step, reason, batch.sample_ids)
        self.log("skipped_steps", float(self.skipped_steps), batch_size=batch.batch_size)
        return {"skipped": reason, "sample_ids": sample_ids}

    def on_train_batch_end(self, outputs: Any, batch: PretrainingBatch, batch_index: int) -> None:
        """Stop at the end of the run, or where nothing finite comes any more."""
        if "skipped" in outputs:
            stop_after_skipped_steps(
                self.trainer,
                batch.step,
                outputs["skipped"],
                self.nonfinite_in_a_row,
                self.hparams["max_nonfinite_steps"],
                "Lower base_lr, or look at the samples in skipped_steps.csv",
            )
        # Skipped steps don't count in the trainer's own number of steps, which would go on for another epoch.
        if self.next_step >= self.trainer.max_steps:
            self.trainer.should_stop = True

    def _log_step(
        self, batch: PretrainingBatch, settings: StepSettings, losses: StepLosses, norms: dict[str, torch.Tensor]
    ) -> None:
        values = step_values(losses, settings, norms)
        values["skipped_steps"] = float(self.skipped_steps)
        if self.release is not None:
            rate = settings.learning_rate * self.release.multiplier(batch.step)
            values["schedule/backbone_learning_rate"] = rate
        if (batch.step + 1) % getattr(self.trainer, "log_every_n_steps", 1) == 0:
            values |= {f"teacher/{name}": value for name, value in teacher_health(losses).items()}
        self.log_dict(values, batch_size=batch.batch_size)

    def validation_step(self, batch: PretrainingBatch, batch_index: int) -> None:
        """The losses of views that were not trained on; nothing is updated."""
        losses = self.core.compute_losses(batch, self.hparams["final_teacher_temperature"])
        self.log_dict(validation_values(losses), batch_size=batch.batch_size, sync_dist=True)

    # Resuming

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep where the run is, and the backbone's settings, so that the checkpoint loads without the weights file."""
        checkpoint["medino"] = {name: getattr(self, name) for name in COUNTERS}
        if self.release is not None:
            checkpoint["medino"]["heads_first"] = self.release.state()
        settings = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self.backbone_config).items()
        }
        checkpoint["hyper_parameters"] = {**checkpoint["hyper_parameters"], "backbone_settings": settings}
        # ModelCheckpoint, where someone uses it, would store its folder, and folders can name people.
        states = checkpoint.get("callbacks", {})
        checkpoint["callbacks"] = {name: state for name, state in states.items() if "ModelCheckpoint" not in name}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on where the run was."""
        for name in COUNTERS:
            setattr(self, name, checkpoint["medino"][name])
        if self.release is not None:
            self.release.restore(checkpoint["medino"]["heads_first"])
