"""A trained segmentation head out of its run's folder: the module, the values of its classes, what it was shown."""

from typing import Any

import yaml

from medino.cli.lightning import read_checkpoint, readable_checkpoint
from medino.core import InputError, RunFolder, existing_folder
from medino.data import Intensity
from medino.features import EvaluationTransform
from medino.segmentation import Segmentation
from medino.segmentation.prediction import HeadMasker
from medino.segmentation.targets import ClassTarget
from medino.ssl import latest_checkpoint
from medino.tracking import PRIVATE_PATH


def trained_head(
    run: str, weights: str | None, interpolation: str | None, checkpoint: str | None, device: str
) -> HeadMasker:
    """The head that `medino fit` trained.

    Args:
        run: the run's folder.
        weights: the backbone's; None takes what the run's settings say, which keep no path.
        interpolation: whose way to resize the position embedding of `weights`; None takes the run's.
        checkpoint: the file; None takes the latest of the run.
        device: where it runs.

    Raises:
        InputError: the folder is no such run, the checkpoint can't be read, or the backbone is not that of the head.
    """
    folder = RunFolder(existing_folder(run, "run folder"))
    model_settings, data_settings = _settings(folder)
    if weights is not None:
        model_settings["weights"] = weights
    elif model_settings.get("weights") is not None:
        model_settings["weights"] = _kept_weights(folder, model_settings["weights"])
    if interpolation is not None:
        model_settings["interpolation"] = interpolation
    found = latest_checkpoint(folder) if checkpoint is None else readable_checkpoint(checkpoint)
    if found is None:
        raise InputError(f"{run} holds no checkpoint; train with `medino fit` first, or give one by --checkpoint")
    try:
        model = Segmentation(**model_settings)
        transform = dict(data_settings["transform"])
        shown = EvaluationTransform(**{**transform, "intensity": Intensity(**transform["intensity"])})
        target = ClassTarget(data_settings["class_values"], model.overlapping)
        content = read_checkpoint(found)
        model.on_load_checkpoint(content)
        model.load_state_dict(content["state_dict"])
    except (TypeError, KeyError, RuntimeError) as error:
        raise InputError(
            f"the settings and the checkpoint of {run} don't make a head of this version of medino; train it again"
        ) from error
    model.to(device).eval().merge_adapters()
    return HeadMasker(model, target, shown)


def _settings(folder: RunFolder) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of model and data."""
    try:
        settings = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
        model, data = (dict(settings[name]["init_args"]) for name in ("model", "data"))
        kind = str(settings["model"]["class_path"]).rpartition(".")[2]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder.path} has no config.yaml of a training; give the folder of a segmentation by `medino fit`"
        ) from error
    if kind != Segmentation.__name__:
        raise InputError(f"the run in {folder.path} trained {kind}; give that of a Segmentation")
    return model, data


def _kept_weights(folder: RunFolder, kept: str) -> str:
    """What the settings say of the backbone's weights: a name, or a place in the run's folder."""
    if kept == PRIVATE_PATH:
        raise InputError(
            "the head's backbone is a file, and a run keeps no paths; give it by --weights (whether it is the one is "
            "checked)"
        )
    inside = folder.path / kept
    return str(inside) if inside.exists() else kept
