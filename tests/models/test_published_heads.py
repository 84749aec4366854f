"""Published heads compute what their files say, and their widths are read from the files."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from medino.core import InputError, torch_generator
from medino.models import KNOWN_WEIGHTS, find_heads, known_path, read_heads

Tensors = dict[str, torch.Tensor]


def head_state(layers: int = 3, width: int = 12, prototypes: int = 16, seed: int = 0) -> Tensors:
    """A head of known tensors under the names of RAD-DINO's file."""
    generator = torch_generator(seed, "published")
    widths = [width, *[20] * (layers - 1), 8]
    state = {}
    for place in range(layers):
        name = "mlp" if layers == 1 else f"mlp.{2 * place}"
        state[f"{name}.weight"] = torch.randn(widths[place + 1], widths[place], generator=generator)
        state[f"{name}.bias"] = torch.randn(widths[place + 1], generator=generator)
    state["last_layer.weight_g"] = torch.rand(prototypes, 1, generator=generator) + 0.5
    state["last_layer.weight_v"] = torch.randn(prototypes, 8, generator=generator)
    return state


def scores(state: Tensors, x: torch.Tensor) -> torch.Tensor:
    """What the papers' formulas give: linear layers with GELU between, cosine with each prototype times its gain."""
    names = sorted({key.rpartition(".")[0] for key in state if key.startswith("mlp")})
    for place, name in enumerate(names):
        x = x @ state[f"{name}.weight"].T + state[f"{name}.bias"]
        x = F.gelu(x) if place < len(names) - 1 else x
    directions = state["last_layer.weight_v"] / state["last_layer.weight_v"].norm(dim=1, keepdim=True)
    return (x / x.norm(dim=-1, keepdim=True)) @ directions.T * state["last_layer.weight_g"].T


def under(prefix: str, state: Tensors) -> Tensors:
    return {prefix + key: value for key, value in state.items()}


TOKENS = torch.randn(5, 12, generator=torch_generator(0, "tokens"))
DINO, IBOT, OTHER = head_state(seed=1), head_state(prototypes=10, seed=2), head_state(seed=3)
BACKBONE = {"backbone.blocks.0.mlp.fc1.weight": torch.zeros(2, 2), "backbone.cls_token": torch.zeros(1, 1, 12)}

FILES: dict[str, Any] = {
    "dino_v1_full.pth": {
        "student": under("module.head.", OTHER) | under("module.", BACKBONE),
        "teacher": under("head.", DINO) | BACKBONE,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "args": argparse.Namespace(arch="vit_small"),
    },
    "dino_v1_ddp.pth": {"teacher": under("module.head.", DINO)},
    "dinov2_teacher.pth": {"teacher": under("dino_head.", DINO) | under("ibot_head.", IBOT) | BACKBONE},
    "own.ckpt": {
        "epoch": 1,
        "state_dict": under("core.teacher.dino_head.", DINO)
        | under("core.teacher.ibot_head.", IBOT)
        | under("core.teacher.", BACKBONE)
        | under("core.student.dino_head.", OTHER),
    },
}


@pytest.mark.parametrize("name", ["dino_head.safetensors", *FILES])
def test_a_files_head_computes_what_its_tensors_say(name: str, tmp_path: Path) -> None:
    if name in FILES:
        torch.save(FILES[name], tmp_path / name)
    else:
        save_file(DINO, tmp_path / name)
    heads = read_heads(tmp_path / name)
    assert (heads.dino.in_dim, heads.dino.layers, heads.dino.hidden_dim) == (12, 3, 20)
    assert (heads.dino.bottleneck_dim, heads.dino.prototypes) == (8, 16)
    with torch.no_grad():
        torch.testing.assert_close(heads.dino.build()(TOKENS), scores(DINO, TOKENS), rtol=1e-5, atol=1e-5)
    assert (heads.ibot is not None) == (name in ("dinov2_teacher.pth", "own.ckpt"))
    if heads.ibot is not None:
        assert heads.ibot.prototypes == 10
        with torch.no_grad():
            torch.testing.assert_close(heads.ibot.build()(TOKENS), scores(IBOT, TOKENS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_the_number_of_layers_is_read_from_the_file(layers: int, tmp_path: Path) -> None:
    state = head_state(layers)
    save_file(state, tmp_path / "head.safetensors")
    head = read_heads(tmp_path / "head.safetensors").dino
    assert (head.layers, head.hidden_dim) == (layers, None if layers == 1 else 20)
    with torch.no_grad():
        torch.testing.assert_close(head.build()(TOKENS), scores(state, TOKENS), rtol=1e-5, atol=1e-5)


def test_a_fixed_gain_needs_gains_of_one(tmp_path: Path) -> None:
    save_file(DINO, tmp_path / "head.safetensors")
    with pytest.raises(InputError, match="fixed_gain holds the gains of a head at 1, and those of the heads given are"):
        read_heads(tmp_path / "head.safetensors").dino.build(fixed_gain=True)
    save_file(DINO | {"last_layer.weight_g": torch.ones(16, 1)}, tmp_path / "ones.safetensors")
    head = read_heads(tmp_path / "ones.safetensors").dino.build(fixed_gain=True)
    assert [name for name, parameter in head.named_parameters() if not parameter.requires_grad] == [
        "last_layer.weight_g"
    ]


BROKEN = {
    "holds no projection head": BACKBONE,
    "'mlp.1.bias', 'mlp.3.bias' missing or unknown": DINO
    | {"mlp.1.weight": torch.zeros(20), "mlp.3.weight": torch.zeros(20)},
    "'mlp.1.running_mean' missing or unknown": DINO | {"mlp.1.running_mean": torch.zeros(20)},
    "'mlp.2.bias' missing or unknown": {key: value for key, value in DINO.items() if key != "mlp.2.bias"},
    r"mlp.2.weight is \(20, 21\), not \(20, 20\)": DINO | {"mlp.2.weight": torch.zeros(20, 21)},
    r"last_layer.weight_v is \(16, 9\), not \(16, 8\)": DINO | {"last_layer.weight_v": torch.zeros(16, 9)},
}


@pytest.mark.parametrize("why", BROKEN)
def test_other_heads_are_refused_in_words(why: str, tmp_path: Path) -> None:
    save_file(BROKEN[why], tmp_path / "head.safetensors")
    with pytest.raises(InputError, match=why):
        read_heads(tmp_path / "head.safetensors")


def test_heads_go_by_the_name_of_their_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDINO_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match=r"heads of 'rad-dino' are not in .*`medino weights get rad-dino --heads`"):
        find_heads("rad-dino")
    with pytest.raises(InputError, match=r"no heads were published with 'uni'; those of dino_vits16.*rad-dino were"):
        find_heads("uni")
    known = KNOWN_WEIGHTS["rad-dino"]
    path = known_path(known, known.heads)
    path.parent.mkdir()
    path.touch()
    assert find_heads("rad-dino") == path
    assert path.name == "dino_head.safetensors"
