"""The stages of `adapt`, in the direction of the data. A stage that an earlier start has finished is not done again."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import torch
from pytorch_lightning import Callback

from medino.cli.baselines import baseline_features
from medino.cli.cohort import cohort_path
from medino.cli.trainer import add_checkpoints, step_trainer, write_config
from medino.core import RunFolder, read_provenance
from medino.data import Manifest
from medino.features import EvaluationTransform, FeatureTable, embed
from medino.models import VisionTransformer, backbone_fingerprint, load_backbone, save_backbone
from medino.probes import FewShotStudy, read_evidence, write_evidence
from medino.segmentation import CaseResult, Segmentation, SegmentationData, segmentation_evidence
from medino.ssl import DINOv2, Precision, PretrainingData, Watch, latest_checkpoint
from medino.tracking import PatchMaps

START, ADAPTED = "start", "adapted"
"""What the evidence calls the backbone that was started from and the adapted one."""

EMBEDDING_BATCH = 64
"""Images embedded together: at 224 px a ViT-L then needs some 2 GB."""

HEAD: Literal["multilayer"] = "multilayer"
HEAD_LEARNING_RATE = 3e-3
"""The segmentation head of `adapt`: a linear one on patches of 8 pixels or more draws blocks, not outlines."""


@dataclass(frozen=True)
class Stages:
    """The stages of one run.

    Attributes:
        run: the run's folder.
        manifest: its images, with splits.
        transform: how images become what a frozen backbone sees.
        precision: of the pretraining and of the segmentation heads; features are computed in float32.
        online: whether W&B may talk to its server.
        num_workers: processes that read images.
        seed: of the segmentation head.
        seen_by_start: keyed hashes of the patients that the backbone to start from was pretrained on; None where
            nobody can tell.
        probe: manifest of labelled images of other patients, by which the state to go on with is chosen; None: the
            last one.
    """

    run: RunFolder
    manifest: Manifest
    transform: EvaluationTransform
    precision: Precision
    online: bool
    num_workers: int
    seed: int
    seen_by_start: list[str] | None
    probe: str | None = None

    def pretrain(
        self, start: VisionTransformer, module: dict[str, Any], data: dict[str, Any], steps: int, overlays: int
    ) -> None:
        """Train until `steps` are done, from the run's last checkpoint if there is one.

        Args:
            start: the backbone to start from; kept in the run, so that it can be compared with later.
            module: arguments of `DINOv2`.
            data: arguments of `PretrainingData`.
            steps: training steps of the whole run.
            overlays: how many training crops to draw beside their PCA maps at the end.
        """
        if not self.start_path.is_file():
            save_backbone(start, self.start_path)
        done = read_provenance(self.run) if self.run.provenance.is_file() else {}
        if done.get("steps", 0) >= steps or "stopped" in done:
            return
        more: list[Callback] = [Watch(probe=self.probe)]
        if overlays:
            more.append(PatchMaps(self.run.path, every=steps, images=overlays))
        trainer = step_trainer(self.run, steps, self.precision, self.online, "pretraining steps", more)
        trainer.fit(
            DINOv2(weights=str(self.start_path), **module),
            datamodule=PretrainingData(str(cohort_path(self.run)), **data),
            ckpt_path=latest_checkpoint(self.run),
            weights_only=True,
        )

    def few_shot(self, study: FewShotStudy, baselines: Sequence[str]) -> pa.Table:
        """Embed the labelled images by both backbones, and compare these and baselines on a handful of labels."""
        labelled = labelled_rows(self.manifest)
        features = {name: self._embedded(name, path, labelled) for name, path in self._backbones.items()}
        features |= baseline_features(
            baselines,
            labelled,
            load_backbone(self.start_path).config,
            self.transform,
            seed=self.seed,
            num_workers=self.num_workers,
            device=self._device,
        )
        return study.run(features, labelled, self._patients_seen)

    def segment(self, class_values: dict[str, int], steps: int, overlays: int) -> pa.Table:
        """Train a head on each of the two frozen backbones, and measure it on the test patients.

        Args:
            class_values: the classes and their values in the masks, the background first.
            steps: training steps of a head.
            overlays: how many test images to write as figures with the adapted backbone's masks.
        """
        tables = []
        for name, weights in self._backbones.items():
            folder = RunFolder(self.run.path / "segmentation" / name)
            if not folder.evidence.is_file():
                settings: dict[str, Any] = {
                    "class_names": list(class_values),
                    "weights": str(weights),
                    "head": HEAD,
                    "learning_rate": HEAD_LEARNING_RATE,
                    "save_overlays": overlays if name == ADAPTED else 0,
                    "seed": self.seed,
                }
                results = self._train_and_test(folder, Segmentation(**settings), class_values, steps, name)
                shown = {"class_values": class_values, "transform": asdict(self.transform)}
                # As `fit` keeps them, for `medino segment --run`.
                write_config(
                    folder,
                    {
                        "model": {"class_path": "medino.segmentation.Segmentation", "init_args": settings},
                        "data": {"class_path": "medino.segmentation.SegmentationData", "init_args": shown},
                    },
                )
                write_evidence(
                    folder.evidence,
                    segmentation_evidence(
                        results,
                        dataset=self.manifest.name,
                        backbone=name,
                        features="last_four",
                        head=HEAD,
                        patient_unit=self.manifest.patient_unit,
                        pretraining_patients=self._patients_seen[name],
                        seed=self.seed,
                    ),
                )
            tables.append(read_evidence(folder.evidence))
        return pa.concat_tables(tables)

    @property
    def start_path(self) -> Path:
        """The backbone that the run started from."""
        return self.run.path / "start" / "backbone.safetensors"

    @property
    def _backbones(self) -> dict[str, Path]:
        # A collapsed run's last state is of no use to anybody.
        takes_best = self.probe is not None or "stopped" in read_provenance(self.run)
        return {START: self.start_path, ADAPTED: self.run.best_backbone if takes_best else self.run.backbone}

    @property
    def _device(self) -> str:
        """Where images are embedded."""
        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def _patients_seen(self) -> dict[str, list[str] | None]:
        """Keyed hashes of the patients that each backbone was trained on, the adapted one on those of its start too."""
        here = list(read_provenance(self.run)["pretraining_patients"])
        before = self.seen_by_start
        return {START: before, ADAPTED: None if before is None else sorted({*before, *here})}

    def _embedded(self, name: str, weights: Path, images: Manifest) -> FeatureTable:
        """The features of some images, from the run's folder if they are there already."""
        path = self.run.path / "features" / f"{name}.parquet"
        backbone = load_backbone(weights)
        if path.is_file():
            kept = FeatureTable.read(path)
            made_of = (backbone_fingerprint(backbone), images.fingerprint, self.transform.fingerprint)
            if (kept.backbone, kept.manifest, kept.transform) == made_of:
                return kept
        table = embed(
            backbone,
            images,
            self.transform,
            batch_size=EMBEDDING_BATCH,
            device=self._device,
            num_workers=self.num_workers,
        )
        table.write(path)
        return table

    def _train_and_test(
        self, folder: RunFolder, module: Segmentation, class_values: dict[str, int], steps: int, name: str
    ) -> list[CaseResult]:
        """Train a head and return what it reaches on each test image."""
        data = SegmentationData(
            str(cohort_path(self.run)), class_values, self.transform, num_workers=self.num_workers, seed=self.seed
        )
        described = f"segmentation head on {name}, steps"
        trainer = step_trainer(folder, steps, self.precision, self.online, described)
        add_checkpoints(trainer)
        trainer.fit(module, datamodule=data, ckpt_path=latest_checkpoint(folder), weights_only=True)
        trainer.test(module, datamodule=data, verbose=False)
        return module.test_results


def labelled_rows(manifest: Manifest) -> Manifest:
    """The rows that have a label."""
    return manifest.select([label is not None for label in manifest.column("label")])
