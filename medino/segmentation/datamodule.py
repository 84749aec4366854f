"""Images and masks for training and testing a segmentation head, on the grid of the evaluation transform."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from medino.core import InputError, UnreadableImageError, numpy_generator, track
from medino.data import Manifest, PixelDataset, StepBatchSampler, check_splits
from medino.features import EvaluationTransform
from medino.segmentation.cases import Case, CaseDataset, TrainingCases, collate
from medino.segmentation.targets import ClassTarget, Target

DEFAULT_TRANSFORM = EvaluationTransform()

SPLITS_OF_STAGE = {"fit": ("train", "validation"), "validate": ("validation",), "test": ("test",)}


class MaskedImages(pl.LightningDataModule):
    """Rows of a manifest with what `target` reads out of their masks; for the other arguments see `SegmentationData`.

    Args:
        target: what is learned from a mask.
    """

    def __init__(
        self,
        manifest: str,
        target: Target,
        transform: EvaluationTransform,
        *,
        batch_size: int,
        crop: int | None,
        horizontal_flip: bool,
        vertical_flip: bool,
        train_patients: int | None,
        keep_mb: int,
        num_workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        if crop is not None and crop > transform.size:
            raise InputError(f"crop is {crop} pixels, the images are {transform.size}; choose at most that")
        self.target, self.transform = target, transform
        self.batch_size = batch_size
        self.crop, self.horizontal_flip, self.vertical_flip = crop, horizontal_flip, vertical_flip
        self.train_patients = train_patients
        self.keep_mb, self.num_workers = keep_mb, num_workers
        self.seed = seed
        self.rejects: list[tuple[str, str]] = []
        self._path = manifest
        self._rows: dict[str, np.ndarray] = {}
        self._kept: dict[bool, dict[int, Case]] = {True: {}, False: {}}
        self._kept_bytes = 0

    def setup(self, stage: str) -> None:
        """Choose the rows of a stage and read each once.

        Raises:
            InputError: the manifest can't be read, a split has no masks, a patient is on two sides, there are too few
                patients, or a mask does not fit.
        """
        self.manifest = Manifest.read(self._path)
        self._pixels = PixelDataset(self.manifest, neighbours=self.transform.intensity.channels == "neighbours")
        check_splits(self.manifest)
        if stage == "predict":
            self._rows["predict"] = self._readable(np.arange(len(self.manifest)), with_mask=False)
            return
        split, mask_path = self.manifest.column("split"), self.manifest.column("mask_path")
        has_mask = np.array([path is not None for path in mask_path], dtype=bool)
        for name in SPLITS_OF_STAGE[stage]:
            rows = np.flatnonzero((split == name) & has_mask)
            if not len(rows) and not (stage == "fit" and name == "validation"):
                raise InputError(
                    f"the manifest {self._path} has no rows with a mask in the split {name!r}; "
                    "scan with --masks and assign splits"
                )
            if name == "train" and self.train_patients is not None:
                rows = self._of_few_patients(rows, self.train_patients)
            self._rows[name] = self._readable(rows, with_mask=True)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches by step, the same for any number of processes and workers.

        Raises:
            InputError: the trainer has no `max_steps`.
        """
        trainer = self.trainer
        assert trainer is not None
        if trainer.max_steps < 1:
            raise InputError("the trainer has no max_steps; set trainer.max_steps to the number of training steps")
        cases = self.training_cases()
        sampler = StepBatchSampler(
            patients=self.manifest.column("patient")[cases.rows],
            batch_size=self.batch_size,
            total_steps=trainer.max_steps,
            seed=self.seed,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            start_step=trainer.global_step,
        )
        dataset = TrainingCases(cases, self.seed, self.crop, self.horizontal_flip, self.vertical_flip)
        return DataLoader(dataset, batch_sampler=sampler, num_workers=self.num_workers, collate_fn=dataset.collate)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """The validation cases in order; none where the manifest has none."""
        return self._in_order("validation", with_mask=True) if len(self._rows["validation"]) else []

    def test_dataloader(self) -> DataLoader[Any]:
        """The test cases in order."""
        return self._in_order("test", with_mask=True)

    def predict_dataloader(self) -> DataLoader[Any]:
        """All images in order, without masks."""
        return self._in_order("predict", with_mask=False)

    def training_cases(self) -> CaseDataset:
        """The training cases, whole and unvaried; after `setup("fit")`."""
        return self._cases(self._rows["train"], with_mask=True)

    def _in_order(self, name: str, with_mask: bool) -> DataLoader[Any]:
        """This process's share of a stage's rows."""
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        return DataLoader(
            self._cases(self._rows[name][rank::world_size], with_mask),
            batch_size=max(self.batch_size // world_size, 1),
            num_workers=self.num_workers,
            collate_fn=collate,
        )

    def _cases(self, rows: np.ndarray, with_mask: bool) -> CaseDataset:
        target = self.target if with_mask else None
        return CaseDataset(self._pixels, rows, self.transform, target, self._kept[with_mask])

    def _readable(self, rows: np.ndarray, with_mask: bool) -> np.ndarray:
        """The rows that can be decoded; the others are noted in `rejects`, with a warning."""
        cases, readable, failed = self._cases(rows, with_mask), [], []
        for place, row in enumerate(track(rows, "reading images and masks")):
            try:
                self._keep(int(row), cases[place], with_mask)
                readable.append(row)
            except UnreadableImageError as error:
                failed.append((self.manifest.sample(int(row)).sample_id, str(error)))
        if failed:
            sample_id, reason = failed[0]
            rank_zero_warn(f"{len(failed)} of {len(rows)} images are left out; the first is {sample_id}: {reason}")
            self.rejects += [reject for reject in failed if reject not in self.rejects]
        if failed and not readable:
            raise InputError(f"none of {len(failed)} images can be decoded; the first is {sample_id}: {reason}")
        return np.asarray(readable, dtype=np.int64)

    def _keep(self, row: int, case: Case, with_mask: bool) -> None:
        """Keep a case in memory while there is room."""
        if row not in self._kept[with_mask] and self._kept_bytes + case.nbytes <= self.keep_mb << 20:
            self._kept[with_mask][row] = case
            self._kept_bytes += case.nbytes

    def _of_few_patients(self, rows: np.ndarray, count: int) -> np.ndarray:
        """The rows of `count` patients drawn by the seed."""
        of_row = self.manifest.column("patient")[rows]
        # By first appearance: the order of keyed hashes changes with the key.
        patients = list(dict.fromkeys(of_row))
        if not 1 <= count <= len(patients):
            raise InputError(
                f"train_patients is {count}, but {len(patients)} patients of the training split have masks; "
                f"choose 1 to {len(patients)}"
            )
        order = numpy_generator(self.seed, "segmentation_patients").permutation(len(patients))
        drawn = {patients[place] for place in order[:count]}
        return rows[[patient in drawn for patient in of_row]]


class SegmentationData(MaskedImages):
    """The rows of a manifest that have a mask, by the manifest's splits; for prediction every row.

    Before a stage begins, each of its images and masks is read once: what can't be decoded is left out with a warning
    (`rejects`), a mask that does not fit stops the run.

    Give the trainer `max_steps` and, with several processes, `use_distributed_sampler=False`: batches are already
    divided.

    Args:
        manifest: path of the manifest; its column `split` says train, validation or test.
        class_values: the value, or the values, of each class in the mask files, the background first.
        transform: window, resizing and size of the images.
        batch_size: images of one step, over all processes.
        crop: side of random squares to train on, pixels; a multiple of the patch size. None trains on whole images.
        horizontal_flip: exchange left and right at random; off, since in radiology the side matters.
        vertical_flip: exchange top and bottom at random.
        train_patients: train on this many patients only, drawn by `seed`; None takes all.
        keep_mb: memory for images and masks that are then not read from disk in every pass.
        num_workers: processes that read images.
        seed: of the order of images, the patients drawn and the variation of images.
        overlapping: whether a pixel may be of several classes, which then share values (see `ClassTarget`).

    Raises:
        InputError: fewer than two classes, or values shared by classes that may not.
    """

    def __init__(
        self,
        manifest: str,
        class_values: Mapping[str, int | list[int]],
        transform: EvaluationTransform = DEFAULT_TRANSFORM,
        batch_size: int = 16,
        crop: int | None = None,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        train_patients: int | None = None,
        keep_mb: int = 512,
        num_workers: int = 0,
        seed: int = 0,
        overlapping: bool = False,
    ) -> None:
        super().__init__(
            manifest,
            ClassTarget(class_values, overlapping),
            transform,
            batch_size=batch_size,
            crop=crop,
            horizontal_flip=horizontal_flip,
            vertical_flip=vertical_flip,
            train_patients=train_patients,
            keep_mb=keep_mb,
            num_workers=num_workers,
            seed=seed,
        )
        self.class_values, self.overlapping = dict(class_values), overlapping

    @property
    def class_names(self) -> list[str]:
        """The classes by index, the background first."""
        return list(self.class_values)
