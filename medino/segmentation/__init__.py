"""Features to masks: heads, the Lightning module and its datamodule."""

from medino.segmentation.batch import SegmentationBatch
from medino.segmentation.datamodule import SegmentationData
from medino.segmentation.evidence import segmentation_evidence
from medino.segmentation.heads import LinearHead, MultiLayerHead
from medino.segmentation.metrics import CaseResult, dice, hausdorff95
from medino.segmentation.module import Segmentation
from medino.segmentation.overlays import overlay_figure, write_overlay

__all__ = [
    "CaseResult",
    "LinearHead",
    "MultiLayerHead",
    "Segmentation",
    "SegmentationBatch",
    "SegmentationData",
    "dice",
    "hausdorff95",
    "overlay_figure",
    "segmentation_evidence",
    "write_overlay",
]
