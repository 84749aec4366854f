"""`medino embed` writes features of a manifest, by weights, by a run, by an untrained backbone or by thumbnails."""

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from medino.cli.main import main
from medino.core import RunFolder, write_provenance
from medino.data import Manifest, scan
from medino.features import EvaluationTransform, FeatureTable
from medino.models import PRESETS, backbone_fingerprint, build_backbone, save_backbone

TINY = PRESETS["mini"].replace(embed_dim=24, depth=4, image_size=32)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A manifest of five images, each its own patient."""
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for place in range(5):
        Image.fromarray(generator.integers(0, 256, (40, 40), dtype=np.uint8)).save(folder / f"{place}.png")
    scan([folder], key=tmp_path / "key").write(tmp_path / "cohort.parquet")
    return tmp_path / "cohort.parquet"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_backbone(build_backbone(TINY, seed=3), tmp_path / "run" / "backbone.safetensors")
    return tmp_path / "run" / "backbone.safetensors"


def words(cohort: Path, *parts: object) -> list[str]:
    return ["embed", "--manifest", str(cohort), "-o", str(cohort.parent / "features.parquet"), *map(str, parts)]


def written(cohort: Path) -> FeatureTable:
    return FeatureTable.read(cohort.parent / "features.parquet")


def refusal(arguments: list[str], cohort: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a refused command prints; nothing is written."""
    assert main(arguments) == 2
    assert not (cohort.parent / "features.parquet").exists()
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_features_say_what_they_were_made_from(cohort: Path, weights: Path) -> None:
    assert main(words(cohort, "--weights", weights)) == 0
    table = written(cohort)
    assert len(table) == 5
    assert table.backbone == backbone_fingerprint(build_backbone(TINY, seed=3))
    assert table.manifest == Manifest.read(cohort).fingerprint
    assert table.transform == EvaluationTransform.for_backbone(TINY).fingerprint
    assert table.vectors("last_four")[1].shape == (5, 4 * 24)


def test_a_runs_backbone_brings_the_patients_it_saw(cohort: Path, weights: Path) -> None:
    run = RunFolder(weights.parent)
    write_provenance(run, seed=0, fingerprints={}, pretraining_patients=["p1", "p2"], patient_unit="patient")
    for given in (run.path, weights):
        assert main(words(cohort, "--weights", given)) == 0
        assert written(cohort).facts["pretraining_patients"] == ["p1", "p2"]


def test_an_untrained_backbone_is_a_baseline(cohort: Path) -> None:
    assert main(words(cohort, "--backbone", "mini", "--size", 32, "--batch-size", 2)) == 0
    assert written(cohort).backbone == backbone_fingerprint(build_backbone("mini"))
    assert written(cohort).facts["untrained"]


def test_thumbnails_need_no_backbone(cohort: Path) -> None:
    assert main(words(cohort, "--thumbnail")) == 0
    assert written(cohort).backbone == "thumbnail"


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the current folder that makes a network of several kinds."""
    (tmp_path / "own_networks.py").write_text(
        "import torch\n"
        "class Means(torch.nn.Module):\n"
        "    def forward(self, images):\n"
        "        assert not self.training\n"
        "        return images.mean(dim=(2, 3))\n"
        "class Maps(torch.nn.Module):\n"
        "    def forward(self, images):\n"
        "        return images\n"
        "class Broken(torch.nn.Module):\n"
        "    def forward(self, images):\n"
        "        raise ValueError('two\\nlines')\n"
        "def weights():\n"
        "    return {}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)


def test_any_network_is_shown_images_by_imagenet_s_mean_and_deviation(cohort: Path, networks: None) -> None:
    assert main(words(cohort, "--module", "own_networks:Means", "--size", 40)) == 0
    table = written(cohort)
    manifest = Manifest.read(cohort)
    for sample_id, vector in zip(*table.vectors("last_four"), strict=True):
        (row,) = np.flatnonzero(manifest.column("sample_id") == sample_id)
        grey = np.asarray(Image.open(cohort.parent / "images" / manifest.sample(int(row)).path)).mean() / 255
        expected = (grey - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
        np.testing.assert_allclose(vector, expected, atol=1e-4)
    assert table.facts["backbone"] == "own_networks:Means"
    # Whose images it was trained on, nobody here can tell.
    assert table.facts["pretraining_patients"] is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_networks", "'own_networks' is not named as package.module:factory"),
        ("no_networks:Means", "ModuleNotFoundError: No module named 'no_networks'"),
        ("own_networks:Medians", "has no attribute 'Medians'"),
        ("own_networks:weights", "makes a dict, no torch.nn.Module"),
        ("own_networks:Maps", "returns (5, 3, 224, 224) for 5 images"),
        ("own_networks:Broken", "fails on images of shape (5, 3, 224, 224) (ValueError: two lines)"),
    ],
)
def test_what_is_no_network_is_said_in_one_line(
    name: str, message: str, cohort: Path, networks: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(words(cohort, "--module", name), cohort, capsys)


def test_intensity_is_part_of_the_transform(cohort: Path) -> None:
    assert main(words(cohort, "--backbone", "mini", "--size", 32)) == 0
    before = written(cohort)
    assert main(words(cohort, "--backbone", "mini", "--size", 32, "--intensity.window", "percentile")) == 0
    after = written(cohort)
    assert before.transform != after.transform
    assert after.facts["transform"]["intensity"]["window"] == "percentile"
    assert (before.vectors("class")[1] != after.vectors("class")[1]).any()


def test_what_can_not_be_decoded_moves_to_the_rejects(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = cohort.parent / "images" / "2.png"
    broken.write_bytes(broken.read_bytes()[:400])
    assert main(words(cohort, "--thumbnail")) == 0
    assert "1 images could not be decoded" in capsys.readouterr().out
    manifest = Manifest.read(cohort)
    assert (len(manifest), [reject.path for reject in manifest.rejects]) == (4, ["2.png"])
    written(cohort).check_made_from(manifest, "features")


def test_a_config_file_gives_the_same_features(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(cohort, "--thumbnail")) == 0
    expected = written(cohort)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(words(cohort, "--thumbnail", "--print_config"))
    config = cohort.parent / "embed.yaml"
    config.write_text(capsys.readouterr().out)
    assert yaml.safe_load(config.read_text())["thumbnail"] is True
    assert main(["embed", "--config", str(config)]) == 0
    np.testing.assert_array_equal(written(cohort).vectors("class")[1], expected.vectors("class")[1])


def test_an_unknown_key_is_refused(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = cohort.parent / "embed.yaml"
    config.write_text("windows_size: 3\n")
    assert "windows_size" in refusal(words(cohort, "--thumbnail", "--config", config), cohort, capsys)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "nothing given to embed with"),
        (("--thumbnail", "--backbone", "mini"), "backbone and thumbnail given"),
        (("--weights", "nowhere.pth"), "weights file nowhere.pth does not exist"),
        (("--backbone", "huge"), "no backbone preset 'huge'"),
        (("--backbone", "mini", "--size", "30"), "30 x 30"),
        (("--backbone", "mini", "--fit", "stretch"), "fit is 'stretch'"),
        (("--thumbnail", "--size", "30"), "leave --size"),
        (("--thumbnail", "--batch-size", "0"), "batch-size has to be at least 1"),
        (("--thumbnail", "--intensity.window", "moon"), "no window 'moon'"),
        (("--backbone", "mini", "--device", "abacus"), "device 'abacus' can't be used"),
    ],
)
def test_what_can_not_be_used_is_said_in_one_line(
    parts: tuple[str, ...], message: str, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(words(cohort, *parts), cohort, capsys)


def test_a_missing_manifest_and_a_wrong_output_are_refused(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = ["embed", "--manifest", "none.parquet", "-o", str(cohort.parent / "features.parquet"), "--thumbnail"]
    assert "manifest none.parquet does not exist" in refusal(missing, cohort, capsys)
    wrong = ["embed", "--manifest", str(cohort), "-o", str(cohort.parent), "--thumbnail"]
    assert "no file name that ends in .parquet" in refusal(wrong, cohort, capsys)


def test_an_image_smaller_than_a_patch_is_refused_and_can_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, side in (("a", 40), ("tiny", 5)):
        Image.fromarray(np.full((side, 40), 7, dtype=np.uint8)).save(folder / f"{name}.png")
    cohort = tmp_path / "cohort.parquet"
    assert main(["scan", str(folder), "-o", str(cohort)]) == 0
    capsys.readouterr()
    line = refusal(words(cohort, "--backbone", "mini"), cohort, capsys)
    assert "1 of 2 images are smaller than a patch of 8 pixels" in line
    assert "tiny.png: 5 x 40" in line
    assert "--min-side 8" in line
    assert main(["scan", str(folder), "-o", str(cohort), "--min-side", "8"]) == 0
    assert [(reject.path, reject.reason) for reject in Manifest.read(cohort).rejects] == [
        ("tiny.png", "smaller than the 8 pixels asked for (--min-side)")
    ]
    assert main(words(cohort, "--backbone", "mini")) == 0
    assert len(written(cohort)) == 1
