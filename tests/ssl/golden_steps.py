"""The reference's training steps, taken by the module that users train with."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from medino.ssl import DINO_V1, DINOv2, PretrainingBatch, Schedules, make_schedules
from tests.golden_cases import GoldenCase


class GoldenModule(DINOv2):
    """DINOv2 on the weights and schedules of a pair, that keeps what the pair's file holds numbers for."""

    def __init__(self, case: GoldenCase) -> None:
        facts, settings, head = case.facts, case.settings, case.facts["head"]
        config = dataclasses.asdict(case.config)
        weights = facts.get("loss_weights", {})
        # What the iBOT head has of its own, the json does not say; its weights do.
        ibot_prototypes, ibot_bottleneck_dim = case.tensors.get(
            "init/ibot_head.last_layer.weight_v", case.tensors["init/dino_head.last_layer.weight_v"]
        ).shape
        super().__init__(
            fixed_gain=settings.get("norm_last_layer", False),
            backbone="mini",
            backbone_settings={key: value for key, value in config.items() if key != "drop_path_rate"},
            objective=facts["objective"],
            drop_path_rate=0.0,
            prototypes=settings["num_prototypes"],
            separate_ibot_head=settings.get("separate_ibot_head", False),
            ibot_prototypes=ibot_prototypes,
            ibot_bottleneck_dim=ibot_bottleneck_dim,
            head_hidden_dim=head["hidden_dim"],
            head_bottleneck_dim=head["bottleneck_dim"],
            head_layers=head["nlayers"],
            centering=settings["centering"],
            center_momentum=facts["center_momentum"],
            lr_scaling="none",
            layer_decay=facts.get("layerwise_decay", DINO_V1["layer_decay"]),
            patch_embed_multiplier=facts.get("patch_embed_lr_mult", DINO_V1["patch_embed_multiplier"]),
            clip_norm=facts["clip_grad"],
            student_temperature=facts["student_temp"],
            dino_weight=weights.get("dino", 1.0),
            ibot_weight=weights.get("ibot", 1.0),
            koleo_weight=weights.get("koleo", 0.1),
        )
        self.case = case
        self.step_schedules = golden_schedules(case)
        for network in (self.core.student, self.core.teacher):
            network.load_state_dict(case.part("init/"), strict=True)
        self.first_gradients: dict[str, torch.Tensor] = {}
        self.logged: list[dict[str, float]] = []

    def make_schedules(self, total_steps: int, learning_rate: float) -> Schedules:
        return self.step_schedules

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = super().configure_optimizers()
        for group in optimizer.param_groups:
            assert (list(group["betas"]), group["eps"]) == (
                self.case.facts["adamw_betas"],
                self.case.facts["adamw_eps"],
            )
        return optimizer

    def configure_callbacks(self) -> list[pl.Callback]:
        return []

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if not self.first_gradients:
            named = self.core.student.named_parameters()
            self.first_gradients = {name: p.grad.clone() for name, p in named if p.grad is not None}

    def on_train_batch_end(self, outputs: Any, batch: PretrainingBatch, batch_index: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_index)
        self.logged.append({name: float(value) for name, value in self.trainer.callback_metrics.items()})


class GoldenLoader:
    """The inputs of the pair's steps."""

    def __init__(self, case: GoldenCase) -> None:
        self.case = case

    def __len__(self) -> int:
        return len(self.case.facts["steps"])

    def __iter__(self) -> Iterator[PretrainingBatch]:
        for step in range(len(self)):
            inputs = self.case.part(f"step{step}/")
            crops = inputs["global_crops"]
            unmasked = torch.zeros(len(crops), 1, dtype=torch.bool)
            yield PretrainingBatch(crops, inputs["local_crops"], inputs.get("masks", unmasked).bool(), step=step)


def golden_schedules(case: GoldenCase) -> Schedules:
    """The schedules that the pair's steps were taken with."""
    settings = case.facts["step_schedule_settings"]
    rate, temperature = settings["lr"], settings["teacher_temp"]
    return make_schedules(
        settings["total_iterations"],
        learning_rate=(rate["base"], rate["final"]),
        warmup_steps=rate["warmup_iterations"],
        warmup_start=rate["start"],
        weight_decay=(settings["weight_decay"]["base"], settings["weight_decay"]["final"]),
        momentum=(settings["momentum"]["base"], settings["momentum"]["final"]),
        teacher_temperature=(temperature["start"], temperature["base"]),
        teacher_temperature_warmup_steps=temperature["warmup_iterations"],
        frozen_last_layer_steps=settings["last_layer_frozen_iterations"],
    )


def take_golden_steps(case: GoldenCase) -> GoldenModule:
    """All steps of a pair, in Lightning."""
    module = GoldenModule(case)
    trainer = pl.Trainer(
        max_steps=len(case.facts["steps"]),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(module, train_dataloaders=GoldenLoader(case))
    return module


def as_floats(values: list[dict[str, Any]], name: str) -> np.ndarray:
    """One number of each step."""
    return np.array([step[name] for step in values])
