"""Weights in every published layout give the features of their own library."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_cases import FOLDER
from safetensors.torch import load_file, save_file
from scattered_backbones import SMALL, features, images, scattered

from medino.core import InputError, torch_generator
from medino.models import export_backbone, load_backbone

TIMM = json.loads((FOLDER / "timm.json").read_text())


@pytest.mark.parametrize("name", sorted(TIMM))
def test_timms_weights_give_timms_features(name: str, tmp_path: Path) -> None:
    golden = load_file(FOLDER / f"{name}.safetensors")
    weights = {key.removeprefix("weights/"): value for key, value in golden.items() if key.startswith("weights/")}
    save_file(weights, tmp_path / "model.safetensors")
    # The golden networks are narrower than any published one, from whose width the number of heads is known.
    backbone = load_backbone(tmp_path / "model.safetensors", num_heads=TIMM[name]["settings"]["num_heads"])
    torch.testing.assert_close(features(backbone, golden["image"]), golden["features"], rtol=1e-5, atol=1e-5)


def test_positions_of_registers_are_part_of_timms_registers(tmp_path: Path) -> None:
    backbone = scattered(SMALL.replace(num_register_tokens=4, interpolate_offset=0.0, interpolate_antialias=True))
    export_backbone(backbone, "timm", tmp_path / "model.safetensors")
    weights = load_file(tmp_path / "model.safetensors")
    prefix = torch.randn(1, 5, 32, generator=torch_generator(0, "positions"))
    # timm adds the embedding to class token, registers and patches alike, unless it is told `no_embed_class`.
    weights["cls_token"] = weights["cls_token"] - prefix[:, :1]
    weights["reg_token"] = weights["reg_token"] - prefix[:, 1:]
    weights["pos_embed"] = torch.cat([prefix, weights["pos_embed"]], dim=1)
    save_file(weights, tmp_path / "model.safetensors")
    found = features(load_backbone(tmp_path / "model.safetensors", num_heads=4), images())
    torch.testing.assert_close(found, features(backbone, images()), rtol=0, atol=1e-5)


def chunked(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Two chunks of two blocks, numbered as FSDP's chunks are: blocks count on through the chunks."""
    return {
        (f"blocks.{int(key.split('.')[1]) // 2}.{key.removeprefix('blocks.')}" if key.startswith("blocks.") else key): v
        for key, v in state.items()
    }


def wrapped(state: dict[str, torch.Tensor], *prefixes: str) -> dict[str, torch.Tensor]:
    return {"".join(prefixes) + key: value for key, value in state.items()}


@pytest.mark.parametrize("wrapping", ["bare", "teacher", "chunks", "dino_v1", "hub"])
def test_metas_checkpoints_give_the_teachers_backbone(wrapping: str, tmp_path: Path) -> None:
    config = SMALL.replace(layerscale_init=None, mask_token=False) if wrapping == "dino_v1" else SMALL
    backbone = scattered(config)
    state = backbone.state_dict()
    head = {"head.mlp.0.weight": torch.zeros(3, 32)}
    other = {key: torch.zeros_like(value) for key, value in state.items()}
    checkpoint: dict[str, Any] = {
        "bare": state,
        "teacher": {"teacher": wrapped(state, "backbone.") | {"dino_head.last_layer.weight_v": torch.zeros(2, 2)}},
        "chunks": {"teacher": wrapped(chunked(state), "backbone.")},
        "dino_v1": {
            "student": wrapped(other | head, "module.", "backbone."),
            "teacher": wrapped(state, "backbone.") | head,
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
            "epoch": 100,
            "args": argparse.Namespace(arch="vit_small", lr=5e-4),
            "dino_loss": {"center": torch.zeros(1, 3)},
        },
        "hub": {"state_dict": wrapped(state, "module.")},
    }[wrapping]
    torch.save(checkpoint, tmp_path / "weights.pth")
    loaded = load_backbone(tmp_path / "weights.pth", num_heads=4)
    torch.testing.assert_close(features(loaded, images()), features(backbone, images()), rtol=0, atol=0)
    assert not loaded.config.interpolate_antialias


@pytest.mark.parametrize("side", [32, 48])
@pytest.mark.parametrize("ffn_layer", ["mlp", "swiglufused"])
@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("names", ["hub", "library"])
@pytest.mark.parametrize("sharded", [False, True])
def test_hugging_faces_weights_give_hugging_faces_features(
    side: int, ffn_layer: str, registers: int, names: str, sharded: bool, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    settings = {"num_register_tokens": registers} if registers else {}
    theirs = getattr(transformers, f"{kind}Model")(
        getattr(transformers, f"{kind}Config")(
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=32,
            patch_size=8,
            use_swiglu_ffn=ffn_layer == "swiglufused",
            **settings,
        )
    ).eval()
    generator = torch_generator(0, "theirs")
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        expected = theirs(images(side)).last_hidden_state
    theirs.save_pretrained(tmp_path, max_shard_size="40KB" if sharded else "1GB", save_original_format=names == "hub")
    files = list(tmp_path.glob("*.safetensors"))
    assert (len(files) > 1) == sharded
    assert (set().union(*map(load_file, files)) == set(theirs.state_dict())) == (names == "library")
    backbone = load_backbone(tmp_path)
    assert backbone.config.num_heads == 4
    torch.testing.assert_close(features(backbone, images(side)), expected, rtol=1e-5, atol=1e-5)


def test_a_classifiers_backbone_is_taken_out_of_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8
    )
    theirs = transformers.Dinov2ForImageClassification(config).eval()
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = theirs.dinov2(images()).last_hidden_state
    torch.testing.assert_close(features(load_backbone(tmp_path), images()), expected, rtol=1e-5, atol=1e-5)


def test_the_way_to_resize_positions_goes_by_name(tmp_path: Path) -> None:
    for registers in (0, 4):
        torch.save(scattered(SMALL.replace(num_register_tokens=registers)).state_dict(), tmp_path / "weights.pth")
        found = {
            name: load_backbone(tmp_path / "weights.pth", interpolation=name, num_heads=4).config
            for name in ("meta", "hf", "timm")
        }
        ways = {name: (config.interpolate_offset, config.interpolate_antialias) for name, config in found.items()}
        assert ways == {
            "meta": (0.0, True) if registers else (0.1, False),
            "hf": (0.0, bool(registers)),
            "timm": (0.0, True),
        }
        assert load_backbone(tmp_path / "weights.pth", num_heads=4).config == found["meta"]
    with pytest.raises(InputError, match=r"interpolation is 'bicubic'; choose one of meta, hf, timm"):
        load_backbone(tmp_path / "weights.pth", interpolation="bicubic")  # type: ignore[arg-type]


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match=r"holds a model of type 'bert'; give one of type dinov2"):
        load_backbone(tmp_path)


def test_a_part_of_sharded_weights_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
    index = {"weight_map": {"layernorm.weight": "model-00001-of-00001.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"part of the weights .*model-00001-of-00001.safetensors does not exist"):
        load_backbone(tmp_path)


def test_a_folder_tells_the_normalisation_that_its_model_expects(tmp_path: Path) -> None:
    backbone = scattered(SMALL.replace(mean=(0.5, 0.4, 0.3), std=(0.3, 0.2, 0.1)))
    export_backbone(backbone, "hf", tmp_path / "hf")
    assert load_backbone(tmp_path / "hf").config.mean == (0.5, 0.4, 0.3)
    (tmp_path / "timm").mkdir()
    export_backbone(backbone, "timm", tmp_path / "timm" / "model.safetensors")
    config: dict[str, Any] = {"architecture": "vit", "model_args": {"num_heads": 4}, "pretrained_cfg": {}}
    config["pretrained_cfg"] = {"mean": [0.7, 0.5, 0.7], "std": [0.2, 0.2, 0.1]}
    (tmp_path / "timm" / "config.json").write_text(json.dumps(config))
    found = load_backbone(tmp_path / "timm").config
    assert (found.mean, found.std, found.num_heads) == ((0.7, 0.5, 0.7), (0.2, 0.2, 0.1), 4)
    (tmp_path / "hf" / "preprocessor_config.json").write_text('{"image_mean": [0.5], "image_std": [1]}')
    with pytest.raises(InputError, match=r"preprocessor_config.json gives no mean and standard deviation of three"):
        load_backbone(tmp_path / "hf")
