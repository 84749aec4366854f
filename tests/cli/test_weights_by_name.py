"""One flag takes weights by name or path in every verb, and what the name expects comes along."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scattered_backbones import SMALL, scattered

from medino.cli.main import main
from medino.cli.settling import Plan, Settled, settle_start, settle_training
from medino.core import InputError, torch_generator
from medino.data import scan
from medino.features import EvaluationTransform, FeatureTable
from medino.models import KNOWN_WEIGHTS, KnownFile, KnownWeights, ProjectionHead, known_path, load_backbone
from medino.segmentation import Segmentation
from medino.ssl import DINOv2

CONFIG = SMALL.replace(
    name="tiny-one", mask_token=False, interpolate_offset=0.0, interpolate_antialias=True, mean=(0.7, 0.6, 0.5)
)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Known weights in timm's layout, downloaded."""
    file = KnownFile("tiny.safetensors", url="https://example.invalid/tiny.safetensors")
    entry = KnownWeights(CONFIG, "tiny", "noise", file, "timm", "MIT", "yes", "any use", "https://example.invalid")
    monkeypatch.setitem(KNOWN_WEIGHTS, "tiny-one", entry)
    monkeypatch.setenv("MEDINO_WEIGHTS", str(tmp_path / "weights"))
    path = known_path(entry)
    path.parent.mkdir(parents=True)
    save_file(scattered(CONFIG).state_dict(), path)
    return path


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    values = np.random.default_rng(0).integers(0, 256, (3, 40, 40), dtype=np.uint8)
    for place, image in enumerate(values):
        Image.fromarray(image).save(folder / f"{place}.png")
    scan([folder], key=tmp_path / "key").write(tmp_path / "cohort.parquet")
    return tmp_path / "cohort.parquet"


def test_embed_takes_a_name_with_its_normalisation(weights: Path, cohort: Path) -> None:
    output = cohort.parent / "features.parquet"
    words = ["embed", "--manifest", str(cohort), "-o", str(output), "--weights"]
    assert main([*words, "tiny-one"]) == 0
    by_name = FeatureTable.read(output)
    assert by_name.transform == EvaluationTransform.for_backbone(CONFIG).fingerprint
    assert main([*words, "tiny-one", "--size", "48", "--interpolation", "meta"]) == 0
    other = FeatureTable.read(output)
    assert main([*words, "tiny-one", "--size", "48"]) == 0
    assert other.backbone != FeatureTable.read(output).backbone == by_name.backbone


def test_embed_and_export_say_how_to_get_weights_that_are_not_here(
    weights: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights.unlink()
    for words in (["embed", "--manifest", str(cohort), "-o", "f.parquet"], ["export", "--to", "meta", "-o", "b.pth"]):
        assert main([*words, "--weights", "tiny-one"]) == 2
        assert "get them with `medino weights get tiny-one`" in capsys.readouterr().err
        assert main([*words, "--weights", "tiny-two"]) == 2
        assert "did you mean tiny-one?" in capsys.readouterr().err


def test_interpolation_goes_with_weights_and_by_name(
    weights: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["embed", "--manifest", str(cohort), "-o", str(cohort.parent / "f.parquet"), "--interpolation"]
    assert main([*words, "hf", "--backbone", "mini"]) == 2
    assert "leave --interpolation out, or give --weights" in capsys.readouterr().err
    assert main([*words, "bicubic", "--weights", "tiny-one"]) == 2
    assert "interpolation is 'bicubic'; choose one of meta, hf, timm" in capsys.readouterr().err


def test_an_export_is_of_the_backbone_with_the_interpolation_asked_for(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--weights", "tiny-one", "--to", "meta"]
    assert main([*words, "-o", str(tmp_path / "timm.pth")]) == 0
    assert "away from 32 x 32 pixels" in capsys.readouterr().out
    assert main([*words, "-o", str(tmp_path / "meta.pth"), "--interpolation", "meta"]) == 0
    assert "away from" not in capsys.readouterr().out


def test_a_training_takes_a_name_and_a_mask_token_that_starts_from_zeros(weights: Path) -> None:
    with pytest.raises(InputError, match="set mask_token to true in backbone_settings to start one from zeros"):
        DINOv2(weights="tiny-one", prototypes=4)
    small = {"prototypes": 4, "head_hidden_dim": 8, "head_bottleneck_dim": 4}
    module = DINOv2(weights="tiny-one", interpolation="hf", backbone_settings={"mask_token": True}, **small)
    config = module.backbone_config
    assert (config.name, config.mean, config.interpolate_antialias) == ("tiny-one", CONFIG.mean, False)
    token = module.core.student.backbone.mask_token
    assert token is not None
    assert not token.any()


def test_a_segmentation_takes_a_name(weights: Path) -> None:
    module = Segmentation(["background", "disc"], weights="tiny-one", interpolation="meta")
    config = module.features.backbone.config
    assert (config.name, config.mean, config.interpolate_offset) == ("tiny-one", CONFIG.mean, 0.1)


def test_adapt_starts_from_a_name_and_says_what_it_adds(weights: Path, tmp_path: Path) -> None:
    settled = Settled()
    config, backbone = settle_start(settled, Plan(weights="tiny-one"))
    assert backbone is not None
    assert config.mask_token
    assert {choice.name: str(choice.value) for choice in settled.choices} == {
        "start": "tiny-one",
        "mask_token": "zeros",
    }
    given = load_backbone("tiny-one").state_dict()
    assert all(torch.equal(backbone.state_dict()[key], value) for key, value in given.items())
    with pytest.raises(InputError, match="heads was given without weights to go with it; add --weights"):
        settle_start(Settled(), Plan(heads="rad-dino"))
    with pytest.raises(InputError, match=r"file .*none.pth does not exist"):
        settle_start(Settled(), Plan(weights="tiny-one", heads=str(tmp_path / "none.pth")))


def test_adapt_takes_the_widths_of_heads_from_their_file(weights: Path, tmp_path: Path) -> None:
    head = ProjectionHead(32, 7, hidden_dim=10, bottleneck_dim=5, layers=2, generator=torch_generator(0, "published"))
    save_file(head.state_dict(), tmp_path / "dino_head.safetensors")
    settled, plan = Settled(), Plan(weights="tiny-one", heads=str(tmp_path / "dino_head.safetensors"))
    config, start = settle_start(settled, plan)
    _, module = settle_training(settled, plan, start, config, {"batch_size": 8}, images=100, steps=100)
    # Their sizes are in the file, and they don't have to catch up with the backbone first.
    assert not {"prototypes", "head_hidden_dim", "heads_first"} & {choice.name for choice in settled.choices}
    assert "heads_first" not in module
    trained = DINOv2(weights="tiny-one", backbone_settings={"mask_token": True}, **module).core.student.dino_head
    assert torch.equal(trained.last_layer.weight_v, head.last_layer.weight_v)
