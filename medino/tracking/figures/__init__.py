"""Figures drawn from evidence and metrics, and from nothing else."""

from medino.tracking.figures.confusion import draw_confusion
from medino.tracking.figures.drawn import Drawn, write_figures
from medino.tracking.figures.fewshot import draw_fewshot
from medino.tracking.figures.forest import draw_forest
from medino.tracking.figures.pretraining import draw_pretraining
from medino.tracking.figures.reliability import confidence_bins, draw_reliability
from medino.tracking.figures.segmentation import draw_segmentation
from medino.tracking.figures.style import to_svg
from medino.tracking.figures.values import draw_values

__all__ = [
    "Drawn",
    "confidence_bins",
    "draw_confusion",
    "draw_fewshot",
    "draw_forest",
    "draw_pretraining",
    "draw_reliability",
    "draw_segmentation",
    "draw_values",
    "to_svg",
    "write_figures",
]
