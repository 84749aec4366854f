"""The main job of `adapt` and `demo`: every stage, then the report and the numbers that matter."""

import dataclasses
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Column, Table

from medino.cli.case_sheet import write_case_sheet
from medino.cli.cohort import Source, has_labels, has_masks, make_cohort, mask_classes
from medino.cli.contact_sheet import write_contact_sheet
from medino.cli.pipeline import Stages, labelled_rows
from medino.cli.scan import show_summary
from medino.cli.settling import (
    Plan,
    Settled,
    settle_data,
    settle_precision,
    settle_probe,
    settle_shots,
    settle_start,
    settle_training,
)
from medino.cli.trainer import write_config
from medino.core import InputError, RunFolder, patients_seen_by
from medino.data.workers import Workers
from medino.features import EvaluationTransform
from medino.models import VisionTransformer
from medino.probes import FewShotStudy, merge_evidence, write_evidence
from medino.tracking import headline, public_config, record_data, report_runs

CHECKPOINTS = 10
"""So many times is a training written down: a run that is killed loses a tenth of it at most."""


@dataclass(frozen=True)
class Job:
    """A main job that has been checked: nothing that could be known before the first training step is wrong.

    Attributes:
        stages: what is done.
        start: the backbone to start from.
        module: arguments of `DINOv2`.
        data: arguments of `PretrainingData`.
        steps: training steps.
        study: the few-shot study; None without labels.
        classes: the classes of the masks and their values; None without masks.
    """

    stages: Stages
    start: VisionTransformer
    module: dict[str, Any]
    data: dict[str, Any]
    steps: int
    study: FewShotStudy | None
    classes: dict[str, int] | None


def main_job(output: str | Path, source: Source, plan: Plan) -> None:
    """Scan, pretrain, embed, compare on a handful of labels, segment, report.

    A run that stopped goes on where it was when the same command is given again. Where the input can't be used, no new
    folder is left behind.

    Args:
        output: the run's folder.
        source: the images, labels and masks.
        plan: how to adapt and to measure.

    Raises:
        InputError: something given can't be used.
    """
    run = RunFolder(Path(output))
    new = not run.path.exists()
    try:
        job = prepare(run, source, plan)
    except InputError:
        if new:
            shutil.rmtree(run.path, ignore_errors=True)
        raise
    job.stages.pretrain(job.start, job.module, job.data, job.steps, plan.overlays)
    record_data(run, job.stages.manifest)
    if plan.overlays and not run.contact_sheet.exists():
        write_contact_sheet(job.stages.manifest, run.contact_sheet, Workers(max(plan.num_workers, 1)), plan.seed)
    tables = []
    if job.study is not None:
        tables.append(job.stages.few_shot(job.study, plan.baselines))
    if job.classes is not None:
        tables.append(job.stages.segment(job.classes, plan.segmentation_steps, plan.overlays))
    if tables:
        evidence = merge_evidence(tables)
        write_evidence(run.evidence, evidence)
        if plan.overlays:
            write_case_sheet(evidence, job.stages.manifest, run.case_sheet, Workers(max(plan.num_workers, 1)))
    report = report_runs([run])
    for line in headline(evidence).lines() if tables else ():
        print(line)
    print(f"report: {report}")


def prepare(run: RunFolder, source: Source, plan: Plan) -> Job:
    """Make the cohort, settle what was left open, check everything, and keep the settings in the run.

    Raises:
        InputError: something given can't be used.
    """
    settings = {"source": dataclasses.asdict(source), "plan": dataclasses.asdict(plan)}
    check_same_settings(run, settings)
    check_numbers(plan)
    settled = Settled()
    config, given = settle_start(settled, plan)
    manifest = make_cohort(run, source, plan.seed, config.patch_size)
    show_summary(manifest)
    data, steps = settle_data(settled, plan, manifest, config)
    images = int((manifest.column("split") == "train").sum())
    start, module = settle_training(settled, plan, given, config, data, images, steps)
    precision = settle_precision(settled, plan)
    settle_probe(settled, plan, manifest)
    module |= {"seed": plan.seed, "checkpoint_every_n_steps": max(1, steps // CHECKPOINTS)}
    study = None
    if has_labels(manifest):
        labelled = labelled_rows(manifest)
        shots = settle_shots(settled, plan, labelled)
        study = FewShotStudy(shots=shots, episodes=plan.episodes, unit=plan.unit, seed=plan.seed)
        study.check(labelled)
    classes = mask_classes(manifest, source) if has_masks(manifest) else None
    show_settings(settled, study is not None, classes is not None)
    write_config(run, {**settings, "settled": settled.plain})
    transform = EvaluationTransform.for_backbone(start.config)
    seen_by_start = [] if plan.weights is None else patients_seen_by(plan.weights, manifest.settings.get("key_id"))
    stages = Stages(
        run,
        manifest,
        transform,
        precision,
        plan.online,
        plan.num_workers,
        plan.seed,
        seen_by_start,
        plan.probe,
    )
    return Job(stages, start, module, data, steps, study, classes)


def check_numbers(plan: Plan) -> None:
    """Refuse numbers that no training could mean before the images are scanned, which can take hours.

    Raises:
        InputError: there is no training step, or a batch has less than two images.
    """
    if plan.batch_size is not None and plan.batch_size < 2:
        raise InputError(
            f"batch_size is {plan.batch_size}; give 2 or more, as Sinkhorn-Knopp and KoLeo compare the images of a "
            "batch with each other"
        )
    if plan.steps is not None and plan.steps < 1:
        raise InputError(f"steps is {plan.steps}; give 1 or more")


KEPT_BEFORE_CONFIG = frozenset({"cohort", "archive"})
"""What a run's folder may hold before its `config.yaml` is written."""


def check_same_settings(run: RunFolder, settings: dict[str, Any]) -> None:
    """Refuse to go on with a run that was started with other settings.

    Raises:
        InputError: it was, or the folder holds something else.
    """
    if run.path.exists() and not run.path.is_dir():
        raise InputError(f"{run.path} is a file; give a folder for the run by -o")
    if not run.config.is_file():
        # A scan that was stopped before the settings were kept is no reason to refuse.
        if run.path.is_dir() and {path.name for path in run.path.iterdir()} - KEPT_BEFORE_CONFIG:
            raise InputError(f"the folder {run.path} is not empty and holds no run; give a new one by -o")
        return
    before = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    now = public_config(settings, run.path)
    changed = [
        f"{name} was {before.get(part, {}).get(name)!r}, is {value!r}"
        for part, values in now.items()
        for name, value in values.items()
        if before.get(part, {}).get(name) != value
    ]
    if changed:
        raise InputError(
            f"the run in {run.path} was started with other settings ({'; '.join(changed)}); give the same ones to go "
            "on with it, or another folder by -o"
        )


def show_settings(settled: Settled, labelled: bool, masked: bool) -> None:
    """Print what was settled and why, and what will not be done."""
    table = Table(Column("setting", no_wrap=True), "value", "why", title="settings", title_justify="left")
    for choice in settled.choices:
        table.add_row(choice.name, str(choice.value), choice.why)
    Console(highlight=False).print(table)
    if not labelled:
        print("no labels were given: there will be no few-shot study (--labels)", file=sys.stderr)
    if not masked:
        print("no masks were given: there will be no segmentation (--masks)", file=sys.stderr)
