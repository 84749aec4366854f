"""Features by any network of the user's: a `torch.nn.Module` that is imported by name, and never unpickled."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medino.core import InputError
from medino.data import Manifest
from medino.features.embed import describe_images
from medino.features.table import WHOLE_IMAGE, FeatureTable
from medino.features.transform import EvaluationTransform
from medino.models import network_fingerprint


def import_network(name: str) -> nn.Module:
    """Build a network by the name of what makes it.

    Args:
        name: `package.module:factory`, as Python imports it; what lies in the current folder is found, too. The
            factory is called without arguments: a function that returns a network with its weights in it, or a class.

    Raises:
        InputError: the name can't be imported or called, or what it makes is no `torch.nn.Module`.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise InputError(f"the module {name!r} is not named as package.module:factory; name it so")
    # Where `python file.py` would look: people keep their networks beside their data.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
        network = factory()
    except Exception as error:  # whatever the user's own code raises
        raise InputError(f"the module {name!r} can't be built ({_in_one_line(error)}); correct it") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{name!r} makes a {type(network).__name__}, no torch.nn.Module; name what makes the network")
    return network


def embed_network(
    network: nn.Module,
    manifest: Manifest,
    transform: EvaluationTransform | None = None,
    *,
    name: str = "imported",
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    num_workers: int = 0,
    facts: Mapping[str, Any] | None = None,
) -> FeatureTable:
    """Features of all images of a manifest by a network of any kind.

    Args:
        network: from images (B, 3, S, S) to vectors (B, D); is put on `device` and used in evaluation mode.
        manifest: all rows are embedded.
        transform: what the network is shown; 224 pixels, normalised by ImageNet's mean and standard deviation, if
            None. A network with another normalisation undoes this one in its `forward`.
        name: what tables call the network.
        batch_size: images at once.
        device: where the network runs.
        num_workers: processes that decode.
        facts: more to keep with the table, JSON-plain.

    Returns:
        A table with one vector an image, which answers for every choice of features.

    Raises:
        InputError: what the network returns is not (B, D) and finite, it fails, or the images can't be used (as for
            `embed`).
    """

    def vectors(images: torch.Tensor) -> dict[tuple[int, str], torch.Tensor]:
        try:
            output = network(images.to(device))
        except Exception as error:  # whatever the user's own code raises
            raise InputError(
                f"the network {name!r} fails on images of shape {tuple(images.shape)} "
                f"({_in_one_line(error)}); correct it, or give another --size"
            ) from error
        if not isinstance(output, torch.Tensor) or output.ndim != 2 or len(output) != len(images):
            found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise InputError(
                f"the network {name!r} returns {found} for {len(images)} images, not one vector each, "
                f"({len(images)}, D); wrap it in a module that pools its output"
            )
        return {WHOLE_IMAGE: output}

    transform = transform or EvaluationTransform()
    training = network.training
    network.to(device).eval()
    try:
        return describe_images(
            vectors,
            manifest,
            transform,
            name=network_fingerprint(network, name),
            batch_size=batch_size,
            num_workers=num_workers,
            facts={"backbone": name, **(facts or {})},
        )
    finally:
        network.train(training)


def _in_one_line(error: Exception) -> str:
    """What somebody else's code raised."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
