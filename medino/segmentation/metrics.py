"""How good a mask is: Dice and 95 % Hausdorff distance for each case and class (MONAI's).

The rule for empty masks: where neither truth nor prediction has the class, Dice is 1 and the distance 0. Where only one
of them has it, Dice is 0 and the distance is undefined: it is left out of means and counted beside them.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from monai.metrics import compute_dice, compute_hausdorff_distance

PERCENTILE = 95

UNDEFINED = "_undefined"
"""Ends the metric that counts the cases without a distance, in which only one of the masks has the class."""


@dataclass(frozen=True)
class CaseResult:
    """How well one class was found in one case (an image or slice).

    Attributes:
        sample_id: the manifest's id.
        patient: keyed hash of the patient.
        class_name: the class measured.
        dice: from 0 to 1.
        hausdorff95: in `unit`; None where only one of the masks has the class.
        unit: "mm" where the spacing is known, else "px": pixels of the evaluated grid.
    """

    sample_id: str
    patient: str
    class_name: str
    dice: float
    hausdorff95: float | None
    unit: Literal["mm", "px"]


def dice(predicted: torch.Tensor, target: torch.Tensor) -> float:
    """Dice of two boolean masks (H, W): 1 where both are empty, 0 where one is."""
    return float(compute_dice(predicted[None, None].float(), target[None, None].float(), ignore_empty=False))


def hausdorff95(
    predicted: torch.Tensor, target: torch.Tensor, spacing: tuple[float, float] | None = None
) -> float | None:
    """The greater of the two directed 95th percentiles of the distances between the masks' edges.

    Args:
        predicted: (H, W) boolean.
        target: (H, W) boolean.
        spacing: distance between rows and between columns, mm; None measures in pixels.

    Returns:
        The distance; 0 where both masks are empty, None where one is.
    """
    if not predicted.any() or not target.any():
        return None if predicted.any() or target.any() else 0.0
    with warnings.catch_warnings():
        # MONAI warns of an argument that it passes to itself.
        warnings.simplefilter("ignore", FutureWarning)
        distance = compute_hausdorff_distance(
            predicted[None, None].float(),
            target[None, None].float(),
            include_background=True,
            percentile=PERCENTILE,
            spacing=list(spacing) if spacing is not None else None,
        )
    return float(distance)


def case_results(
    predicted: torch.Tensor,
    target: torch.Tensor,
    class_names: Sequence[str],
    sample_id: str,
    patient: str,
    spacing: tuple[float, float] | None,
) -> list[CaseResult]:
    """Dice and Hausdorff distance of each class but the first, which is the background.

    Args:
        predicted: (H, W) indices of classes.
        target: (H, W) indices of classes.
        class_names: the classes by index.
        sample_id: the manifest's id.
        patient: keyed hash of the patient.
        spacing: distance between rows and between columns, mm, or None.
    """
    predicted, target = predicted.cpu(), target.cpu()
    return [
        CaseResult(
            sample_id=sample_id,
            patient=patient,
            class_name=name,
            dice=dice(predicted == index, target == index),
            hausdorff95=hausdorff95(predicted == index, target == index, spacing),
            unit="px" if spacing is None else "mm",
        )
        for index, name in enumerate(class_names)
        if index > 0
    ]


def measures(results: Sequence[CaseResult]) -> dict[tuple[str, str], list[tuple[CaseResult, float | None]]]:
    """The value of each case by (class, metric)."""
    found: dict[tuple[str, str], list[tuple[CaseResult, float | None]]] = {}
    for result in results:
        found.setdefault((result.class_name, "dice"), []).append((result, result.dice))
        found.setdefault((result.class_name, f"hausdorff95_{result.unit}"), []).append((result, result.hausdorff95))
    return found


def mean_metrics(results: Sequence[CaseResult]) -> dict[str, float]:
    """Means over cases for each class, and over classes.

    Returns:
        `dice/CLASS`; `hausdorff95_mm/CLASS` or `hausdorff95_px/CLASS` over the cases where it is defined, and
        `hausdorff95_mm_undefined/CLASS` or `hausdorff95_px_undefined/CLASS`, how many it is not; `dice`, the mean over
        classes.
    """
    means: dict[str, float] = {}
    for (name, metric), measured in measures(results).items():
        defined = [value for _, value in measured if value is not None]
        if defined:
            means[f"{metric}/{name}"] = math.fsum(defined) / len(defined)
        if metric != "dice":
            means[f"{metric}{UNDEFINED}/{name}"] = float(len(measured) - len(defined))
    of_class = [value for name, value in means.items() if name.startswith("dice/")]
    means["dice"] = math.fsum(of_class) / len(of_class)
    return means
