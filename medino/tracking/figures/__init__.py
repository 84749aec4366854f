"""Figures drawn from evidence and metrics, and from nothing else, as SVG to stand inside HTML."""

from medino.tracking.figures.fewshot import draw_fewshot
from medino.tracking.figures.pretraining import draw_pretraining
from medino.tracking.figures.segmentation import draw_segmentation
from medino.tracking.figures.style import to_svg

__all__ = ["draw_fewshot", "draw_pretraining", "draw_segmentation", "to_svg"]
