"""DINOv2 (and DINO v1) pretraining as a LightningModule: its settings, and what is built by them."""

import warnings
from typing import Any, Literal, get_args

import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_info

from medino.core import InputError, keep_freed_memory
from medino.models import Interpolation, backbone_fingerprint, merge_lora
from medino.ssl.anchoring import Anchor
from medino.ssl.centering import Centering
from medino.ssl.checkpointing import RunCheckpoint
from medino.ssl.distributed import world_size
from medino.ssl.heads_first import BackboneRelease, HeadsFirst
from medino.ssl.koleo import KoLeoScope
from medino.ssl.monitors import Watch
from medino.ssl.networks import build_student
from medino.ssl.parameter_groups import Objective, optimizer_groups, parameter_rules
from medino.ssl.plain_settings import plain_settings, settings_from
from medino.ssl.recorder import RunRecorder
from medino.ssl.schedules import Schedules, make_schedules
from medino.ssl.self_distillation import SelfDistillation
from medino.ssl.settings import LearningRateScaling, check_division, check_settings, scaled_learning_rate, scopes
from medino.ssl.sharding import kernel
from medino.ssl.starting_heads import head_settings, starting_heads
from medino.ssl.strategies import Strategy, plain, strategy_from
from medino.ssl.training import Training

EXPECTED = (
    r"Found \d+ module\(s\) in eval mode at the start of training",  # the teacher
    "You defined a `validation_step` but have no `val_dataloader`",  # for `medino validate` alone
    "Total length of `list` across ranks is zero",  # the same
)
"""Warnings of Lightning about what is meant to be so."""

Precision = Literal["bf16-mixed", "32-true"]
"""What the trainer may compute products in; weights and losses stay in float32."""


class DINOv2(Training):
    """Self-distillation without labels: continues the pretraining of a backbone on unlabelled images.

    The defaults are DINOv2's short recipe (ViT-L/16 on ImageNet-1k); comments give the long one (ViT-L/14), where it
    differs, and DINO v1's; `medino.ssl.presets` holds settings that belong together. Lengths in time are shares of the
    run (`trainer.max_steps`), as the recipe's epochs are.

    Args:
        backbone: name of a preset of `medino.models.PRESETS`; ignored where `weights` are given.
        weights: what to start from: a name of known weights, a file or folder in the layout of medino, Meta, Hugging
            Face or timm, or a run's folder; its settings come with it. None: from scratch.
        heads: projection heads to start from: a name, a file (RAD-DINO's, a full checkpoint of DINO or DINOv2) or a
            run's folder; their widths come with them. None: untrained.
        interpolation: whose way to resize the position embedding of `weights`: "meta", "hf" or "timm"; None follows
            the family of the file.
        backbone_settings: settings of `BackboneConfig` that differ from the preset or the file.
        strategy: what of the backbone learns: `Full` (None), `LoRA`, `ExPLoRA` or `Freeze`, in YAML by `class_path` and
            `init_args`.
        heads_first: hold the backbone until the heads have learnt (`HeadsFirst`, in YAML its settings, {} for the
            defaults); None: all learn from the first step on.
        anchor: hold the patch tokens near those of the starting model (`Anchor`, in YAML its settings); None: not.
        objective: "dinov2", or "dino" for DINO v1 (see `DINO_V1`).
        drop_path_rate: stochastic depth of the student.
        prototypes: outputs of the DINO head.
        separate_ibot_head: give the iBOT loss a head of its own.
        ibot_prototypes: outputs of that head; None: as many as `prototypes`.
        head_hidden_dim: width of the heads' hidden layers.
        head_bottleneck_dim: width before the DINO head's prototypes.
        ibot_bottleneck_dim: the same of the iBOT head; None: as the DINO head.
        head_layers: layers of the heads' MLP.
        fixed_gain: hold the gain of the weight-normed last layers at 1.
        centering: "centering" (EMA centre) or "sinkhorn_knopp" (3 iterations).
        center_momentum: of the EMA centre.
        base_lr: learning rate for a batch of 1024 (DINO v1: 256) images.
        lr_scaling: "sqrt": `base_lr * sqrt(batch / 1024)`; "linear": `base_lr * batch / 256`; "none": `base_lr`.
            The result is printed when training starts. `min_lr` is not scaled.
        min_lr: where the cosine of the learning rate ends.
        warmup: share of the run in which the learning rate rises.
        weight_decay: at the start.
        final_weight_decay: at the end of its cosine.
        momentum: of the teacher at the start; it ends at 1.
        teacher_temperature: at the start.
        final_teacher_temperature: after its warm-up.
        teacher_temperature_warmup: share of the run in which the teacher's temperature rises.
        frozen_last_layer: share of the run in which the heads' last layers are held.
        student_temperature: divides the student's logits.
        layer_decay: factor of the learning rate from each block to the one before it.
        patch_embed_multiplier: factor of the patch embedding's learning rate, besides.
        clip_norm: gradients are clipped to this norm, of each sub-module (DINO v1: each parameter) on its own; 0: not.
        dino_weight: weight of the DINO loss.
        ibot_weight: weight of the iBOT loss.
        koleo_weight: weight of the KoLeo regulariser.
        koleo_scope: "global": a class token's nearest neighbour is looked for in the batch of all processes;
            "process": in that of each process alone, as the reference does.
        sinkhorn_queue: past images whose class tokens the teacher assigns to the prototypes together with the batch's,
            for small batches (SwAV, Caron et al. 2020, section 4.1); 0: none. It takes 8 bytes times images times
            prototypes for a moment in each step. Masked patches have none: there are hundreds in a batch of 8.
        koleo_queue: past images among which nearest neighbours are looked for, besides the batch's; 0: none.
        accumulate: micro-batches that a step's batch is divided into, one after the other: the memory of a smaller
            batch. Targets are still made over the whole batch; KoLeo looks for neighbours in each micro-batch.
        seed: of everything random in the module: initial weights, drop path.
        checkpoint_blocks: compute what is inside the backbone's blocks again in the backward pass instead of keeping
            it: less memory, more time, the same numbers.
        compile_blocks: compile the backbone's blocks with `torch.compile`. Crops have fixed sizes; the number of masked
            patches changes from step to step, and what depends on it is left as it is.
        max_nonfinite_steps: a step with NaN or infinity in loss or gradient is skipped; after this many in a row the
            run stops.
        checkpoint_every_n_steps: a checkpoint is written this often, and at the end.

    Raises:
        InputError: a setting is unknown or out of range; the weights don't fit.
    """

    def __init__(
        self,
        backbone: str = "mini",
        weights: str | None = None,
        heads: str | None = None,
        interpolation: Interpolation | None = None,
        backbone_settings: dict[str, Any] | None = None,
        strategy: Strategy | dict[str, Any] | None = None,
        heads_first: HeadsFirst | dict[str, Any] | None = None,
        anchor: Anchor | dict[str, Any] | None = None,
        objective: Objective = "dinov2",
        drop_path_rate: float = 0.3,  # long 0.4, DINO v1 0.1
        prototypes: int = 65536,  # long 131072
        separate_ibot_head: bool = False,  # long True
        ibot_prototypes: int | None = None,  # long 131072
        head_hidden_dim: int = 2048,
        head_bottleneck_dim: int = 256,  # long 384
        ibot_bottleneck_dim: int | None = None,  # long 256
        head_layers: int = 3,
        fixed_gain: bool = False,  # DINO v1 True for ViT-B
        centering: Centering = "centering",  # long sinkhorn_knopp
        center_momentum: float = 0.9,
        base_lr: float = 4e-3,  # long 2e-4, DINO v1 5e-4
        lr_scaling: LearningRateScaling = "sqrt",  # DINO v1 linear
        min_lr: float = 1e-6,
        warmup: float = 0.1,  # 10 of 100 epochs; long 0.16, 80 of 500
        weight_decay: float = 0.04,
        final_weight_decay: float = 0.4,  # long 0.2
        momentum: float = 0.992,  # long 0.994, DINO v1 0.996
        teacher_temperature: float = 0.04,
        final_teacher_temperature: float = 0.07,
        teacher_temperature_warmup: float = 0.3,  # 30 of 100 epochs; long 0.06, 30 of 500
        frozen_last_layer: float = 0.01,  # 1 of 100 epochs; long 0.002, 1 of 500
        student_temperature: float = 0.1,
        layer_decay: float = 0.9,  # long 1.0, DINO v1 1.0
        patch_embed_multiplier: float = 0.2,  # DINO v1 1.0
        clip_norm: float = 3.0,
        dino_weight: float = 1.0,
        ibot_weight: float = 1.0,
        koleo_weight: float = 0.1,
        koleo_scope: KoLeoScope = "global",  # reference process
        sinkhorn_queue: int = 0,
        koleo_queue: int = 0,
        accumulate: int = 1,
        seed: int = 0,
        checkpoint_blocks: bool = False,
        compile_blocks: bool = False,
        max_nonfinite_steps: int = 10,
        checkpoint_every_n_steps: int = 500,
    ) -> None:
        super().__init__()
        # A path can name people, and the checkpoint holds the weights themselves.
        self.save_hyperparameters(ignore=["weights", "heads", "strategy", "heads_first", "anchor"])
        heads_first = settings_from(HeadsFirst, heads_first, "heads_first")
        anchor = settings_from(Anchor, anchor, "anchor")
        # Plain, so that a checkpoint is read without unpickling.
        self.save_hyperparameters({"strategy": plain(strategy_from(strategy))})
        self.save_hyperparameters({"heads_first": plain_settings(heads_first), "anchor": plain_settings(anchor)})
        published = None if heads is None else starting_heads(heads)
        if published is not None:
            self.save_hyperparameters(head_settings(published, self.hparams, DINOv2))
        check_settings(self.hparams)
        student = build_student(self.hparams, weights, published)
        self.start_fingerprints = {"backbone_before": backbone_fingerprint(merge_lora(student.backbone))}
        self.core = SelfDistillation(
            student,
            objective=objective,
            centering=centering,
            center_momentum=center_momentum,
            student_temperature=student_temperature,
            dino_weight=dino_weight,
            ibot_weight=ibot_weight,
            koleo_weight=koleo_weight,
            koleo_scope=koleo_scope,
            sinkhorn_queue=sinkhorn_queue,
            koleo_queue=koleo_queue,
            anchor=anchor,
        )
        self.core.student.backbone.checkpoint_blocks = checkpoint_blocks
        if compile_blocks:
            self.core.student.backbone.compile_blocks()
            self.core.teacher.backbone.compile_blocks()
        self.release = None if heads_first is None else BackboneRelease(heads_first)

    def configure_callbacks(self) -> list[Callback]:
        """What watches the run and writes its folder, unless the trainer already has it."""
        ours = [Watch(), RunRecorder(), RunCheckpoint(self.hparams["checkpoint_every_n_steps"])]
        present = {type(callback) for callback in getattr(self.trainer, "callbacks", [])}
        return [callback for callback in ours if type(callback) not in present]

    def setup(self, stage: str) -> None:
        """Make the schedules for the trainer's number of steps."""
        if stage != "fit":
            return
        for message in EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        if self.device.type == "cpu":
            keep_freed_memory()
        precision = str(self.trainer.precision)
        if precision not in get_args(Precision):
            why = "overflows" if precision.startswith("16") else "has not been tried"
            raise InputError(f"precision {precision} {why} in these losses; use {' or '.join(get_args(Precision))}")
        if self.trainer.max_steps < 1:
            raise InputError("the number of training steps is not set; set trainer.max_steps")
        batch_size = getattr(getattr(self.trainer, "datamodule", None), "batch_size", None)
        if batch_size is not None:
            check_division(self.hparams, batch_size, world_size())
            for sentence in scopes(self.hparams, batch_size, world_size()):
                rank_zero_info(sentence)
        total_steps = self.trainer.max_steps
        self.schedules = self.make_schedules(total_steps, self.scaled_learning_rate())
        if self.release is not None:
            warmup_steps = round(self.hparams["warmup"] * total_steps)
            self.release.begin(total_steps, max(warmup_steps, self.schedules.frozen_last_layer_steps))

    def scaled_learning_rate(self) -> float:
        """The peak learning rate for the batch of all processes; says how it came about."""
        batch_size = getattr(getattr(self.trainer, "datamodule", None), "batch_size", None)
        rate, rule = scaled_learning_rate(self.hparams["base_lr"], self.hparams["lr_scaling"], batch_size)
        rank_zero_info(f"peak learning rate {rate:.3g} = {rule}")
        return rate

    def make_schedules(self, total_steps: int, learning_rate: float) -> Schedules:
        """The schedules of a run.

        Args:
            total_steps: training steps of the whole run.
            learning_rate: the peak, scaled for the batch.
        """
        h: Any = self.hparams
        return make_schedules(
            total_steps,
            learning_rate=(learning_rate, h.min_lr),
            warmup_steps=round(h.warmup * total_steps),
            weight_decay=(h.weight_decay, h.final_weight_decay),
            momentum=(h.momentum, 1.0),
            teacher_temperature=(h.teacher_temperature, h.final_teacher_temperature),
            teacher_temperature_warmup_steps=round(h.teacher_temperature_warmup * total_steps),
            frozen_last_layer_steps=round(h.frozen_last_layer * total_steps),
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW with a group for each pair of multipliers; the schedules set its rates in each step."""
        h: Any = self.hparams
        rules = parameter_rules(
            self.core.student, self.backbone_config.depth, h.objective, h.layer_decay, h.patch_embed_multiplier
        )
        groups = [{**group, **kernel(group["params"])} for group in optimizer_groups(self.core.student, rules)]
        return torch.optim.AdamW(groups, lr=h.base_lr, betas=(0.9, 0.999), eps=1e-8, fused=True)
