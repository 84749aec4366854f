"""What people look at: W&B, figures, the HTML report."""

from medino.tracking.figures import (
    Drawn,
    draw_confusion,
    draw_fewshot,
    draw_forest,
    draw_pretraining,
    draw_reliability,
    draw_segmentation,
    draw_values,
    to_svg,
    write_figures,
)
from medino.tracking.headline import Headline, headline
from medino.tracking.maps import attention_maps, nearest_patches, pca_maps, similarity_maps
from medino.tracking.metrics_csv import ContinueMetrics, RunMetricsLogger, read_metrics
from medino.tracking.outcomes import Outcomes, outcomes, recall
from medino.tracking.patch_maps import PatchMaps
from medino.tracking.progress import StepProgress
from medino.tracking.public_config import PRIVATE_PATH, public_config
from medino.tracking.report import Section, write_report
from medino.tracking.run_report import record_data, report_runs, run_sections
from medino.tracking.sections import (
    data_section,
    failures_section,
    fewshot_section,
    pretraining_section,
    provenance_section,
    segmentation_section,
    summary_section,
)
from medino.tracking.verdict import cautions, verdict
from medino.tracking.wandb_run import RunWandbLogger, private_settings, wandb_logger
from medino.tracking.wandb_tables import log_evidence

__all__ = [
    "PRIVATE_PATH",
    "ContinueMetrics",
    "Drawn",
    "Headline",
    "Outcomes",
    "PatchMaps",
    "RunMetricsLogger",
    "RunWandbLogger",
    "Section",
    "StepProgress",
    "attention_maps",
    "cautions",
    "data_section",
    "draw_confusion",
    "draw_fewshot",
    "draw_forest",
    "draw_pretraining",
    "draw_reliability",
    "draw_segmentation",
    "draw_values",
    "failures_section",
    "fewshot_section",
    "headline",
    "log_evidence",
    "nearest_patches",
    "outcomes",
    "pca_maps",
    "pretraining_section",
    "private_settings",
    "provenance_section",
    "public_config",
    "read_metrics",
    "recall",
    "record_data",
    "report_runs",
    "run_sections",
    "segmentation_section",
    "similarity_maps",
    "summary_section",
    "to_svg",
    "verdict",
    "wandb_logger",
    "write_figures",
    "write_report",
]
