"""Projection heads out of files: RAD-DINO's, DINO v1's full checkpoints, DINOv2's, and those of medino's own runs.

RAD-DINO's `dino_head.safetensors` holds one head by its bare names (`mlp.0.weight`, ..., `last_layer.weight_g`,
`last_layer.weight_v`); DINO v1 keeps it under `head.`, DINOv2 and medino under `dino_head.` and `ibot_head.`, each in
student and teacher, of which the teacher's is taken, as for the backbone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medino.core import InputError, existing_file
from medino.models.heads import ProjectionHead
from medino.models.layouts.wrappings import NETWORKS
from medino.models.state_files import read_safetensors, shown, unpickled

_OF_HEAD = re.compile(r"^(?:.*\.)?(dino_head|ibot_head|head)\.(.+)$")
_BARE = re.compile(r"^(mlp\.|last_layer\.)")
_LINEAR = re.compile(r"^mlp\.(?:(\d+)\.)?weight$")


@dataclass(frozen=True)
class PublishedHead:
    """One head's weights and the widths that they tell.

    Attributes:
        state: its weights by the names of `ProjectionHead`.
        in_dim: the token width that it takes.
        layers: linear layers of the MLP.
        hidden_dim: width inside the MLP; None where it has one layer.
        bottleneck_dim: width before the prototypes.
        prototypes: their number.
    """

    state: dict[str, torch.Tensor]
    in_dim: int
    layers: int
    hidden_dim: int | None
    bottleneck_dim: int
    prototypes: int

    def build(self, fixed_gain: bool = False) -> ProjectionHead:
        """The head with these weights, in float32.

        Raises:
            InputError: gains are to be held at 1, and these are not 1.
        """
        if fixed_gain and not torch.allclose(self.state["last_layer.weight_g"].float(), torch.tensor(1.0)):
            raise InputError("fixed_gain holds the gains of a head at 1, and those of the heads given are not 1")
        hidden = self.bottleneck_dim if self.hidden_dim is None else self.hidden_dim
        with torch.device("meta"):
            head = ProjectionHead(
                self.in_dim, self.prototypes, hidden, self.bottleneck_dim, self.layers, fixed_gain=fixed_gain
            )
        head.load_state_dict({key: value.float() for key, value in self.state.items()}, assign=True)
        # Parameters that are assigned ask for gradients as those they replace did not.
        head.last_layer.weight_g.requires_grad_(not fixed_gain)
        return head


@dataclass(frozen=True)
class PublishedHeads:
    """The heads of a file.

    Attributes:
        dino: for class tokens, and for patch tokens where there is no other.
        ibot: for patch tokens.
    """

    dino: PublishedHead
    ibot: PublishedHead | None


def read_heads(path: Path) -> PublishedHeads:
    """The projection heads in a file.

    Raises:
        InputError: the file is missing, can't be read, or holds no heads of this kind.
    """
    path = existing_file(path, "heads file")
    content: Mapping[Any, Any] = read_safetensors(path)[0] if path.suffix == ".safetensors" else unpickled(path)
    parts = _by_head(_network(content))
    if "dino_head" not in parts:
        raise InputError(
            f"{path} holds no projection head (found {shown(sorted(map(str, content)))}); give RAD-DINO's "
            "dino_head.safetensors, a full checkpoint of DINO, or a checkpoint of medino"
        )
    ibot = parts.get("ibot_head")
    return PublishedHeads(_head(parts["dino_head"], path), None if ibot is None else _head(ibot, path))


def _network(content: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    """The tensors of the network that counts, by their names in it."""
    for name in NETWORKS:
        inner = content.get(name)
        if isinstance(inner, Mapping):
            content = inner
            break
    tensors = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
    # Lightning's state dict holds student and teacher side by side.
    return {key: value for key, value in tensors.items() if ".teacher." in f".{key}"} or tensors


def _by_head(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if match := _OF_HEAD.match(key):
            head = "ibot_head" if match[1] == "ibot_head" else "dino_head"
            parts.setdefault(head, {})[match[2]] = value
        elif _BARE.match(key):
            parts.setdefault("dino_head", {})[key] = value
    return parts


def _head(state: dict[str, torch.Tensor], path: Path) -> PublishedHead:
    """A head's widths, from its shapes.

    Raises:
        InputError: it is another kind of head.
    """
    places = sorted(int(match[1] or 0) for match in map(_LINEAR.match, state) if match)
    bare = places == [0] and "mlp.weight" in state
    linear = ["mlp"] if bare else [f"mlp.{place}" for place in places]
    expected = {f"{name}.{kind}" for name in linear for kind in ("weight", "bias")}
    expected |= {"last_layer.weight_g", "last_layer.weight_v"}
    # A GELU stands between two linear layers, and nothing else: places 0, 2, 4, ...
    if not linear or set(state) != expected or (not bare and places != list(range(0, 2 * len(places), 2))):
        others = sorted(set(state) ^ expected) or sorted(state)
        raise InputError(
            f"the head in {path} is not DINO's of linear layers, GELU and weight-normed prototypes "
            f"({shown(others)} missing or unknown); heads with BatchNorm are not read"
        )
    widths = [state[f"{name}.weight"].shape for name in linear]
    found = PublishedHead(
        state,
        in_dim=widths[0][-1],
        layers=len(linear),
        hidden_dim=widths[0][0] if len(linear) > 1 else None,
        bottleneck_dim=widths[-1][0],
        prototypes=state["last_layer.weight_v"].shape[0],
    )
    with torch.device("meta"):
        hidden = found.hidden_dim or found.bottleneck_dim
        shapes = ProjectionHead(found.in_dim, found.prototypes, hidden, found.bottleneck_dim, found.layers).state_dict()
    for key, value in shapes.items():
        if state[key].shape != value.shape:
            shape = tuple(state[key].shape)
            raise InputError(f"the head in {path} contradicts itself: {key} is {shape}, not {tuple(value.shape)}")
    return found
