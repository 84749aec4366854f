"""The design of a study of masks: cases, labelled patients and resamples, the same for every backbone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from medino.core import InputError, track
from medino.data import Manifest, PixelDataset
from medino.features import EvaluationTransform
from medino.probes.design import Draws, Tested
from medino.probes.episodes import draw_support
from medino.probes.units import labelled_units
from medino.segmentation.cases import Case, read_case
from medino.segmentation.targets import ClassTarget

MASK = "mask"
"""What stands as the label of a sample that has a mask."""

UNEVEN = 0.1
"""Part of their mean distance by which slices of a volume may lie off an even grid."""

UNITS = ("image", "series")
"""What a case can be: an image, or the volume that the slices of a series make."""


@dataclass(frozen=True, eq=False)
class MeasuredCase:
    """What is measured as one: an image, or a volume of slices in their order.

    Attributes:
        rows: (Z,) rows of the manifest.
        spacing: distance between slices, mm; None for an image.
    """

    rows: np.ndarray
    spacing: float | None


class MaskDesign(Tested):
    """Cases with masks as units; n labelled patients give all of theirs.

    Args:
        manifest: with masks and splits.
        unit: image or series, what a case is.
        draws: what is drawn; its shots are labelled patients.
        left_out: sample ids that can't be decoded.

    Raises:
        InputError: no sample has a mask, there are too few patients, a patient is in two splits, or the slices of
            a test series lie unevenly.
    """

    def __init__(self, manifest: Manifest, unit: str, draws: Draws, left_out: frozenset[str] = frozenset()) -> None:
        if unit not in UNITS:
            raise InputError(f"there is no unit {unit!r} of masks; choose one of {', '.join(UNITS)}")
        has_mask = [path is not None for path in manifest.column("mask_path")]
        if not any(has_mask):
            raise InputError(
                f"none of the {len(manifest)} samples of {manifest.name} has a mask; scan again with --masks"
            )
        self.manifest = manifest
        marked = manifest.with_column("label", [MASK if there else None for there in has_mask])
        super().__init__(manifest, labelled_units(marked, unit, left_out), draws)
        self.check_apart()
        patients = len(set(self.units.patients[self.train]))
        if max(draws.shots) > patients:
            raise InputError(
                f"{patients} training patients have masks, fewer than {max(draws.shots)}; ask for fewer, or label more"
            )
        self.cases = [self._case(int(which), unit) for which in self.test]

    def support(self, shots: int) -> list[np.ndarray]:
        """For each of E episodes the cases of so many patients that it learns from."""
        labels, patients = self.units.labels[self.train], self.units.patients[self.train]
        drawn = [
            draw_support(labels, patients, [MASK], shots, "patients", self.draws.seed, episode)
            for episode in range(self.draws.episodes)
        ]
        return [self.train[np.isin(patients.astype(str), patients[some].astype(str))] for some in drawn]

    def rows(self, units: np.ndarray) -> np.ndarray:
        """The manifest's rows of some cases."""
        return np.concatenate([self._rows_of_unit[int(which)] for which in units])

    def used_rows(self, support: Mapping[int, Sequence[np.ndarray]]) -> np.ndarray:
        """The manifest's rows that are tested or learned from, each once, of what `support` draws by shots."""
        drawn = [self.rows(np.concatenate(episodes)) for episodes in support.values()]
        return np.unique(np.concatenate([self.test_rows, *drawn]))

    @property
    def test_rows(self) -> np.ndarray:
        """The rows of all test cases, case after case."""
        return np.concatenate([case.rows for case in self.cases])

    @cached_property
    def _rows_of_unit(self) -> list[np.ndarray]:
        row_of = {sample_id: row for row, sample_id in enumerate(self.manifest.column("sample_id"))}
        rows = np.array([row_of[sample_id] for sample_id in self.units.sample_ids])
        return [rows[self.units.unit_of_sample == which] for which in range(len(self.units))]

    def _case(self, which: int, unit: str) -> MeasuredCase:
        """A test unit as it is measured."""
        rows = self._rows_of_unit[which]
        if unit == "image":
            return MeasuredCase(rows, None)
        found = self.manifest.column("slice_position_mm")[rows]
        position = np.array([np.nan if place is None else place for place in found], dtype=float)
        order = np.argsort(position)
        steps = np.diff(position[order])
        if len(rows) == 1:
            return MeasuredCase(rows, None)
        step = float(steps.mean())
        # NaN, where a place is not known, is not near to anything.
        if not (step > 0 and (np.abs(steps - step) <= UNEVEN * step).all()):
            raise InputError(
                f"the slices with masks of the test series {self.units.ids[which]} are not evenly placed, so that they "
                "make no volume; choose the unit image, or leave this series out"
            )
        return MeasuredCase(rows[order], step)


class MaskedImages:
    """Images and masks of a manifest on the grid of a transform, each read once.

    Args:
        manifest: with masks.
        transform: places image and mask on one grid.
        class_values: the value or values of each class in the mask files, the background first.
    """

    def __init__(
        self, manifest: Manifest, transform: EvaluationTransform, class_values: Mapping[str, int | Sequence[int]]
    ) -> None:
        self.transform, self.class_names = transform, list(class_values)
        self._pixels = PixelDataset(manifest, neighbours=transform.intensity.channels == "neighbours")
        self._target = ClassTarget(class_values)
        self._cases: dict[int, Case] = {}

    def read(self, rows: np.ndarray) -> None:
        """Read images and masks that are asked for later.

        Raises:
            InputError: a mask does not fit its image, or holds a value of no class.
            UnreadableImageError: a mask can't be decoded.
        """
        for row in track([int(row) for row in rows if int(row) not in self._cases], "reading images and masks"):
            self._cases[row] = read_case(self._pixels, row, self.transform, self._target)

    def masks(self, rows: np.ndarray) -> torch.Tensor:
        """(N, S, S) indices of classes."""
        return torch.stack([self._cases[int(row)].mask for row in rows])

    def images(self, rows: np.ndarray) -> torch.Tensor:
        """(N, 3, S, S) normalised images."""
        return torch.stack([self._cases[int(row)].image for row in rows])

    def spacing(self, row: int) -> tuple[float, float] | None:
        """Distance between rows and between columns of the grid, mm, where known."""
        return self._cases[row].spacing


def check_masks(manifest: Manifest, rows: np.ndarray, class_values: Mapping[str, int | Sequence[int]]) -> None:
    """See whether classes name all that the masks of some rows hold; no image is read.

    Raises:
        InputError: a mask is of another size than its image, or holds a value of no class.
        UnreadableImageError: a mask can't be decoded.
    """
    pixels, target = PixelDataset(manifest), ClassTarget(class_values)
    for row in track(rows.tolist(), "reading masks"):
        target.encoded(pixels.mask(row), manifest.sample(row).sample_id)
