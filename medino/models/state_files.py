"""Tensors out of files: safetensors, and PyTorch's own read without unpickling anything but tensors and containers."""

import argparse
import re
import warnings
from pathlib import Path
from typing import Any

import safetensors
import torch

from medino.core import InputError
from medino.models.layouts import unwrapped

OWN_MARK = "medino_backbone"
"""In the metadata of medino's own safetensors: such a file is read with its JSON or not at all."""

DIFFERENCES_SHOWN = 3
"""How many keys an error names."""


def read_state(path: Path) -> tuple[dict[str, torch.Tensor], bool]:
    """The bare state dict in a file, and whether medino wrote it."""
    if path.suffix == ".safetensors":
        state, own = read_safetensors(path)
        return (state if own else unwrapped(state)), own
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
    """The bare state dict in a PyTorch file."""
    content = unwrapped(unpickled(path))
    others = [str(key) for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise InputError(
            f"{path} is not a bare state dict: under {shown(others)} it holds no tensors; "
            "take the backbone's own state dict out of it and save that"
        )
    return {str(key): value for key, value in content.items()}


def unpickled(path: Path) -> dict[Any, Any]:
    """What a PyTorch file holds, wrapped as it is; nothing is unpickled but tensors and plain containers."""
    try:
        # DINO v1 keeps its arguments beside its networks, in a Namespace: attributes and nothing that runs.
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged file makes the reader fail in any of a dozen ways.
        raise InputError(refusal(path, error)) from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path} holds a {type(content).__name__}, not a state dict; give a backbone's weights")
    return content


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


def shown(names: list[str]) -> str:
    """The first few names, quoted."""
    more = ", ..." if len(names) > DIFFERENCES_SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:DIFFERENCES_SHOWN]) + more
