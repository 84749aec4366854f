"""What a pretraining will take and which settings suit it, as rows of tables. Nothing here measures or prints."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow.compute as pc
import torch

from medino.cli.measuring import Pace
from medino.data import Manifest
from medino.ssl import DINOv2, PretrainingData, Setting, peak_learning_rate, recommended_steps, small_data_settings

CHECKPOINTS = 3
"""That lie on the disk at once: the last, the one before it, and the one being written."""

MANY_PASSES = 100
"""Passes over the images from which on a plan says that they are many."""

Rows = list[tuple[str, str, str]]
"""What, how much, and what there is to say of it."""


def data_rows(data: PretrainingData, steps: int) -> Rows:
    """What is trained on.

    Args:
        data: the images.
        steps: of the run.
    """
    manifest = data.manifest
    images, patients = len(manifest), len(manifest.table["patient"].unique())
    passes = steps * data.batch_size / images
    usual = recommended_steps(images, data.batch_size)
    many = "; many: let a probe say when to stop" if passes > MANY_PASSES else ""
    size = bytes_on_disk(manifest)
    return [
        ("images", f"{images:,}", f"of {patients:,} patients (unit: {manifest.patient_unit})"),
        ("on disk", "unknown" if size is None else amount(size), "files that the images lie in"),
        ("steps", f"{steps:,}", f"of {data.batch_size} images: {passes:.1f} passes over them{many}"),
        ("usual steps", f"{usual.value:,}", f"what medino adapt takes unless told otherwise: {usual.reason}"),
    ]


def model_rows(module: DINOv2, pace: Pace) -> Rows:
    """What learns, and what memory it takes.

    Args:
        module: the networks.
        pace: what was measured.
    """
    student = list(module.core.student.parameters())
    learning = sum(parameter.numel() for parameter in student if parameter.requires_grad)
    frozen = sum(parameter.numel() for parameter in student) - learning
    own = unique_bytes([*module.core.student.parameters()])
    teacher = unique_bytes([*module.core.student.parameters(), *module.core.teacher.parameters()]) - own
    optimiser = optimiser_bytes(module)
    rows = [
        ("parameters", f"{learning + frozen:,}", f"{learning:,} learn, {frozen:,} are frozen"),
        ("memory: student", amount(own), "backbone and heads"),
        ("memory: teacher", amount(teacher), "what is frozen is held once for both"),
        ("memory: optimiser", amount(optimiser), "AdamW's two averages of what learns"),
    ]
    if pace.peak_bytes is None:
        return [*rows, ("memory: a step", "unknown", "this system does not say what a process took at most")]
    step = max(pace.peak_bytes - optimiser, 0)
    return [
        *rows,
        ("memory: a step", amount(step), "activations and gradients at most, measured"),
        ("memory: in all", amount(own + teacher + optimiser + step), "of the device, beside the system's own"),
    ]


def time_rows(pace: Pace, steps: int, batch_size: int) -> Rows:
    """How long it takes, and what sets the pace.

    Args:
        pace: what was measured.
        steps: of the run.
        batch_size: images of a step.
    """
    by = f"{pace.workers} processes" if pace.workers != 1 else "one process"
    loaded = f"by {by}, measured alone" if pace.workers else "by the process that trains, in turn with the step"
    slower = pace.loading / pace.step if pace.loader_sets_the_pace else pace.step / pace.loading
    names = ("loading", "step") if pace.loader_sets_the_pace else ("step", "loading")
    advice = "; more num_workers, or images packed by medino pack" if pace.loader_sets_the_pace else ""
    return [
        ("loading", f"{pace.loading:.3g} s a batch", loaded),
        ("step", f"{pace.step:.3g} s", "measured with its images at hand"),
        (
            "pace",
            f"{batch_size / pace.seconds:.1f} images a second",
            f"{names[0]} takes {slower:.1f} x {names[1]}{advice}",
        ),
        ("time", duration(pace.seconds * steps), f"{steps:,} steps of {pace.seconds:.3g} s"),
    ]


def disk_rows(module: DINOv2) -> Rows:
    """What the run will leave on the disk."""
    checkpoint = unique_bytes(list(module.state_dict().values())) + optimiser_bytes(module)
    backbone = unique_bytes(list(module.core.teacher.backbone.parameters()))
    return [
        ("disk: checkpoints", amount(CHECKPOINTS * checkpoint), "the last two, and the one being written"),
        ("disk: backbones", amount(2 * backbone), "the last and the best"),
    ]


def compared(
    module: DINOv2, data: PretrainingData, steps: int, from_weights: bool, new_heads: bool
) -> tuple[list[tuple[Setting, Any]], Setting]:
    """The settings that suit the run, each with the value that is given, and the rate that these make.

    Args:
        module: has the settings that are given.
        data: the images.
        steps: of the run.
        from_weights: whether it starts from weights.
        new_heads: whether its heads start untrained.

    Raises:
        InputError: there is too little to train on.
    """
    images, hparams = len(data.manifest), module.hparams
    settings = small_data_settings(
        images,
        data.batch_size,
        steps,
        from_weights=from_weights,
        embed_dim=module.backbone_config.embed_dim,
        new_heads=new_heads,
    )
    given = {setting.name: hparams[setting.name] for setting in settings}
    if "backbone_settings" in given:
        # In YAML all of them are given or none: those of the user's that nothing is said of stay.
        place = [setting.name for setting in settings].index("backbone_settings")
        own, wanted = hparams["backbone_settings"] or {}, settings[place].value
        given["backbone_settings"] = {**own, **{name: getattr(module.backbone_config, name) for name in wanted}}
        settings[place] = replace(settings[place], value={**own, **wanted})
    pairs = [(setting, given[setting.name]) for setting in settings]
    return pairs, peak_learning_rate(hparams["base_lr"], hparams["lr_scaling"], data.batch_size)


def departures(pairs: list[tuple[Setting, Any]]) -> dict[str, Any]:
    """The YAML of what suits the run where that is something else than what is given; empty where nothing is."""
    suits = {setting.name: setting.value for setting, given in pairs if given != setting.value}
    return {"model": {"class_path": "medino.ssl.DINOv2", "init_args": suits}} if suits else {}


def bytes_on_disk(manifest: Manifest) -> int | None:
    """The size of the files that rows lie in, each counted once; None where the manifest doesn't know."""
    files = manifest.table.select(["root", "path", "member", "file_bytes"]).group_by(["root", "path"])
    sizes = files.aggregate([("file_bytes", "max")])["file_bytes_max"]
    return None if sizes.null_count else int(pc.sum(sizes).as_py() or 0)


def optimiser_bytes(module: DINOv2) -> int:
    """What AdamW holds: two averages in the precision of each parameter that learns."""
    return 2 * unique_bytes([each for each in module.core.student.parameters() if each.requires_grad])


def unique_bytes(tensors: list[torch.Tensor]) -> int:
    """The memory of tensors, each storage counted once."""
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
    return sum(storages.values())


def amount(size: int) -> str:
    """A number of bytes, to be read."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"


def duration(seconds: float) -> str:
    """A time, to be read."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def plain_value(value: Any) -> str:
    """A setting's value in a cell."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return "none" if value is None else str(value)
