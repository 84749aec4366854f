"""An exported backbone gives the same features in the library that it is for, and comes back as it went."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scattered_backbones import SMALL, features, images, scattered

from medino.core import InputError
from medino.models import BackboneConfig, add_lora, backbone_fingerprint, export_backbone, load_backbone
from medino.models.onnx import bicubic_matrix

NETWORKS = {
    "plain": SMALL,
    "registers": SMALL.replace(num_register_tokens=4, interpolate_offset=0.0, interpolate_antialias=True),
    "swiglu": SMALL.replace(ffn_layer="swiglufused"),
    "odd width": SMALL.replace(ffn_layer="swiglufused", ffn_hidden_dim=85),
    "dino v1": SMALL.replace(layerscale_init=None, mask_token=False),
}


@pytest.mark.parametrize("network", ["plain", "registers", "swiglu", "odd width", "dino v1"])
def test_metas_file_comes_back_the_same(network: str, tmp_path: Path) -> None:
    backbone = scattered(NETWORKS[network])
    assert export_backbone(backbone, "meta", tmp_path / "b.pth") == []
    back = load_backbone(tmp_path / "b.pth", num_heads=4)
    assert {key: value.tolist() for key, value in back.state_dict().items()} == {
        key: value.tolist() for key, value in backbone.state_dict().items()
    }
    assert torch.equal(features(back, images(48)), features(backbone, images(48)))


@pytest.mark.parametrize("network", ["plain", "registers", "swiglu", "odd width"])
def test_timms_file_comes_back_with_the_same_features(network: str, tmp_path: Path) -> None:
    backbone = scattered(NETWORKS[network])
    settings, *notes = export_backbone(backbone, "timm", tmp_path / "b.safetensors")
    told = json.loads(settings[settings.index("{") : -1])
    assert (told["img_size"], told["patch_size"], told["depth"], told["num_heads"]) == (32, 8, 4, 4)
    assert any("mask token" in note for note in notes)
    assert any("away from 32 x 32" in note for note in notes) == (network != "registers")
    back = load_backbone(tmp_path / "b.safetensors", num_heads=4)
    torch.testing.assert_close(features(back, images()), features(backbone, images()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("network", ["plain", "registers", "swiglu"])
@pytest.mark.parametrize("side", [32, 48])
def test_hugging_face_loads_the_folder_and_finds_the_same_features(network: str, side: int, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = NETWORKS[network]
    if not config.num_register_tokens:
        # As Hugging Face resizes; otherwise a note says that features differ away from the native grid.
        assert export_backbone(scattered(config), "hf", tmp_path / "other") != []
        config = config.replace(interpolate_offset=0.0)
    backbone = scattered(config)
    assert export_backbone(backbone, "hf", tmp_path / "b") == []
    theirs, loading = transformers.AutoModel.from_pretrained(tmp_path / "b", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    with torch.no_grad():
        found = theirs.eval()(images(side)).last_hidden_state
    torch.testing.assert_close(found, features(backbone, images(side)), rtol=1e-5, atol=1e-5)
    assert json.loads((tmp_path / "b" / "preprocessor_config.json").read_text())["image_mean"] == list(config.mean)
    assert torch.equal(features(load_backbone(tmp_path / "b"), images(side)), features(backbone, images(side)))


@pytest.mark.parametrize("network", ["plain", "registers", "swiglu"])
def test_onnx_finds_the_same_features_at_any_size(network: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    backbone = scattered(NETWORKS[network])
    export_backbone(backbone, "onnx", tmp_path / "b.onnx")
    session = runtime.InferenceSession(tmp_path / "b.onnx")
    names = [output.name for output in session.get_outputs()]
    for shape in ((1, 3, 32, 32), (3, 3, 48, 24)):
        batch = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))
        with torch.no_grad():
            expected = backbone(batch)
        found = dict(zip(names, session.run(None, {"images": batch.numpy()}), strict=True))
        np.testing.assert_allclose(found["class_token"], expected.class_token, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["patches"], expected.patches, rtol=1e-4, atol=1e-5)
        if network == "registers":
            np.testing.assert_allclose(found["registers"], expected.registers, rtol=1e-4, atol=1e-5)


def test_weights_too_large_for_a_graph_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.setattr("torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD", 0)
    backbone = scattered()
    export_backbone(backbone, "onnx", tmp_path / "b.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b.onnx", "b.onnx.data"]
    found, _ = runtime.InferenceSession(tmp_path / "b.onnx").run(None, {"images": images(32).numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, backbone(images(32)).class_token, rtol=1e-4, atol=1e-5)


def test_adapters_are_part_of_what_is_exported(tmp_path: Path) -> None:
    backbone = scattered()
    add_lora(backbone, 2, 2.0, ["attn.qkv"])
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if "lora_b" in name:
                parameter.fill_(0.1)
    export_backbone(backbone, "meta", tmp_path / "b.pth")
    back = load_backbone(tmp_path / "b.pth", num_heads=4)
    torch.testing.assert_close(features(back, images()), features(backbone, images()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("size", "wanted"), [(4, 7), (16, 5), (7, 7), (37, 16), (1, 3)])
def test_bicubic_interpolation_as_a_matrix_is_pytorchs(size: int, wanted: int) -> None:
    line = torch.from_numpy(np.random.default_rng(0).normal(size=size).astype(np.float32))
    expected = line
    if size != wanted:
        two = torch.nn.functional.interpolate(
            line.expand(1, 1, size, size), scale_factor=((wanted + 0.1) / size,) * 2, mode="bicubic"
        )
        expected = two[0, 0, 0]
    torch.testing.assert_close(bicubic_matrix(size, wanted, 0.1) @ line, expected, rtol=1e-4, atol=1e-5)


def test_a_network_that_the_other_library_can_not_express_is_refused(tmp_path: Path) -> None:
    for network, words in (("dino v1", "LayerScale and a mask token"), ("odd width", "can't be 85 wide")):
        with pytest.raises(InputError, match=words):
            export_backbone(scattered(NETWORKS[network]), "hf", tmp_path / "b")
    with pytest.raises(InputError, match=r"does not end in .onnx"):
        export_backbone(scattered(BackboneConfig(**{**vars(SMALL), "depth": 1})), "onnx", tmp_path / "b.pth")
    with pytest.raises(InputError, match=r"can't be exported to 'keras'; choose one of meta, hf, timm, onnx"):
        export_backbone(scattered(), "keras", tmp_path / "b")  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file is a file, and for hf a folder is written"):
        export_backbone(scattered(), "hf", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("target", ["meta", "timm", "hf"])
def test_an_export_that_fails_leaves_nothing_behind(
    target: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("medino.models.export.save_file", full)
    monkeypatch.setattr("torch.save", full)
    path = tmp_path / {"meta": "b.pth", "timm": "b.safetensors", "hf": "b"}[target]
    if there and target == "hf":
        path.mkdir()
    with pytest.raises(InputError, match=r"can't be written .* free some space"):
        export_backbone(scattered(), target, path)  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.rglob("*")] == (["b"] if there and target == "hf" else [])


def test_an_export_leaves_the_backbone_as_it_is(tmp_path: Path) -> None:
    backbone = scattered().train()
    before = backbone_fingerprint(backbone)
    export_backbone(backbone, "meta", tmp_path / "b.pth")
    assert backbone_fingerprint(backbone) == before
    assert backbone.training
