"""One case: an image and its mask on the grid of the evaluation transform, and how it is varied in training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from medino.core import UnreadableImageError, numpy_generator
from medino.data import PixelDataset, SampleAddress
from medino.features import EvaluationTransform
from medino.segmentation.batch import SegmentationBatch
from medino.segmentation.targets import Target

NO_MASK = -1
"""Stands in every pixel where there is no mask."""


@dataclass(frozen=True)
class Case:
    """One image with its mask.

    Attributes:
        image: (3, S, S) float32, normalised.
        mask: (S, S): what the target reads (`medino.segmentation.targets`), or `NO_MASK` everywhere.
        sample_id: the manifest's id.
        patient: keyed hash of the patient.
        spacing: distance between rows and between columns of the grid, mm, where known.
    """

    image: torch.Tensor
    mask: torch.Tensor
    sample_id: str
    patient: str
    spacing: tuple[float, float] | None

    @property
    def nbytes(self) -> int:
        """Memory that image and mask take."""
        return self.image.nbytes + self.mask.nbytes


def read_case(pixels: PixelDataset, row: int, transform: EvaluationTransform, target: Target | None) -> Case:
    """Read a row of the manifest.

    Args:
        pixels: the manifest's pixels.
        row: which row.
        transform: places image and mask on one grid.
        target: reads the mask; None reads none.

    Raises:
        InputError: the mask does not fit, as `target` says.
        UnreadableImageError: image or mask can't be decoded, or the image holds NaN or infinity.
    """
    sample = pixels.manifest.sample(row)
    decoded = pixels[row]
    if not decoded.values.isfinite().all():
        raise UnreadableImageError("pixel values that are not finite (NaN or infinity)")
    image = transform(decoded)
    mask = torch.full(image.shape[-2:], NO_MASK) if target is None else target(pixels, row, transform)
    return Case(image, mask, sample.sample_id, sample.patient, transform.spacing(decoded))


def vary(
    case: Case, generator: np.random.Generator, crop: int | None, horizontal_flip: bool, vertical_flip: bool
) -> Case:
    """Flip each way with probability 1/2 where allowed, then cut out a square; image and mask alike.

    Args:
        case: the whole image.
        generator: draws flips and place.
        crop: side of the square, pixels; None keeps the whole image.
        horizontal_flip: whether left and right may be exchanged.
        vertical_flip: whether top and bottom may be.
    """
    image, mask = case.image, case.mask
    for allowed, axis in ((horizontal_flip, -1), (vertical_flip, -2)):
        if allowed and generator.random() < 0.5:
            image, mask = image.flip(axis), mask.flip(axis)
    if crop is not None:
        top, left = (int(generator.integers(side - crop + 1)) for side in mask.shape)
        image, mask = image[:, top : top + crop, left : left + crop], mask[top : top + crop, left : left + crop]
    return Case(image, mask, case.sample_id, case.patient, case.spacing)


def collate(cases: Sequence[Case], step: int = 0, positions: Sequence[int] = (), repeats: int = 0) -> SegmentationBatch:
    """Stack cases to a batch; for the other arguments see `SegmentationBatch`."""
    return SegmentationBatch(
        images=torch.stack([case.image for case in cases]),
        masks=torch.stack([case.mask for case in cases]),
        sample_ids=[case.sample_id for case in cases],
        patients=[case.patient for case in cases],
        spacings=[case.spacing for case in cases],
        step=step,
        positions=list(positions),
        repeats=repeats,
    )


class CaseDataset(Dataset[Case]):
    """Some rows of a manifest as cases, unvaried; for the arguments see `read_case`.

    Args:
        pixels: the manifest's pixels.
        rows: item i is the case of row `rows[i]`.
        transform: places image and mask on one grid.
        target: reads masks; None reads none.
        kept: cases by row that need not be read again.
    """

    def __init__(
        self,
        pixels: PixelDataset,
        rows: np.ndarray,
        transform: EvaluationTransform,
        target: Target | None,
        kept: Mapping[int, Case],
    ) -> None:
        self.pixels, self.rows, self.transform = pixels, rows, transform
        self.target, self.kept = target, kept

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Case:
        """Read case `index`, unless it is kept in memory."""
        row = int(self.rows[index])
        if row in self.kept:
            return self.kept[row]
        return read_case(self.pixels, row, self.transform, self.target)


class TrainingCases(Dataset[tuple[SampleAddress, Case]]):
    """Cases by their address in the run, varied by draws of that address; for the arguments see `vary`."""

    def __init__(
        self, cases: CaseDataset, seed: int, crop: int | None, horizontal_flip: bool, vertical_flip: bool
    ) -> None:
        self.cases, self.seed = cases, seed
        self.crop, self.horizontal_flip, self.vertical_flip = crop, horizontal_flip, vertical_flip
        varied = crop is not None or horizontal_flip or vertical_flip
        self.repeats = 0 if varied else len(cases)

    def __getitem__(self, address: SampleAddress) -> tuple[SampleAddress, Case]:
        """Read the case of an address and vary it."""
        generator = numpy_generator(self.seed, "segmentation_variation", address.step, address.position)
        case = vary(self.cases[address.row], generator, self.crop, self.horizontal_flip, self.vertical_flip)
        return address, case

    def collate(self, items: Sequence[tuple[SampleAddress, Case]]) -> SegmentationBatch:
        """Stack a step's cases."""
        addresses, cases = zip(*items, strict=True)
        return collate(cases, addresses[0].step, [address.position for address in addresses], self.repeats)
