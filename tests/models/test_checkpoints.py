"""Backbones come back from files as they went in, and files that don't fit are refused in words."""

import dataclasses
import fractions
import json
from pathlib import Path

import pytest
import torch
from golden_cases import GoldenCase, golden_cases
from safetensors.torch import load_file, save_file

from medino.core import InputError
from medino.models import BackboneConfig, VisionTransformer, backbone_fingerprint, build_backbone, load_backbone
from medino.models import save_backbone as save

SMALL = BackboneConfig(
    name="test", embed_dim=32, depth=2, num_heads=4, patch_size=8, image_size=32, mean=(0.1, 0.2, 0.3), std=(1, 2, 3)
)
CASES = golden_cases()


@pytest.fixture
def backbone() -> VisionTransformer:
    return build_backbone(SMALL, seed=1).eval()


def same_weights(a: VisionTransformer, b: VisionTransformer) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_saved_backbone_comes_back_whole(backbone: VisionTransformer, tmp_path: Path) -> None:
    save(backbone, tmp_path / "b.safetensors", facts={"steps": 7})
    again = load_backbone(tmp_path / "b.safetensors")
    assert again.config == backbone.config
    assert same_weights(again, backbone)
    assert not again.training
    assert all(parameter.requires_grad for parameter in again.parameters())
    description = json.loads((tmp_path / "b.json").read_text())
    assert description["schema_version"] == 1
    assert description["facts"] == {"steps": 7}
    assert description["fingerprint"] == backbone_fingerprint(again)


def test_a_run_folder_stands_for_its_backbone(backbone: VisionTransformer, tmp_path: Path) -> None:
    save(backbone, tmp_path / "backbone.safetensors")
    assert same_weights(load_backbone(tmp_path), backbone)


def test_settings_can_be_overridden(backbone: VisionTransformer, tmp_path: Path) -> None:
    save(backbone, tmp_path / "b.safetensors")
    again = load_backbone(tmp_path / "b.safetensors", drop_path_rate=0.3, interpolate_offset=0.0)
    assert again.config == SMALL.replace(drop_path_rate=0.3, interpolate_offset=0.0)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bare_state_dicts_load_with_their_settings_inferred(case: GoldenCase, ending: str, tmp_path: Path) -> None:
    state = case.part("init/backbone.")
    path = tmp_path / f"meta{ending}"
    torch.save(state, path) if ending == ".pth" else save_file(state, path)
    loaded = load_backbone(path, num_heads=case.config.num_heads)
    decided_by_shapes = ("embed_dim", "depth", "patch_size", "image_size", "num_register_tokens", "ffn_layer")
    for field in (*decided_by_shapes, "mlp_ratio", "mask_token", "drop_path"):
        assert getattr(loaded.config, field) == getattr(case.config, field), field
    assert (loaded.config.layerscale_init is None) == (case.config.layerscale_init is None)
    assert all(torch.equal(loaded.state_dict()[key], state[key]) for key in state)


def test_published_models_are_resized_as_meta_trained_them(tmp_path: Path) -> None:
    for registers, offset, antialias in ((0, 0.1, False), (4, 0.0, True)):
        plain = build_backbone(SMALL.replace(num_register_tokens=registers))
        torch.save(plain.state_dict(), tmp_path / "w.pth")
        config = load_backbone(tmp_path / "w.pth").config
        assert (config.interpolate_offset, config.interpolate_antialias) == (offset, antialias)


@pytest.mark.parametrize(("width", "heads"), [(192, 3), (384, 6), (768, 12), (1024, 16), (1536, 24)])
def test_heads_follow_the_published_widths(width: int, heads: int, tmp_path: Path) -> None:
    state = build_backbone(SMALL.replace(embed_dim=width, num_heads=heads, depth=1, mlp_ratio=1.0)).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    assert load_backbone(tmp_path / "w.safetensors").config.num_heads == heads


def test_half_precision_weights_are_loaded_as_float32(backbone: VisionTransformer, tmp_path: Path) -> None:
    torch.save({key: value.half() for key, value in backbone.state_dict().items()}, tmp_path / "w.pth")
    assert {value.dtype for value in load_backbone(tmp_path / "w.pth").state_dict().values()} == {torch.float32}


def refusal_of(path: Path, **overrides: object) -> str:
    with pytest.raises(InputError) as caught:
        load_backbone(path, **overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_weights_that_do_not_fit_name_key_found_and_expected(backbone: VisionTransformer, tmp_path: Path) -> None:
    save(backbone, tmp_path / "b.safetensors")
    text = refusal_of(tmp_path / "b.safetensors", embed_dim=48)
    assert "cls_token is (1, 1, 32), expected (1, 1, 48)" in text
    assert "more" in text


def test_missing_and_foreign_keys_are_named(backbone: VisionTransformer, tmp_path: Path) -> None:
    state = backbone.state_dict()
    del state["norm.bias"]
    state["other.weight"] = torch.zeros(3, 32)
    torch.save(state, tmp_path / "w.pth")
    text = refusal_of(tmp_path / "w.pth")
    assert "norm.bias is missing, expected (32,)" in text
    assert "other.weight is (3, 32), expected no such key" in text


def test_a_file_that_needs_unpickling_is_refused_with_the_reason(backbone: VisionTransformer, tmp_path: Path) -> None:
    torch.save({"teacher": backbone.state_dict(), "args": fractions.Fraction(1, 2)}, tmp_path / "full.pth")
    text = refusal_of(tmp_path / "full.pth")
    assert "fractions.Fraction" in text
    assert "save its state dict alone" in text


def test_a_checkpoint_of_something_else_is_refused_with_the_way_out(
    backbone: VisionTransformer, tmp_path: Path
) -> None:
    torch.save({"generator": backbone.state_dict(), "epoch": 3}, tmp_path / "full.pth")
    assert "'generator', 'epoch'" in refusal_of(tmp_path / "full.pth")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off"], ids=["empty", "html", "cut"]
)
def test_files_that_are_no_checkpoints_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert str(tmp_path / name) in refusal_of(tmp_path / name)


def test_weights_of_another_kind_of_network_are_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3, 3)}, tmp_path / "resnet.pth")
    text = refusal_of(tmp_path / "resnet.pth")
    assert "'pos_embed' is missing" in text
    assert "conv1.weight" in text


def test_a_list_is_not_a_state_dict(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    assert "holds a list" in refusal_of(tmp_path / "list.pth")


def test_a_missing_file_an_empty_folder_and_an_unknown_setting_are_refused(
    backbone: VisionTransformer, tmp_path: Path
) -> None:
    assert "does not exist" in refusal_of(tmp_path / "nowhere.pth")
    assert "holds no backbone.safetensors" in refusal_of(tmp_path)
    save(backbone, tmp_path / "b.safetensors")
    assert "no setting 'depht'" in refusal_of(tmp_path / "b.safetensors", depht=3)


def test_own_weights_without_their_settings_are_refused(backbone: VisionTransformer, tmp_path: Path) -> None:
    save(backbone, tmp_path / "b.safetensors")
    (tmp_path / "b.json").unlink()
    assert "b.json" in refusal_of(tmp_path / "b.safetensors")
    (tmp_path / "b.json").write_text('{"schema_version": 99}')
    assert "schema version 99" in refusal_of(tmp_path / "b.safetensors")
    (tmp_path / "b.json").write_text('{"schema_version": 1, "config": {"mean": [0, 0, 0], "std": [1, 1, 1], "dim": 3}}')
    assert "does not describe a backbone" in refusal_of(tmp_path / "b.safetensors")


def test_backbones_are_written_as_safetensors_only(backbone: VisionTransformer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.safetensors"):
        save(backbone, tmp_path / "b.pth")
    assert not list(tmp_path.iterdir())


def test_saved_weights_keep_the_published_names(backbone: VisionTransformer, tmp_path: Path) -> None:
    save(backbone, tmp_path / "b.safetensors")
    assert set(load_file(tmp_path / "b.safetensors")) >= {"cls_token", "mask_token", "blocks.1.mlp.fc2.bias"}


def test_the_fingerprint_is_of_what_decides_the_features(backbone: VisionTransformer) -> None:
    fingerprint = backbone_fingerprint(backbone)
    twin = build_backbone(dataclasses.replace(SMALL, name="other", drop_path_rate=0.2), seed=1)
    assert backbone_fingerprint(twin) == fingerprint
    assert backbone_fingerprint(build_backbone(SMALL, seed=2)) != fingerprint
    assert backbone_fingerprint(build_backbone(SMALL.replace(interpolate_offset=0.0), seed=1)) != fingerprint
    with torch.no_grad():
        twin.blocks[1].mlp.fc2.bias[3] += 1e-6
    assert backbone_fingerprint(twin) != fingerprint


def test_the_name_of_a_file_does_not_become_the_backbone_s(backbone: VisionTransformer, tmp_path: Path) -> None:
    torch.save(backbone.state_dict(), tmp_path / "quillfeather.pth")
    loaded = load_backbone(tmp_path / "quillfeather.pth")
    save(loaded, tmp_path / "kept.safetensors")
    for kept in (tmp_path / "kept.safetensors", tmp_path / "kept.json"):
        assert b"quillfeather" not in kept.read_bytes()
