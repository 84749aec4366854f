"""A folder as the hub has it: `config.json` beside one safetensors file, or beside several with an index."""

from pathlib import Path
from typing import Any

from medino.core import InputError, existing_file, read_json

INDEX = "model.safetensors.index.json"
SINGLE = ("model.safetensors", "pytorch_model.bin")
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
        return _files(path), {}
    if kind not in KINDS:
        raise InputError(f"{path} holds a model of type {kind!r}; give one of type {' or '.join(KINDS)}")
    for name, value in (("layer_norm_eps", 1e-6), ("hidden_act", "gelu"), ("qkv_bias", True)):
        if config.get(name, value) != value:
            raise InputError(f"{path / 'config.json'} says {name} {config[name]!r}, medino's network has {value!r}")
    return _files(path), {"num_heads": int(config["num_attention_heads"])} if "num_attention_heads" in config else {}


def _files(path: Path) -> list[Path]:
    if not (path / INDEX).is_file():
        return [next(path / name for name in SINGLE if (path / name).is_file())]
    index = read_json(path / INDEX)
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not names:
        raise InputError(f"{path / INDEX} lists no files; download the folder again")
    # A name is taken as a file of this folder, whatever it says.
    return [existing_file(path / Path(str(name)).name, "part of the weights") for name in sorted(set(names.values()))]
