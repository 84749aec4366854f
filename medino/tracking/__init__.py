"""What people look at: W&B, figures, the HTML report."""

from medino.tracking.metrics_csv import ContinueMetrics, RunMetricsLogger, read_metrics
from medino.tracking.progress import StepProgress
from medino.tracking.public_config import PRIVATE_PATH, public_config
from medino.tracking.wandb_run import RunWandbLogger, private_settings, wandb_logger

__all__ = [
    "PRIVATE_PATH",
    "ContinueMetrics",
    "RunMetricsLogger",
    "RunWandbLogger",
    "StepProgress",
    "private_settings",
    "public_config",
    "read_metrics",
    "wandb_logger",
]
