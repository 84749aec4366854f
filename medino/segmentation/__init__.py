"""Features to masks: heads, the Lightning module and its datamodule; masks from slice to slice, and without labels."""

from medino.segmentation.batch import SegmentationBatch
from medino.segmentation.datamodule import SegmentationData
from medino.segmentation.evidence import segmentation_evidence
from medino.segmentation.heads import LinearHead, MultiLayerHead
from medino.segmentation.metrics import CaseResult, dice, hausdorff95
from medino.segmentation.module import Segmentation
from medino.segmentation.overlays import overlay_figure, write_overlay
from medino.segmentation.propagation import Propagation, propagate_masks
from medino.segmentation.unsupervised import cut_scores, foreground_scores, numbered_objects

__all__ = [
    "CaseResult",
    "LinearHead",
    "MultiLayerHead",
    "Propagation",
    "Segmentation",
    "SegmentationBatch",
    "SegmentationData",
    "cut_scores",
    "dice",
    "foreground_scores",
    "hausdorff95",
    "numbered_objects",
    "overlay_figure",
    "propagate_masks",
    "segmentation_evidence",
    "write_overlay",
]
