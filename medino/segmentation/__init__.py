"""Features to masks: heads, the Lightning module and its datamodule; masks from slice to slice, and without labels."""

from medino.segmentation.batch import SegmentationBatch
from medino.segmentation.datamodule import MaskedImages, SegmentationData
from medino.segmentation.dense import DenseRegression, scale_invariant_loss
from medino.segmentation.dense_data import DenseData
from medino.segmentation.dense_metrics import DenseResult, dense_evidence
from medino.segmentation.evidence import segmentation_evidence
from medino.segmentation.fitting import Training
from medino.segmentation.heads import LinearHead, MultiLayerHead, UnetrHead
from medino.segmentation.kept import HeadTraining
from medino.segmentation.metrics import CaseResult, dice, hausdorff95, surface_dice
from medino.segmentation.module import Segmentation
from medino.segmentation.overlays import overlay_figure, write_overlay
from medino.segmentation.propagation import Propagation, propagate_masks
from medino.segmentation.study import MaskStudy
from medino.segmentation.unsupervised import cut_scores, foreground_scores, numbered_objects

__all__ = [
    "CaseResult",
    "DenseData",
    "DenseRegression",
    "DenseResult",
    "HeadTraining",
    "LinearHead",
    "MaskStudy",
    "MaskedImages",
    "MultiLayerHead",
    "Propagation",
    "Segmentation",
    "SegmentationBatch",
    "SegmentationData",
    "Training",
    "UnetrHead",
    "cut_scores",
    "dense_evidence",
    "dice",
    "foreground_scores",
    "hausdorff95",
    "numbered_objects",
    "overlay_figure",
    "propagate_masks",
    "scale_invariant_loss",
    "segmentation_evidence",
    "surface_dice",
    "write_overlay",
]
