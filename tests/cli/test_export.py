"""`medino export` writes a backbone that another library, and medino itself, reads."""

from pathlib import Path

import pytest

from medino.cli.main import main
from medino.models import PRESETS, build_backbone, load_backbone, save_backbone


def test_a_backbone_is_exported_and_what_differs_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone = build_backbone(PRESETS["mini"].replace(embed_dim=64, num_heads=1, depth=2, image_size=32), seed=3)
    save_backbone(backbone, tmp_path / "backbone.safetensors")
    weights = ["export", "--weights", str(tmp_path / "backbone.safetensors")]
    assert main([*weights, "--to", "hf", "-o", str(tmp_path / "hf")]) == 0
    assert "note      away from 32 x 32 pixels" in capsys.readouterr().out
    for key, value in load_backbone(tmp_path / "hf").state_dict().items():
        assert value.equal(backbone.state_dict()[key]), key
    assert main([*weights, "--to", "hf", "-o", str(tmp_path / "hf")]) == 2
    assert "is a folder with something in it" in capsys.readouterr().err
