"""Backbones in and out of files: medino's own pair of safetensors and JSON, and what others publish.

Nothing is unpickled: `.pth` files are read with `weights_only=True`, which takes tensors and plain containers only.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from medino.core import InputError, RunFolder, existing_file, read_json, whole_file, write_json
from medino.models.config import BackboneConfig
from medino.models.inferred_config import config_from_weights
from medino.models.known import KnownWeights
from medino.models.layouts import (
    INTERPOLATIONS,
    Interpolation,
    hugging_face_folder,
    is_hugging_face_folder,
    published,
    resizing,
)
from medino.models.presets import empty_backbone
from medino.models.state_files import DIFFERENCES_SHOWN, OWN_MARK, read_state, shown
from medino.models.vision_transformer import VisionTransformer
from medino.models.weights_folder import find_weights

BACKBONE_VERSION = 1
"""Schema version of the JSON beside the weights."""

TRAINING_ONLY = ("name", "drop_path", "drop_path_rate", "layerscale_init")
"""Settings that leave the features of given weights as they are, and so stay out of the fingerprint."""


def load_backbone(
    weights: str | Path, interpolation: Interpolation | None = None, **overrides: Any
) -> VisionTransformer:
    """Load a backbone, in float32 on the CPU and in evaluation mode.

    Args:
        weights: a name of `medino.models.KNOWN_WEIGHTS` that `medino weights get` has downloaded; a run folder; a
            `.safetensors` written by `save_backbone`, with its `.json` beside it; a file (`.pth`, `.bin`,
            `.safetensors`) in the layout of Meta (a bare state dict, or a training checkpoint of DINO or DINOv2, whose
            teacher is taken), Hugging Face or timm; or a folder of Hugging Face's hub. Widths and depth are read from
            shapes. Heads, mean and standard deviation come from the list of known weights or from the folder's JSON;
            for a file alone they are the published models' and ImageNet's.
        interpolation: whose way to resize the position embedding away from its native grid (see
            `medino.models.layouts.families.resizing`); None follows the family of the file.
        overrides: settings of `BackboneConfig` to use instead of the file's, such as `drop_path_rate`, `num_heads` or
            `interpolate_offset`. `mask_token=True` gives weights without one (timm's) a mask token of zeros, as
            DINOv2's starts.

    Raises:
        InputError: the file is missing, can't be read, holds something else, or doesn't fit the settings.
    """
    path, known = find_weights(weights)
    if path.is_dir() and is_hugging_face_folder(path):
        state, config = read_folder(path)
    else:
        path = weights_path(path)
        state, config = read_weights(path)
    if known is not None:
        config = as_known(config, known, path)
        interpolation = interpolation or known.interpolation
    if interpolation is not None:
        config = config.replace(**resizing(checked_interpolation(interpolation), config.num_register_tokens))
    config = with_overrides(config, overrides)
    if overrides.get("mask_token") and "mask_token" not in state:
        state = state | {"mask_token": torch.zeros(1, config.embed_dim)}
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
    settings = {key: value for key, value in dataclasses.asdict(backbone.config).items() if key not in TRAINING_ONLY}
    return network_fingerprint(backbone, json.dumps(settings, sort_keys=True))


def network_fingerprint(network: nn.Module, description: str) -> str:
    """BLAKE2b-128 of a description and of all weights, as 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(description.encode())
    for key, value in sorted(network.state_dict().items()):
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


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], BackboneConfig]:
    """The state dict in a file, in Meta's names, and its network's settings."""
    state, own = read_state(path)
    if own:
        return state, read_config(path.with_suffix(".json"))
    weights = published(state)
    return weights.state, config_from_weights(weights, path)


def read_folder(path: Path) -> tuple[dict[str, torch.Tensor], BackboneConfig]:
    """The state dict in a folder of Hugging Face's hub, in Meta's names, and its network's settings."""
    files, settings = hugging_face_folder(path)
    state: dict[str, torch.Tensor] = {}
    for file in files:
        state |= read_state(file)[0]
    weights = dataclasses.replace(published(state), settings=settings)
    return weights.state, config_from_weights(weights, path)


def checked_interpolation(name: Interpolation) -> Interpolation:
    """The name, if it is one."""
    if name not in INTERPOLATIONS:
        raise InputError(f"interpolation is {name!r}; choose one of {', '.join(INTERPOLATIONS)}")
    return name


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


def as_known(config: BackboneConfig, known: KnownWeights, path: Path) -> BackboneConfig:
    """What a file tells of its network, with what shapes can't tell from the list of known weights.

    Raises:
        InputError: it is another network.
    """
    for name in ("embed_dim", "depth", "patch_size", "num_register_tokens", "ffn_width"):
        found, expected = getattr(config, name), getattr(known.config, name)
        if found != expected:
            raise InputError(
                f"{path} is not '{known.name}': its {name} is {found} and not {expected}; get the right file with "
                f"`medino weights get {known.name}`, or keep this one elsewhere"
            )
    expected = known.config
    return config.replace(name=known.name, num_heads=expected.num_heads, mean=expected.mean, std=expected.std)


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
