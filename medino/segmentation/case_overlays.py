"""The worst, the middle and the best test cases of a study of masks, with truth and prediction drawn in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medino.core import InputError
from medino.segmentation.mask_design import MaskDesign, MaskedImages
from medino.segmentation.metrics import CaseResult
from medino.segmentation.overlays import overlay_figure, shown_cases, write_overlay


@dataclass(frozen=True)
class CaseOverlays:
    """Which pictures of a study to keep, and where: those of one backbone's first draw of the most labelled patients.

    The files are `overlay-1-worst-SAMPLE_ID.png` and so on; those of an earlier study in the folder go. They are images
    of patients: use only where the user asked for them.

    Args:
        folder: where to write.
        backbone: the name of whose masks are drawn.
        count: how many in all, a third of each kind.

    Raises:
        InputError: there are to be fewer than one.
    """

    folder: Path
    backbone: str
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"the number of overlays is {self.count}; give one of at least 1")

    def write(
        self,
        design: MaskDesign,
        images: MaskedImages,
        predicted: torch.Tensor,
        results: Sequence[CaseResult],
        learned_from: str,
    ) -> None:
        """Draw the cases by their Dice, the mean over classes; of a volume the slice that shows most of either mask.

        Args:
            design: whose test cases they are.
            images: the images, with the true masks.
            predicted: (T, S, S) indices of classes, of all test rows.
            results: what was measured of the cases in their order, all classes of a case together.
            learned_from: dataset and labelled patients, in words.
        """
        dice = np.array([result.dice for result in results]).reshape(len(design.cases), -1).mean(axis=1)
        starts = np.cumsum([0, *(len(case.rows) for case in design.cases)])
        transform, ids = images.transform, design.manifest.column("sample_id")
        mean, std = (torch.tensor(each)[:, None, None] for each in (transform.mean, transform.std))
        for old in self.folder.glob("overlay-*.png"):
            old.unlink()
        unit = design.manifest.patient_unit
        patients = f"{len(design.test_patients)} patients{'' if unit == 'patient' else f' (unit: {unit})'}"
        for number, kind, place in shown_cases(dice.tolist(), self.count):
            rows = design.cases[place].rows
            truth, found = images.masks(rows), predicted[starts[place] : starts[place + 1]]
            slice_ = int(((truth > 0) | (found > 0)).flatten(1).sum(dim=1).argmax())
            told = f"slice {slice_ + 1} of {len(rows)}, " if len(rows) > 1 else ""
            title = (
                f"{kind} of {len(dice)} test cases of {patients}: case {design.units.ids[design.test[place]][:8]}, "
                f"{told}Dice {dice[place]:.3f}\n"
                f"{learned_from}, masks by {self.backbone}"
            )
            image = images.images(rows[slice_ : slice_ + 1])[0] * std + mean
            figure = overlay_figure(image, truth[slice_], found[slice_], images.class_names, title)
            write_overlay(self.folder / f"overlay-{number}-{kind}-{ids[rows[slice_]]}.png", figure)
