"""Backbones in and out of files: medino's own pair of safetensors and JSON, and Meta's published state dicts.

Nothing is unpickled: `.pth` files are read with `weights_only=True`, which takes tensors and plain containers only.
"""

import dataclasses
import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file

from medino.core import InputError, RunFolder, existing_file, read_json, whole_file, write_json
from medino.models.config import BackboneConfig
from medino.models.inferred_config import config_from_weights
from medino.models.presets import empty_backbone
from medino.models.vision_transformer import VisionTransformer

BACKBONE_VERSION = 1
"""Schema version of the JSON beside the weights."""

OWN_MARK = "medino_backbone"
"""In the metadata of medino's own safetensors: such a file is read with its JSON or not at all."""

DIFFERENCES_SHOWN = 3
"""How many keys an error about unfitting weights names."""

TRAINING_ONLY = ("name", "drop_path", "drop_path_rate", "layerscale_init")
"""Settings that leave the features of given weights as they are, and so stay out of the fingerprint."""


def load_backbone(weights: str | Path, **overrides: Any) -> VisionTransformer:
    """Load a backbone, in float32 on the CPU and in evaluation mode.

    Args:
        weights: a run folder; a `.safetensors` written by `save_backbone`, with its `.json` beside it; or a bare state
            dict in Meta's parameter names (`.pth`, `.safetensors`), whose settings are read from its shapes. The number
            of heads and how the position embedding is resized can't be read from shapes: the published models' are
            taken.
        overrides: settings of `BackboneConfig` to use instead of the file's, such as `drop_path_rate`, `num_heads` or
            `interpolate_offset`.

    Raises:
        InputError: the file is missing, can't be read, holds something else, or doesn't fit the settings.
    """
    path = weights_path(Path(weights))
    state, own = read_state(path)
    config = read_config(path.with_suffix(".json")) if own else config_from_weights(state, path)
    config = with_overrides(config, overrides)
    backbone = empty_backbone(config)
    check_fit(state, backbone, path)
    backbone.load_state_dict({key: value.float() for key, value in state.items()}, strict=True, assign=True)
    return backbone.eval()


def save_backbone(backbone: VisionTransformer, path: str | Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write the weights to `path` and the settings to the `.json` beside it.

    Args:
        backbone: on any device.
        path: ends in `.safetensors`.
        facts: what else to record in the JSON (where the weights come from, steps, licence); JSON-plain.

    Raises:
        InputError: the path has another ending.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"backbones are written as .safetensors, not as {path.name}; give such a path")
    state = {key: value.detach().cpu().contiguous() for key, value in backbone.state_dict().items()}
    description = {
        "schema_version": BACKBONE_VERSION,
        "fingerprint": backbone_fingerprint(backbone),
        "config": dataclasses.asdict(backbone.config),
        "facts": dict(facts or {}),
    }
    with whole_file(path) as temporary:
        save_file(state, temporary, metadata={"format": "pt", OWN_MARK: str(BACKBONE_VERSION)})
    write_json(path.with_suffix(".json"), description)


def backbone_fingerprint(backbone: VisionTransformer) -> str:
    """BLAKE2b-128 of the weights and of the settings that decide the features, as 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    settings = {key: value for key, value in dataclasses.asdict(backbone.config).items() if key not in TRAINING_ONLY}
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for key, value in sorted(backbone.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def weights_path(path: Path) -> Path:
    """The file of weights that a path means: itself, or a run folder's backbone."""
    if not path.is_dir():
        return existing_file(path, "weights file")
    backbone = RunFolder(path).backbone
    if not backbone.is_file():
        raise InputError(f"the folder {path} holds no {backbone.name}; give a weights file or the folder of a run")
    return backbone


def read_state(path: Path) -> tuple[dict[str, torch.Tensor], bool]:
    """The state dict in a file, and whether medino wrote it."""
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return read_pickled(path), False


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], bool]:
    """The tensors of a safetensors file, and whether it bears medino's mark."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in sorted(file.keys())}
            return state, OWN_MARK in (file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise InputError(f"{path} is not a readable safetensors file ({error}); download or copy it again") from error


def read_pickled(path: Path) -> dict[str, torch.Tensor]:
    """The bare state dict in a PyTorch file, without unpickling anything but tensors and plain containers."""
    try:
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged file makes the reader fail in any of a dozen ways.
        raise InputError(refusal(path, error)) from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path} holds a {type(content).__name__}, not a state dict; give a backbone's weights")
    others = [str(key) for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise InputError(
            f"{path} is not a bare state dict: under {shown(others)} it holds no tensors; "
            "take the backbone's own state dict out of it and save that"
        )
    return {str(key): value for key, value in content.items()}


def refusal(path: Path, error: Exception) -> str:
    """Why a PyTorch file can't be read and what to do, in one line."""
    refused = re.search(r"(?:GLOBAL|class|Unsupported global:) ((?:\w+\.)+\w+)", str(error))
    if refused:
        return (
            f"{path} holds a Python object ({refused[1]}) beside its tensors, and medino does not unpickle objects, "
            "which may run code; where you trust the file, save its state dict alone and give that"
        )
    # PyTorch's own reason stands between advice on unsafe loading, which is not ours to give.
    reason = str(error).rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0] or type(error).__name__
    return f"{path} is not a readable PyTorch checkpoint ({reason[:100]}); download it again or give another file"


def read_config(path: Path) -> BackboneConfig:
    """The settings in the JSON beside medino's own weights."""
    if not path.is_file():
        raise InputError(f"the settings {path} beside the weights are missing; copy both files together")
    description = read_json(path)
    version = description.get("schema_version") if isinstance(description, dict) else None
    if version != BACKBONE_VERSION:
        raise InputError(
            f"{path} has schema version {version}, this medino reads {BACKBONE_VERSION}; "
            "read it with the version that wrote it"
        )
    try:
        settings = dict(description["config"])
        settings.update(mean=tuple(settings["mean"]), std=tuple(settings["std"]))
        return BackboneConfig(**settings)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not describe a backbone ({error}); restore it or save it again") from error


def with_overrides(config: BackboneConfig, overrides: Mapping[str, Any]) -> BackboneConfig:
    """The settings with some replaced; unknown names are refused."""
    known = [field.name for field in dataclasses.fields(BackboneConfig)]
    unknown = [name for name in overrides if name not in known]
    if unknown:
        raise InputError(f"a backbone has no setting {shown(unknown)}; it has {', '.join(known)}")
    return config.replace(**overrides)


def check_fit(state: Mapping[str, torch.Tensor], backbone: VisionTransformer, path: Path) -> None:
    """Refuse weights whose keys or shapes are not the network's."""
    expected = {key: tuple(value.shape) for key, value in backbone.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    differences = [
        f"{key} is {found.get(key, 'missing')}, expected {expected.get(key, 'no such key')}"
        for key in [*expected, *(key for key in found if key not in expected)]
        if found.get(key) != expected.get(key)
    ]
    if not differences:
        return
    more = len(differences) - DIFFERENCES_SHOWN
    rest = f"; and {more} more" if more > 0 else ""
    raise InputError(
        f"the weights {path} do not fit the backbone '{backbone.config.name}': "
        f"{'; '.join(differences[:DIFFERENCES_SHOWN])}{rest}; give weights of this network or its settings"
    )


def shown(names: list[str]) -> str:
    """The first few names, quoted."""
    more = ", ..." if len(names) > DIFFERENCES_SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:DIFFERENCES_SHOWN]) + more
