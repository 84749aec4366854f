"""The callback that watches: what it measures, keeps, stops and refuses; and that the training does not feel it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from medino.core import InputError, RunFolder, patients_seen_by, read_provenance
from medino.data import Manifest, scan
from medino.features import EvaluationTransform, embed
from medino.models import PRESETS, backbone_fingerprint, build_backbone, load_backbone, save_backbone
from medino.ssl import DINOv2, Probe, Watch, latest_checkpoint, rankme
from medino.ssl.monitors.watch import default_interval
from medino.tracking import ContinueMetrics, RunMetricsLogger, read_metrics
from tests.ssl.conftest import TINY_BACKBONE, tiny_data, tiny_module, tiny_trainer, write_images

OPEN = {**TINY_BACKBONE, "layerscale_init": 1.0}
"""So that the blocks of the small network do something from the first step on."""

LEARNING: dict[str, Any] = {
    "centering": "sinkhorn_knopp",
    "momentum": 0.9,
    "base_lr": 0.1,
    "teacher_temperature": 0.02,
    "final_teacher_temperature": 0.02,
    "layer_decay": 1.0,
    "patch_embed_multiplier": 1.0,
    "drop_path_rate": 0.0,
}

COLLAPSING: dict[str, Any] = {"base_lr": 0.3, "lr_scaling": "none", "momentum": 0.5, "center_momentum": 1.0}
"""A rate that is absurd, and an EMA centre that never moves: nothing keeps the teacher from saying one thing only."""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A backbone that tells the small images apart; an untrained one shows all of them as nearly one."""
    backbone = build_backbone(PRESETS["mini"].replace(**OPEN), seed=0)
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if name.endswith("weight") and "norm" not in name:
                parameter.mul_(300 if "patch_embed" in name else 20)
    save_backbone(backbone, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """The small archive, and beside it a labelled one of other patients with the same key: 12 images, two classes."""
    write_images(tmp_path / "images")
    scan([tmp_path / "images"], patient_pattern="([a-f])_", key=tmp_path / "key").write(tmp_path / "cohort.parquet")
    write_images(tmp_path / "probe", seed=1)
    for path in sorted((tmp_path / "probe").glob("*.png")):
        path.rename(path.with_name(f"probe{path.name}"))
    rows = [
        f"{path.name},{'small' if place % 2 else 'large'}"
        for place, path in enumerate(sorted((tmp_path / "probe").iterdir()))
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    pattern = "(probe[a-f]_[0-9]+)"
    scan([tmp_path / "probe"], labels=tmp_path / "labels.csv", patient_pattern=pattern, key=tmp_path / "key").write(
        tmp_path / "probe.parquet"
    )
    return tmp_path / "cohort.parquet"


def fit(
    cohort: Path, run: Path, steps: int, watch: Watch, *callbacks: pl.Callback, resume: bool = False, **module: Any
) -> DINOv2:
    """Train the small network with a watch."""
    network = tiny_module(**{"backbone_settings": None if "weights" in module else OPEN, **module})
    folder = RunFolder(run)
    trainer = tiny_trainer(run, steps, watch, *callbacks, logger=[RunMetricsLogger(run)])
    checkpoint = latest_checkpoint(folder) if resume else None
    trainer.fit(network, datamodule=tiny_data(cohort), ckpt_path=checkpoint, weights_only=True)
    return network


def watched(run: Path) -> dict[int, dict[str, float]]:
    """What was logged under watch/, by step."""
    metrics = read_metrics(RunFolder(run).metrics)
    names = [name for name in metrics if name.startswith("watch/")]
    return {
        int(step): {name.removeprefix("watch/"): float(metrics[name][place]) for name in names}
        for place, step in enumerate(metrics["step"])
        if np.isfinite(metrics["watch/rankme"][place])
    }


def test_the_fixed_sample_is_what_embed_makes_of_the_training_images(cohort: Path, tmp_path: Path) -> None:
    module = fit(cohort, tmp_path / "run", 4, Watch(every_n_steps=2))
    logged = watched(tmp_path / "run")
    assert sorted(logged) == [0, 1, 3]
    manifest = Manifest.read(cohort)
    start, last = tiny_module(backbone_settings=OPEN), module.core.teacher.backbone
    features = [embed(net, manifest).blocks[1, "class"] for net in (start.core.teacher.backbone, last)]
    assert logged[0]["rankme"] == pytest.approx(float(rankme(torch.from_numpy(features[0]))), rel=1e-4)
    assert logged[3]["rankme"] == pytest.approx(float(rankme(torch.from_numpy(features[1]))), rel=1e-4)
    assert logged[0]["cka_to_start"] == pytest.approx(1, abs=1e-6)
    assert logged[3]["cka_to_start"] < 1 - 1e-6
    assert {"mean_cosine", "prototypes_used", "prototype_entropy", "target_entropy", "agreement"} <= set(logged[3])


def test_the_training_is_the_same_with_and_without_it(cohort: Path, tmp_path: Path) -> None:
    watch = Watch(every_n_steps=1, probe=str(tmp_path / "probe.parquet"), least_information=0)
    often = fit(cohort, tmp_path / "often", 4, watch)
    seldom = fit(cohort, tmp_path / "seldom", 4, Watch(every_n_steps=100))
    mine, theirs = often.state_dict(), seldom.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_best_state_is_chosen_by_the_probe_and_kept_with_its_value(cohort: Path, tmp_path: Path) -> None:
    watch = Watch(probe=str(tmp_path / "probe.parquet"), every_n_steps=1, least_information=0)
    fit(cohort, tmp_path / "run", 5, watch)
    run, logged = RunFolder(tmp_path / "run"), watched(tmp_path / "run")
    scores = {step + 1: values["probe_balanced_accuracy"] for step, values in logged.items()}
    best = max(scores, key=lambda step: (scores[step], -step))
    facts = json.loads(run.best_backbone.with_suffix(".json").read_text())["facts"]
    assert (facts["step"], facts["criterion"]) == (best, "probe_balanced_accuracy")
    assert facts["value"] == pytest.approx(scores[best])
    # The file is the teacher of that step: the probe on its features gives the same value.
    probe = Probe.of(Manifest.read(tmp_path / "probe.parquet"), {})
    kept = load_backbone(run.best_backbone)
    features = embed(kept, probe.manifest, EvaluationTransform.for_backbone(kept.config)).blocks[1, "class"]
    assert probe.score(features) == pytest.approx(scores[best])
    provenance = read_provenance(run)
    assert provenance["best_backbone"]["step"] == best
    assert provenance["probe_patients"] == probe.patients
    # A study with it knows whom it was trained on, as with the last one.
    assert patients_seen_by(run.best_backbone, None) == patients_seen_by(run.backbone, None) != []


def test_without_labels_it_is_chosen_by_rankme(cohort: Path, tmp_path: Path) -> None:
    fit(cohort, tmp_path / "run", 5, Watch(every_n_steps=1, least_information=0))
    logged = {step + 1: values["rankme"] for step, values in watched(tmp_path / "run").items()}
    facts = json.loads(RunFolder(tmp_path / "run").best_backbone.with_suffix(".json").read_text())["facts"]
    assert facts["criterion"] == "rankme"
    assert facts["step"] == max(logged, key=lambda step: logged[step])


def test_a_run_that_collapses_stops_in_words_and_keeps_its_best(cohort: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match=r"stopped at step \d+: .* in 3 checks in a row; the best backbone is that of step \d+"
    ):
        module = fit(cohort, tmp_path / "run", 40, Watch(every_n_steps=1), weights=str(weights), **COLLAPSING)
    run = RunFolder(tmp_path / "run")
    provenance, logged = read_provenance(run), watched(tmp_path / "run")
    assert module.next_step < 40
    assert provenance["steps"] == module.next_step
    assert provenance["stopped"].startswith(f"stopped at step {module.next_step}: ")
    assert provenance["best_backbone"]["step"] < module.next_step
    assert logged[0]["prototype_information"] > 0.1
    assert logged[module.next_step - 1]["prototype_information"] < 0.01
    # As a finished run's: the last backbone, the best one, and a checkpoint of the end.
    assert run.backbone.is_file()
    assert rankme(features_of(run.best_backbone, cohort)) > rankme(features_of(run.backbone, cohort))
    checkpoint = latest_checkpoint(run)
    assert checkpoint is not None
    assert checkpoint.name == f"step-{module.next_step:08d}.ckpt"


class BreakTeacher(pl.Callback):
    """Leaves no number of the teacher finite after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch.step == self.step:
            with torch.no_grad():
                pl_module.core.teacher.backbone.norm.weight.fill_(torch.nan)


@pytest.mark.parametrize("probe", [None, "probe.parquet"])
def test_a_teacher_that_is_not_finite_is_not_kept_as_best_and_stops_the_run_in_words(
    probe: str | None, cohort: Path, tmp_path: Path
) -> None:
    watch = Watch(probe and str(tmp_path / probe), every_n_steps=1, least_information=0, least_use=0)
    with pytest.warns(UserWarning, match=r"stopped at step 6: RankMe is nan, .* in 3 checks in a row"):
        fit(cohort, tmp_path / "run", 9, watch, BreakTeacher(2))
    run = RunFolder(tmp_path / "run")
    assert read_provenance(run)["best_backbone"]["step"] <= 3
    assert bool(features_of(run.best_backbone, cohort).isfinite().all())


def features_of(weights: Path, cohort: Path) -> torch.Tensor:
    return torch.from_numpy(embed(load_backbone(weights), Manifest.read(cohort)).blocks[1, "class"])


def test_a_healthy_run_is_not_stopped(cohort: Path, weights: Path, tmp_path: Path) -> None:
    module = fit(cohort, tmp_path / "run", 24, Watch(every_n_steps=1), weights=str(weights), **LEARNING)
    assert module.next_step == 24
    assert "stopped" not in read_provenance(RunFolder(tmp_path / "run"))


class Killed(pl.Callback):
    """Raises after a step, as a kill would end the run."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch.step == self.step:
            raise RuntimeError("killed")


@pytest.mark.parametrize("killed_at", [3, 6])
def test_a_resumed_run_has_watched_as_the_run_uninterrupted(killed_at: int, cohort: Path, tmp_path: Path) -> None:
    def watch() -> Watch:
        return Watch(probe=str(tmp_path / "probe.parquet"), every_n_steps=2, least_information=0)

    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    first, second, every = watch(), watch(), {"checkpoint_every_n_steps": 3}
    fit(cohort, whole.path, 8, first, **every)
    with pytest.raises(RuntimeError, match="killed"):
        fit(cohort, parts.path, 8, watch(), Killed(killed_at), **every)
    fit(cohort, parts.path, 8, second, ContinueMetrics(), resume=True, **every)
    assert watched(parts.path) == watched(whole.path)
    states = first.state_dict(), second.state_dict()
    assert torch.equal(*(state.pop("start_features") for state in states))
    assert states[0] == states[1]
    kept = [backbone_fingerprint(load_backbone(run.best_backbone)) for run in (whole, parts)]
    assert kept[0] == kept[1]


def test_a_probe_of_the_trained_patients_is_refused_before_the_first_step(cohort: Path, tmp_path: Path) -> None:
    labels = tmp_path / "own.csv"
    labels.write_text(
        "\n".join(["path,label", *(f"{p.name},{p.name[0] < 'd'}" for p in (tmp_path / "images").iterdir())])
    )
    scan([tmp_path / "images"], labels=labels, patient_pattern="([a-f])_", key=tmp_path / "key").write(
        tmp_path / "own.parquet"
    )
    with pytest.raises(InputError, match="6 of the probe's 6 patients are among those of the pretraining"):
        fit(cohort, tmp_path / "run", 2, Watch(probe=str(tmp_path / "own.parquet")))
    watch = Watch(probe=str(tmp_path / "probe.parquet"), study=[str(tmp_path / "probe.parquet")])
    with pytest.raises(InputError, match="are among those of the study 1"):
        fit(cohort, tmp_path / "run", 2, watch)
    assert not RunFolder(tmp_path / "run").checkpoints.exists()


def test_images_that_can_t_be_read_are_left_out_of_sample_and_probe(cohort: Path, tmp_path: Path) -> None:
    for folder in ("images", "probe"):
        broken = sorted((tmp_path / folder).iterdir())[0]
        broken.write_bytes(broken.read_bytes()[:200])
    watch = Watch(probe=str(tmp_path / "probe.parquet"), every_n_steps=1)
    fit(cohort, tmp_path / "run", 2, watch)
    assert watch.start_features is not None
    assert len(watch.start_features) == 11
    assert len(watch.facts["probe_patients"]) == 11


def test_a_trial_measures_nothing_and_leaves_nothing(cohort: Path, tmp_path: Path) -> None:
    module, watch = tiny_module(), Watch(every_n_steps=1)
    tiny_trainer(tmp_path / "run", 2, watch, fast_dev_run=2).fit(module, datamodule=tiny_data(cohort))
    assert watch.start_features is None
    assert not (tmp_path / "run").exists()


def test_every_run_is_watched_unless_it_brings_its_own(cohort: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path / "run", 1)
    trainer.fit(tiny_module(), datamodule=tiny_data(cohort))
    assert sum(isinstance(callback, Watch) for callback in trainer.callbacks) == 1
    assert RunFolder(tmp_path / "run").best_backbone.is_file()


@pytest.mark.parametrize(
    ("steps", "batch", "passes", "expected"),
    [
        (12_500, 64, 256, 125),  # a hundred checks
        (100, 32, 256, 34),  # two percent of the time
        (100, 32, 0, 1),
    ],
)
def test_checks_are_at_most_a_hundred_and_two_percent_of_the_time(
    steps: int, batch: int, passes: int, expected: int
) -> None:
    assert default_interval(steps, batch, passes) == expected


@pytest.mark.parametrize("wrong", [{"every_n_steps": 0}, {"images": 1}])
def test_numbers_without_meaning_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Watch(**wrong)  # type: ignore[arg-type]
