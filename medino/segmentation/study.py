"""The few-shot study of masks: labelled patients x episodes x backbones on fixed test patients, as evidence.

The engine is that of the few-shot study (`medino.probes`): support sets are drawn by patient from the split "train",
the same for all that is compared; every interval comes from the same resamples of the test patients; differences are
paired. A labelled patient gives all of their images, or slices.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pyarrow as pa
import torch

from medino.core import InputError, derive_seed, track
from medino.data import Intensity, Manifest
from medino.features import EvaluationTransform, MapStore
from medino.probes import evidence_block, merge_evidence
from medino.probes.design import Draws
from medino.probes.paired import Cell, compared, seen_by_either
from medino.probes.results import INTERVALS, MetricResult, episode_rows, summary_row, support_rows
from medino.segmentation.case_overlays import CaseOverlays
from medino.segmentation.case_values import Key, Values, case_rows, case_values, mask_results
from medino.segmentation.fitting import Training
from medino.segmentation.kept import HeadTraining
from medino.segmentation.learners import UNET, HeadOnMaps, MaskLearner, UNetFromScratch
from medino.segmentation.mask_design import MaskDesign, MaskedImages, check_masks
from medino.segmentation.metrics import TOLERANCE, UNDEFINED, CaseResult, can_be_undefined, case_results
from medino.segmentation.scratch import DIVISOR, UNET_TRAINING

USUAL = HeadTraining()


@dataclass(frozen=True)
class MaskStudy:
    """Compare backbones by heads that learn from the masks of a few patients.

    Args:
        class_values: the value or values of each class in the mask files, the background first.
        shots: labelled patients; one study for each number.
        episodes: support sets drawn for each number.
        unit: what a case is: image, or series (the slices of a volume together).
        training: how heads are trained on the kept maps.
        unet: how the U-Net is trained on the same masks; None leaves it out.
        tolerance: of the normalised surface distance, mm, or pixels of the grid where no spacing is known.
        seed: of support sets, trainings and resamples.
        replicates: resamples of the test patients for the 95 % intervals; p-values take more where many are compared.
        interval: percentile or bca, the interval that tables and figures show; the evidence holds both.
        dataset: name of the labelled set in the evidence; the manifest's name if None.
        references: backbones that all others are compared with, beside the U-Net; the first one if None.

    Raises:
        InputError: a setting is unknown or not positive.
    """

    class_values: Mapping[str, int | Sequence[int]]
    shots: Sequence[int] = (1, 5, 20)
    episodes: int = 10
    unit: str = "image"
    training: HeadTraining = USUAL
    unet: Training | None = UNET_TRAINING
    tolerance: float = TOLERANCE
    seed: int = 0
    replicates: int = 1000
    interval: str = "percentile"
    dataset: str | None = None
    references: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.interval not in INTERVALS:
            raise InputError(f"there is no interval {self.interval!r}; choose one of {', '.join(INTERVALS)}")
        if not self.shots:
            raise InputError("a study needs at least one number of labelled patients")
        for name, number in (("shots", min(self.shots)), ("episodes", self.episodes), ("replicates", self.replicates)):
            if number < 1:
                raise InputError(f"{name} is {number}; give a number of at least 1")
        if not self.tolerance > 0:
            raise InputError(f"the tolerance is {self.tolerance}; give a distance above 0")

    def check(self, manifest: Manifest) -> None:
        """See whether a manifest's masks and splits can carry the study, before any map is computed.

        Raises:
            InputError: they can't; the message says which and why.
            UnreadableImageError: a mask can't be decoded.
        """
        design = self._design(manifest)
        check_masks(manifest, design.used_rows(self._support(design)), self.class_values)

    def run(
        self,
        stores: Mapping[str, MapStore],
        manifest: Manifest,
        pretraining_patients: Mapping[str, Collection[str] | None] | None = None,
        overlays: CaseOverlays | None = None,
    ) -> pa.Table:
        """Run the study.

        Args:
            stores: the kept maps of each backbone or floor by name, all of this manifest and on one grid of pixels.
            manifest: with masks and splits.
            pretraining_patients: keyed hashes of patients that a backbone saw unlabelled in pretraining, by name; None
                for one says that nobody can tell.
            overlays: writes pictures of test cases: images of patients; None writes none.

        Returns:
            Evidence: `support`, `outcome`, `episode` and `summary` rows of the task segmentation.

        Raises:
            InputError: the masks, splits or maps can't carry the study; the message says which and why.
        """
        transform = self._transform(stores, manifest)
        left_out = frozenset(sample for store in stores.values() for sample in store.rejects)
        design = self._design(manifest, left_out, len(stores) + (self.unet is not None))
        learners: dict[str, MaskLearner] = {name: HeadOnMaps(store, self.training) for name, store in stores.items()}
        if self.unet is not None:
            if transform.size % DIVISOR:
                raise InputError(f"the U-Net needs images of a multiple of {DIVISOR} pixels, not {transform.size}")
            learners[UNET] = UNetFromScratch(self.unet, next(iter(stores.values())).variants)
        if overlays is not None and overlays.backbone not in learners:
            raise InputError(f"{overlays.backbone!r}, whose masks are to be drawn, is not among {', '.join(learners)}")
        given = pretraining_patients or {}
        seen = {name: None if (of := given.get(name, ())) is None else frozenset(of) for name in learners}
        images = MaskedImages(manifest, transform, self.class_values)
        return merge_evidence(list(self._evidence(design, learners, images, seen, overlays)))

    def _support(self, design: MaskDesign) -> dict[int, list[np.ndarray]]:
        """The cases that each episode learns from, by the number of labelled patients."""
        return {shots: design.support(shots) for shots in dict.fromkeys(self.shots)}

    def _design(self, manifest: Manifest, left_out: frozenset[str] = frozenset(), learners: int = 1) -> MaskDesign:
        """What is the same for every backbone."""
        comparisons = len(set(self.shots)) * (learners - 1)
        draws = Draws(self.shots, "patients", False, self.episodes, self.replicates, self.seed, comparisons)
        return MaskDesign(manifest, self.unit, draws, left_out)

    def _transform(self, stores: Mapping[str, MapStore], manifest: Manifest) -> EvaluationTransform:
        """The one transform of all stores; refuses those that don't go together."""
        if not stores:
            raise InputError("a study needs the kept maps of at least one backbone")
        for reference in self.references or ():
            if reference not in stores:
                raise InputError(f"the reference {reference!r} is not among the maps ({', '.join(stores)})")
        if UNET in stores:
            raise InputError(f"{UNET!r} is the name of the U-Net; give these maps another one")
        for name, store in stores.items():
            store.check_made_from(manifest, name)
        (first, one), *others = stores.items()
        for name, store in others:
            if any(store.transform[key] != one.transform[key] for key in ("size", "fit")):
                raise InputError(
                    f"the maps {name!r} are of another size or fit than {first!r}; keep them alike, since a study "
                    "measures all masks on one grid"
                )
        settings = dict(one.transform)
        return EvaluationTransform(**{**settings, "intensity": Intensity(**settings["intensity"])})

    def _evidence(
        self,
        design: MaskDesign,
        learners: Mapping[str, MaskLearner],
        images: MaskedImages,
        seen: Mapping[str, frozenset[str] | None],
        overlays: CaseOverlays | None,
    ) -> Iterator[pa.Table]:
        """All rows, in blocks."""
        shared = {
            "task": "segmentation",
            "dataset": self.dataset or design.manifest.name,
            "unit": self.unit,
            "patient_unit": design.manifest.patient_unit,
            "draw": "patients",
        }
        support = self._support(design)
        images.read(design.used_rows(support))
        found: dict[Cell, dict[Key, MetricResult]] = {}
        wheres: dict[Cell, dict[str, object]] = {}
        for shots, (name, learner) in track(list(product(support, learners.items())), "few-shot study of masks"):
            cell = (shots, learner.probe, name)
            wheres[cell] = {
                **shared,
                "backbone": name,
                "features": learner.features,
                "probe": learner.probe,
                "shots": shots,
            }
            drawn = overlays if overlays and (overlays.backbone, max(self.shots)) == (name, shots) else None
            values = self._values(design, learner, images, shots, support[shots], drawn)
            found[cell] = mask_results(design, values)
            yield support_rows(design, support[shots], wheres[cell])
            yield from case_rows(design, values, wheres[cell])
            yield from undefined_rows(design, values, seen[name], wheres[cell])
        for cell, results in found.items():
            for (class_name, metric), result in results.items():
                where = {**wheres[cell], "target": class_name}
                yield episode_rows(metric, result, where)
                yield summary_row(design, metric, result, seen[cell[2]], self.interval, where)
        references = list(dict.fromkeys(self.references or list(learners)[:1]))
        # Of two references the first is what the second is compared with, and not the other way round as well.
        others = {name: set(learners).difference(references[:place]) for place, name in enumerate(references)}
        if self.unet is not None:
            others[UNET] = set(learners)
        for reference, names in others.items():
            among = {cell: results for cell, results in found.items() if cell[2] in names}
            for cell, (class_name, metric), difference, told in compared(among, reference):
                where = {**wheres[cell], "target": class_name, "compared_with": reference, **told}
                either = seen_by_either(seen[cell[2]], seen[reference])
                yield summary_row(design, metric, difference, either, self.interval, where)

    def _values(
        self,
        design: MaskDesign,
        learner: MaskLearner,
        images: MaskedImages,
        shots: int,
        support: Sequence[np.ndarray],
        overlays: CaseOverlays | None,
    ) -> Values:
        """What each test case measures in each episode."""
        episodes = []
        for episode, units in enumerate(support):
            seed = derive_seed(self.seed, "mask_study", shots, episode)
            predicted = learner.predict(images, design.rows(units), design.test_rows, seed)
            episodes.append(list(self._measured(design, images, predicted)))
            if overlays is not None and episode == 0:
                learned_from = f"{self.dataset or design.manifest.name}, labelled patients: {shots}"
                overlays.write(design, images, predicted, episodes[0], learned_from)
        return case_values(episodes)

    def _measured(self, design: MaskDesign, images: MaskedImages, predicted: torch.Tensor) -> Iterator[CaseResult]:
        """The results of all test cases, of the masks of all test rows."""
        # Where one case has no spacing all are measured in pixels: a mean of both units would be neither.
        in_mm = all(images.spacing(int(case.rows[0])) is not None for case in design.cases)
        at = 0
        for which, case in zip(design.test, design.cases, strict=True):
            masks = predicted[at : at + len(case.rows)]
            at += len(case.rows)
            plane = images.spacing(int(case.rows[0])) if in_mm else None
            truth = images.masks(case.rows)
            spacing: Sequence[float] | None = plane
            if case.spacing is None:
                masks, truth = masks[0], truth[0]
            elif plane is not None:
                spacing = (case.spacing, *plane)
            unit, patient = design.units.ids[which], design.units.patients[which]
            yield from case_results(masks, truth, images.class_names, unit, patient, spacing, self.tolerance)


def undefined_rows(
    design: MaskDesign, values: Values, seen: frozenset[str] | None, where: Mapping[str, object]
) -> Iterator[pa.Table]:
    """Evidence: in how many cases, averaged over episodes, a distance is not defined; `seen` as in `summary_row`."""
    patients = {
        "patients": len(design.test_patients),
        "patients_seen": None if seen is None else len(seen & set(design.test_patients)),
    }
    for (class_name, metric), some in values.items():
        if can_be_undefined(metric):
            count = float(np.isnan(some).sum(axis=1).mean())
            told = {"metric": f"{metric}{UNDEFINED}", "value": count, "target": class_name}
            yield evidence_block(1, kind="summary", **patients, **told, **where)
