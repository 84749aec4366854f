"""How good a mask is: Dice, normalised surface distance and 95 % Hausdorff distance of each case and class.

A case is an image or a volume. Both distances come from the same pairs of nearest edge points (MONAI's): the edge of a
mask are its pixels or voxels that touch what is outside it.

The rule for empty masks: where neither truth nor prediction has the class, Dice and the normalised surface distance are
1 and the Hausdorff distance 0. Where only one of them has it, the first two are 0 and the Hausdorff distance is
undefined: it is left out of means and counted beside them.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from monai.metrics import compute_dice
from monai.metrics.utils import get_edge_surface_distance

PERCENTILE = 95

TOLERANCE = 2.0
"""How far an edge may lie from the other one and still be right, mm, or pixels where the spacing is not known."""

UNDEFINED = "_undefined"
"""Ends the metric that counts the cases without a distance, in which only one of the masks has the class."""


@dataclass(frozen=True)
class CaseResult:
    """How well one class was found in one case (an image, slice or volume).

    Attributes:
        sample_id: the manifest's id, or keyed hash of the volume.
        patient: keyed hash of the patient.
        class_name: the class measured.
        dice: from 0 to 1.
        hausdorff95: in `unit`; None where only one of the masks has the class.
        unit: "mm" where the spacing is known, else "px": pixels of the evaluated grid.
        surface_dice: normalised surface distance at `tolerance`, from 0 to 1.
        tolerance: of the normalised surface distance, in `unit`.
    """

    sample_id: str
    patient: str
    class_name: str
    dice: float
    hausdorff95: float | None
    unit: Literal["mm", "px"]
    surface_dice: float
    tolerance: float

    @property
    def values(self) -> dict[str, float | None]:
        """The three by the names that evidence gives them: `dice`, `surface_dice_2mm`, `hausdorff95_mm`."""
        return {
            "dice": self.dice,
            f"surface_dice_{self.tolerance:g}{self.unit}": self.surface_dice,
            f"hausdorff95_{self.unit}": self.hausdorff95,
        }


def dice(predicted: torch.Tensor, target: torch.Tensor) -> float:
    """Dice of two boolean masks (H, W) or (D, H, W): 1 where both are empty, 0 where one is."""
    return float(compute_dice(predicted[None, None].float(), target[None, None].float(), ignore_empty=False))


def edge_distances(
    predicted: torch.Tensor, target: torch.Tensor, spacing: Sequence[float] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """From each point of one mask's edge to the nearest of the other's.

    Args:
        predicted: (H, W) or (D, H, W) boolean, not empty.
        target: the same.
        spacing: distance between the grid's points along each axis, mm; None measures in pixels.

    Returns:
        (P,) distances of the prediction's edge, (T,) of the target's.
    """
    with warnings.catch_warnings():
        # MONAI warns of an argument that it passes to itself.
        warnings.simplefilter("ignore", FutureWarning)
        _, distances, _ = get_edge_surface_distance(predicted, target, spacing=spacing, symmetric=True)
    return distances[0], distances[-1]


def hausdorff95(predicted: torch.Tensor, target: torch.Tensor, spacing: Sequence[float] | None = None) -> float | None:
    """The greater of the two directed 95th percentiles of the distances between the masks' edges.

    Args:
        predicted: (H, W) or (D, H, W) boolean.
        target: the same.
        spacing: distance between the grid's points along each axis, mm; None measures in pixels.

    Returns:
        The distance; 0 where both masks are empty, None where one is.
    """
    if not predicted.any() or not target.any():
        return None if predicted.any() or target.any() else 0.0
    return _percentile(edge_distances(predicted, target, spacing))


def surface_dice(
    predicted: torch.Tensor, target: torch.Tensor, tolerance: float, spacing: Sequence[float] | None = None
) -> float:
    """Normalised surface distance: the share of both edges that lies within a tolerance of the other one.

    Nikolov et al. 2018 (arXiv 1809.04430), equation 8, edges counted by their points (MONAI's `compute_surface_dice`).

    Args:
        predicted: (H, W) or (D, H, W) boolean.
        target: the same.
        tolerance: mm, or pixels without a spacing.
        spacing: distance between the grid's points along each axis, mm; None measures in pixels.

    Returns:
        From 0 to 1; 1 where both masks are empty, 0 where one is.
    """
    if not predicted.any() or not target.any():
        return 0.0 if predicted.any() or target.any() else 1.0
    return _share_within(edge_distances(predicted, target, spacing), tolerance)


def case_results(
    predicted: torch.Tensor,
    target: torch.Tensor,
    class_names: Sequence[str],
    sample_id: str,
    patient: str,
    spacing: Sequence[float] | None,
    tolerance: float = TOLERANCE,
) -> list[CaseResult]:
    """Dice and both distances of each class but the first, which is the background.

    Args:
        predicted: (H, W) or (D, H, W) indices of classes.
        target: the same.
        class_names: the classes by index.
        sample_id: the manifest's id, or keyed hash of the volume.
        patient: keyed hash of the patient.
        spacing: distance between the grid's points along each axis, mm, or None.
        tolerance: of the normalised surface distance, mm, or pixels without a spacing.
    """
    predicted, target = predicted.cpu(), target.cpu()
    results = []
    for index, name in enumerate(class_names):
        if index == 0:
            continue
        found, true = predicted == index, target == index
        distance: float | None
        if found.any() and true.any():
            edges = edge_distances(found, true, spacing)
            distance, within = _percentile(edges), _share_within(edges, tolerance)
        else:
            distance, within = hausdorff95(found, true), surface_dice(found, true, tolerance)
        unit: Literal["mm", "px"] = "px" if spacing is None else "mm"
        results.append(CaseResult(sample_id, patient, name, dice(found, true), distance, unit, within, tolerance))
    return results


def measures(results: Sequence[CaseResult]) -> dict[tuple[str, str], list[tuple[CaseResult, float | None]]]:
    """The value of each case by (class, metric)."""
    found: dict[tuple[str, str], list[tuple[CaseResult, float | None]]] = {}
    for result in results:
        for metric, value in result.values.items():
            found.setdefault((result.class_name, metric), []).append((result, value))
    return found


def can_be_undefined(metric: str) -> bool:
    """Whether a metric has no value in a case where only one mask has the class."""
    return metric.startswith("hausdorff95")


def mean_metrics(results: Sequence[CaseResult]) -> dict[str, float]:
    """Means over cases for each class, and over classes.

    Returns:
        `dice/CLASS`; `surface_dice_2mm/CLASS`, with the tolerance in its unit; `hausdorff95_mm/CLASS` or
        `hausdorff95_px/CLASS` over the cases where it is defined, and `hausdorff95_mm_undefined/CLASS` or
        `hausdorff95_px_undefined/CLASS`, how many it is not; `dice`, the mean over classes.
    """
    means: dict[str, float] = {}
    for (name, metric), measured in measures(results).items():
        defined = [value for _, value in measured if value is not None]
        if defined:
            means[f"{metric}/{name}"] = math.fsum(defined) / len(defined)
        if can_be_undefined(metric):
            means[f"{metric}{UNDEFINED}/{name}"] = float(len(measured) - len(defined))
    of_class = [value for name, value in means.items() if name.startswith("dice/")]
    means["dice"] = math.fsum(of_class) / len(of_class)
    return means


def _percentile(distances: tuple[torch.Tensor, torch.Tensor]) -> float:
    """The 95 % Hausdorff distance of `edge_distances`."""
    return max(float(torch.quantile(directed, PERCENTILE / 100)) for directed in distances)


def _share_within(distances: tuple[torch.Tensor, torch.Tensor], tolerance: float) -> float:
    """The normalised surface distance of `edge_distances`."""
    within = sum(int((directed <= tolerance).sum()) for directed in distances)
    return within / sum(len(directed) for directed in distances)
