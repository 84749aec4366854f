"""A head trained on real volumes: hippocampus in MR, two classes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytorch_lightning as pl

from medino.data import Manifest, assign_splits, scan
from medino.features import EvaluationTransform
from medino.segmentation import Segmentation, SegmentationData, segmentation_evidence

VALUES = {"background": 0, "anterior": 1, "posterior": 2}


def few_volumes(shared_data: Path, count: int) -> Manifest:
    """Some middle slices of the first volumes."""
    files = sorted((shared_data / "hippocampus" / "images").glob("*.nii.gz"))[:count]
    manifest = scan(files, masks=shared_data / "hippocampus" / "labels", plane="sagittal")
    frames = manifest.column("frame")
    last = {path: max(frames[manifest.column("path") == path]) for path in set(manifest.column("path"))}
    middle = [abs(frame / last[path] - 0.5) < 0.1 for frame, path in zip(frames, manifest.column("path"), strict=True)]
    return assign_splits(manifest.select(np.array(middle)), {"train": 0.7, "test": 0.3}, seed=0)


def test_hippocampus_is_found_above_chance_and_measured_in_mm(
    shared_data: Path, trainer: Callable[..., pl.Trainer], tmp_path: Path
) -> None:
    few_volumes(shared_data, 8).write(tmp_path / "cohort.parquet")
    data = SegmentationData(
        str(tmp_path / "cohort.parquet"), VALUES, EvaluationTransform(size=64, fit="pad"), batch_size=8
    )
    model, runner = Segmentation(list(VALUES), head="multilayer", learning_rate=3e-3), trainer(40)
    runner.fit(model, data)
    (metrics,) = runner.test(model, datamodule=data, verbose=False)
    assert metrics["test/dice"] > 0.3
    assert {result.unit for result in model.test_results} == {"mm"}
    rows = segmentation_evidence(
        model.test_results,
        dataset="hippocampus",
        backbone="mini",
        features="last_4",
        head="multilayer",
        patient_unit=data.manifest.patient_unit,
    )
    assert {row.patients for row in rows if row.kind == "summary" and row.metric == "dice"} == {2}
