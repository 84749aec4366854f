"""A folder as the hub has it: `config.json` beside one safetensors file, or beside several with an index.

Hugging Face's own models say in `preprocessor_config.json` which mean and deviation they expect, timm's in
`config.json`.
"""

from pathlib import Path
from typing import Any

from medino.core import InputError, existing_file, read_json

INDEX = "model.safetensors.index.json"
SINGLE = ("model.safetensors", "pytorch_model.bin")
PROCESSOR = "preprocessor_config.json"
KINDS = ("dinov2", "dinov2_with_registers")


def is_hugging_face_folder(path: Path) -> bool:
    """Whether a folder is a model's of Hugging Face."""
    return (path / "config.json").is_file() and any((path / name).is_file() for name in (INDEX, *SINGLE))


def hugging_face_folder(path: Path) -> tuple[list[Path], dict[str, Any]]:
    """The weights files of a folder, and the settings of `BackboneConfig` that its `config.json` tells.

    Raises:
        InputError: the model is of another kind, has settings that medino's network has not, or lacks a file.
    """
    config = read_json(path / "config.json")
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind is None:
        return _files(path), _of_timm(config) if isinstance(config, dict) else {}
    if kind not in KINDS:
        raise InputError(f"{path} holds a model of type {kind!r}; give one of type {' or '.join(KINDS)}")
    for name, value in (("layer_norm_eps", 1e-6), ("hidden_act", "gelu"), ("qkv_bias", True)):
        if config.get(name, value) != value:
            raise InputError(f"{path / 'config.json'} says {name} {config[name]!r}, medino's network has {value!r}")
    settings = {"num_heads": int(config["num_attention_heads"])} if "num_attention_heads" in config else {}
    return _files(path), settings | _expected_by_processor(path)


def _expected_by_processor(path: Path) -> dict[str, Any]:
    """Mean and standard deviation of the folder's image processor."""
    if not (path / PROCESSOR).is_file():
        return {}
    processor = read_json(path / PROCESSOR)
    if not isinstance(processor, dict) or not processor.get("do_normalize", True):
        return {}
    return _normalisation(processor.get("image_mean"), processor.get("image_std"), path / PROCESSOR)


def _of_timm(config: dict[str, Any]) -> dict[str, Any]:
    """What timm's `config.json` tells."""
    trained, arguments = config.get("pretrained_cfg"), config.get("model_args")
    settings: dict[str, Any] = {}
    if isinstance(trained, dict):
        settings |= _normalisation(trained.get("mean"), trained.get("std"), Path("config.json"))
    if isinstance(arguments, dict) and "num_heads" in arguments:
        settings["num_heads"] = int(arguments["num_heads"])
    return settings


def _normalisation(mean: Any, std: Any, path: Path) -> dict[str, Any]:
    if mean is None or std is None:
        return {}
    try:
        found = {"mean": tuple(float(value) for value in mean), "std": tuple(float(value) for value in std)}
    except (TypeError, ValueError):
        found = {}
    if sorted(map(len, found.values())) != [3, 3] or min(found["std"]) <= 0:
        raise InputError(f"{path} gives no mean and standard deviation of three channels; download the folder again")
    return found


def _files(path: Path) -> list[Path]:
    if not (path / INDEX).is_file():
        return [next(path / name for name in SINGLE if (path / name).is_file())]
    index = read_json(path / INDEX)
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not names:
        raise InputError(f"{path / INDEX} lists no files; download the folder again")
    # A name is taken as a file of this folder, whatever it says.
    return [existing_file(path / Path(str(name)).name, "part of the weights") for name in sorted(set(names.values()))]
