"""The trainings of `make bench-adaptation`: each is done once, measured as it goes, and kept by its settings' hash."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from medino.core import InputError, RunFolder, read_json, whole_file, write_json
from medino.data import Manifest
from medino.data.pack.packing import pack_manifest
from medino.data.pack.plan import PackPlan
from medino.data.workers import Workers
from medino.features import FeatureTable, embed, thumbnail_features
from medino.models import VisionTransformer, load_backbone, merge_lora
from medino.probes import FewShotStudy
from medino.ssl import SMALL_SCALE, DINOv2, PretrainingData, Watch
from tests.benchmarks.paired import EPISODES, Outcomes, outcomes
from tests.benchmarks.real_images import SETS, cohort, halves
from tests.benchmarks.training import train

PROBES = ("knn", "nearest_mean", "logistic")
"""The first is that of the curves."""

BATCH, SIDE, SOURCE_SIDE, WIDTH = 32, 48, 96, 128
FROM_SCRATCH: dict[str, Any] = {
    **SMALL_SCALE,
    "backbone_settings": {
        **SMALL_SCALE["backbone_settings"],
        **{"embed_dim": WIDTH, "depth": 4, "num_heads": 4, "patch_size": 12, "image_size": SIDE},
    },
}
"""Small enough for a training in a minute or two on one core: 4 x 4 patches."""


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        images: the set that is trained on.
        steps: training steps.
        seed: of everything random.
        settings: arguments of `DINOv2`.
        looks: steps after which the teacher is measured; 0: before the first. The last step always is.
        after: what it starts from; None: untrained.
        measured: sets whose other half is measured on.
    """

    images: str
    steps: int
    seed: int
    settings: dict[str, Any] = field(hash=False)
    measured: tuple[str, ...]
    looks: tuple[int, ...] = ()
    after: "Training | None" = None

    @cached_property
    def key(self) -> str:
        """The hash of all settings, those of what it starts from included."""
        written = json.dumps([asdict(self), BATCH, SIDE, SOURCE_SIDE], sort_keys=True)
        return hashlib.sha256(written.encode()).hexdigest()[:16]

    def folder(self, work: Path) -> RunFolder:
        """Where it is kept."""
        return RunFolder(work / "trainings" / self.key)

    def result(self, work: Path) -> Path:
        """The file that is there once it is done."""
        return self.folder(work).path / "facts.json"


@dataclass(frozen=True)
class Result:
    """What came of a training.

    Attributes:
        facts: seconds, parameters, the step in which the backbone was released.
        arrays: predictions, targets and patients by name.
    """

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def outcomes(self, step: int, images: str, probe: str, shots: int) -> Outcomes:
        """What a probe said after a step."""
        return Outcomes(
            predicted=self.arrays[f"{step}/{images}/{probe}/{shots}"],
            targets=self.arrays[f"{images}/targets"],
            patients=self.arrays[f"{images}/patients"],
        )

    @classmethod
    def read(cls, training: Training, work: Path) -> "Result":
        """Read what was kept of a training that is done."""
        with np.load(training.folder(work).path / "outcomes.npz") as arrays:
            return cls(read_json(training.result(work)), dict(arrays))


def prepare(data: Path, work: Path, name: str) -> None:
    """Write the two halves of a set as manifests of images packed small, unless they are there."""
    folder = work / name
    if (folder / "unseen.parquet").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    plan = PackPlan(cohort(data, SETS[name], folder), SOURCE_SIDE)
    packed = pack_manifest(plan, str(folder / "packed"), Workers(1)).manifest
    for half, path in zip(halves(packed, seed=0), ("seen.parquet", "unseen.parquet"), strict=True):
        half.write(folder / path)


def few_shot(
    step: int, name: str, manifest: Manifest, features: FeatureTable, probes: tuple[str, ...] = PROBES
) -> dict[str, np.ndarray]:
    """The arrays of a `Result` that probes of some features make."""
    shots = SETS[name].shots
    study = FewShotStudy(shots=shots, episodes=EPISODES, probes=probes, seed=0, dataset=name, replicates=10)
    evidence = study.run({"features": features}, manifest)
    arrays = {}
    for probe in probes:
        for number in shots:
            found = outcomes(evidence, "features", probe, number)
            arrays[f"{step}/{name}/{probe}/{number}"] = found.predicted.astype(np.uint8)
            arrays |= {f"{name}/targets": found.targets, f"{name}/patients": found.patients}
    return arrays


def thumbnail(name: str, work: Path) -> Result:
    """What a description without a backbone makes of a set's unseen half, or what was kept of it."""
    kept = work / name / "thumbnail.npz"
    if not kept.exists():
        unseen = Manifest.read(work / name / "unseen.parquet")
        write_arrays(kept, few_shot(0, name, unseen, thumbnail_features(unseen)))
    with np.load(kept) as arrays:
        return Result({}, dict(arrays))


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays whole or not at all."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


class Looks(pl.Callback):
    """Measures the teacher, adapters merged, after given steps."""

    def __init__(self, steps: tuple[int, ...], measured: tuple[str, ...], work: Path) -> None:
        self.steps = steps
        self.unseen = {name: Manifest.read(work / name / "unseen.parquet") for name in measured}
        self.arrays: dict[str, np.ndarray] = {}

    def measure(self, step: int, backbone: VisionTransformer, probes: tuple[str, ...] = PROBES) -> None:
        """Few-shot outcomes of a backbone on all sets."""
        for name, manifest in self.unseen.items():
            self.arrays |= few_shot(step, name, manifest, embed(backbone, manifest), probes)

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        """Measure for the curves where it is time; the last step is measured from the backbone that is kept."""
        if module.next_step in self.steps and module.next_step < trainer.max_steps:
            self.measure(module.next_step, merge_lora(module.core.teacher.backbone), PROBES[:1])


def do(training: Training, work: Path) -> Training:
    """Train and measure, unless it is done; what it starts from must be."""
    if training.result(work).exists():
        return training
    torch.set_num_threads(1)
    run = training.folder(work)
    # What a training that was stopped has left: it is a matter of minutes, and starts anew.
    shutil.rmtree(run.path, ignore_errors=True)
    start = {} if training.after is None else {"weights": str(training.after.folder(work).backbone)}
    module = DINOv2(**{**training.settings, **start}, seed=training.seed, checkpoint_every_n_steps=10**9)
    # No arm is stopped early, not even where it collapses.
    watch = Watch(rank_share=0.0, least_information=0.0, every_n_steps=training.steps)
    looks = Looks(training.looks, training.measured, work)
    if 0 in training.looks:
        looks.measure(0, module.core.teacher.backbone)
    data = PretrainingData(
        str(work / training.images / "seen.parquet"),
        batch_size=BATCH,
        views=SETS[training.images].views,
        global_size=SIDE,
        local_size=SIDE // 2,
        num_local_crops=4,
        seed=training.seed,
    )
    seconds = train(module, data, run.path, training.steps, f"{training.images}, seed {training.seed}", [looks, watch])
    if module.next_step < training.steps:
        raise InputError(f"stopped at step {module.next_step} of {training.steps}; the same command goes on")
    looks.measure(training.steps, load_backbone(run.backbone))
    write_arrays(run.path / "outcomes.npz", looks.arrays)
    facts = {
        "settings": asdict(training),
        "seconds": seconds,
        "learning_parameters": sum(p.numel() for p in module.core.student.backbone.parameters() if p.requires_grad),
        "released_at": None if module.release is None else module.release.released_at,
    }
    write_json(training.result(work), facts)
    return training
