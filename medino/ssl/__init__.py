"""Tokens to a better backbone: losses, schedules, parameter groups, the Lightning module and its datamodule."""

from medino.ssl.anchoring import Anchor
from medino.ssl.batch import PretrainingBatch
from medino.ssl.centering import Center, global_mean, sinkhorn_knopp
from medino.ssl.checkpointing import RunCheckpoint, latest_checkpoint, steps_done
from medino.ssl.datamodule import PretrainingData
from medino.ssl.fully_sharded import FullySharded
from medino.ssl.heads_first import HeadsFirst
from medino.ssl.koleo import koleo_loss
from medino.ssl.losses import dino_row_weights, dino_targets, ibot_row_weights
from medino.ssl.module import DINOv2, Precision
from medino.ssl.monitors import Probe, Watch, linear_cka, prototype_use, rankme
from medino.ssl.networks import Network, build_student
from medino.ssl.nonfinite import report_skipped_step, stop_after_skipped_steps
from medino.ssl.parameter_groups import ParameterRule, clip_gradients, parameter_rules
from medino.ssl.presets import CONTINUED, CONTINUED_EXPLORA, CONTINUED_LORA, DINO_V1, SMALL_SCALE
from medino.ssl.prototypes import BeforePrototypes, prototype_cross_entropy
from medino.ssl.recorder import RunRecorder
from medino.ssl.schedules import Schedules, StepSettings, cosine_schedule, make_schedules
from medino.ssl.self_distillation import SelfDistillation
from medino.ssl.small_data import Setting, peak_learning_rate, recommended_steps, small_data_settings
from medino.ssl.step_losses import StepLosses
from medino.ssl.strategies import ExPLoRA, Freeze, Full, LoRA, Strategy

__all__ = [
    "CONTINUED",
    "CONTINUED_EXPLORA",
    "CONTINUED_LORA",
    "DINO_V1",
    "SMALL_SCALE",
    "Anchor",
    "BeforePrototypes",
    "Center",
    "DINOv2",
    "ExPLoRA",
    "Freeze",
    "Full",
    "FullySharded",
    "HeadsFirst",
    "LoRA",
    "Network",
    "ParameterRule",
    "Precision",
    "PretrainingBatch",
    "PretrainingData",
    "Probe",
    "RunCheckpoint",
    "RunRecorder",
    "Schedules",
    "SelfDistillation",
    "Setting",
    "StepLosses",
    "StepSettings",
    "Strategy",
    "Watch",
    "build_student",
    "clip_gradients",
    "cosine_schedule",
    "dino_row_weights",
    "dino_targets",
    "global_mean",
    "ibot_row_weights",
    "koleo_loss",
    "latest_checkpoint",
    "linear_cka",
    "make_schedules",
    "parameter_rules",
    "peak_learning_rate",
    "prototype_cross_entropy",
    "prototype_use",
    "rankme",
    "recommended_steps",
    "report_skipped_step",
    "sinkhorn_knopp",
    "small_data_settings",
    "steps_done",
    "stop_after_skipped_steps",
]
