"""Every shipped experiment runs through the real command, and says what it is for."""

import inspect
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from medino.cli.main import main
from medino.data import PhantomArchive, assign_splits, scan, write_phantom
from medino.models import PRESETS, build_backbone, save_backbone
from medino.probes import read_evidence, summaries
from medino.ssl import CONTINUED, CONTINUED_EXPLORA, CONTINUED_LORA, SMALL_SCALE, DINOv2, small_data_settings
from medino.ssl.small_data import arguments

FOLDER = Path(__file__).resolve().parents[1] / "experiments"
FILES = sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*.yaml"))
PRETRAINING = [path for path in FILES if path.parts[0] == "pretrain"]
EVIDENCE = [path for path in FILES if path.parts[0] == "fewshot" and path.stem != "study"]
MASK_STUDIES = [Path("segment") / f"{name}.yaml" for name in ("cells", "hippocampus", "lungs", "nuclei")]
SEGMENTATION = [path for path in FILES if path.parts[0] == "segment" and path not in MASK_STUDIES]

RECIPES = {"continue_full": CONTINUED, "continue_lora": CONTINUED_LORA, "continue_explora": CONTINUED_EXPLORA}
"""The ways to continue of docs/adaptation.md."""

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}

SMALLER = {
    "--trainer.accelerator": "cpu",
    "--trainer.precision": "32-true",
    "--trainer.fast_dev_run": "true",
    "--data.init_args.batch_size": "4",
    "--data.init_args.num_workers": "0",
}
"""What a test changes: where it runs and how much of it."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> PhantomArchive:
    """A phantom archive with labels and masks, 1 the lung and 2 the finding."""
    folder = tmp_path_factory.mktemp("archive")
    return write_phantom(folder, patients=18, images_per_patient=1, size=64, seed=1)


@pytest.fixture(scope="module")
def radiographs(archive: PhantomArchive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the archive."""
    folder = tmp_path_factory.mktemp("radiographs")
    manifest = scan([archive.images], labels=archive.labels, masks=archive.masks)
    assign_splits(manifest, FRACTIONS, seed=0).write(folder / "cohort.parquet")
    return folder / "cohort.parquet"


@pytest.fixture
def few_training_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train the network of the baseline `cnn` for two steps."""
    monkeypatch.setattr("medino.probes.end_to_end.STEPS", 2)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of some coloured tiles."""
    folder = tmp_path_factory.mktemp("tiles")
    generator = np.random.default_rng(0)
    (folder / "images").mkdir()
    for index in range(6):
        values = generator.integers(60, 250, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / "images" / f"{index}.png")
    manifest = scan([folder / "images"])
    manifest.write(folder / "cohort.parquet")
    return folder / "cohort.parquet"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of untrained weights: a ViT-S/14 of four blocks, and the mini backbone."""
    folder = tmp_path_factory.mktemp("weights")
    small = PRESETS["small"].replace(depth=4)
    for name, config in (("small", small), ("mini", "mini")):
        save_backbone(build_backbone(config), folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in ("small", "mini")}


def settings(path: Path) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / path).read_text(encoding="utf-8"))


def words(verb: str, path: Path, output: Path, options: dict[str, Any]) -> list[str]:
    return [verb, "--config", str(FOLDER / path), "-o", str(output)] + [
        str(word) for option in options.items() for word in option
    ]


@pytest.mark.parametrize("path", PRETRAINING, ids=str)
def test_pretraining_takes_a_step(
    path: Path, radiographs: Path, tiles: Path, weights: dict[str, Path], tmp_path: Path
) -> None:
    options = {
        **SMALLER,
        "--data.init_args.manifest": tiles if "histology" in path.name else radiographs,
        "--data.init_args.num_local_crops": "1",
    }
    if "weights" in settings(path)["model"]["init_args"]:
        options |= {"--model.init_args.weights": weights["small"], "--model.init_args.prototypes": "1024"}
    assert main(words("fit", path, tmp_path / "run", options)) == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("path", SEGMENTATION, ids=str)
def test_segmentation_takes_a_step(path: Path, radiographs: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    options = {
        **SMALLER,
        "--data.init_args.manifest": radiographs,
        "--data.init_args.transform.size": "112",
        "--model.init_args.weights": weights["mini" if "cpu" in path.name else "small"],
    }
    given = settings(path)["data"]["init_args"]
    if "class_values" in given:
        lung = "[1, 2]" if given.get("overlapping") else "1"
        options |= {
            "--data.init_args.class_values": f"{{background: 0, lung: {lung}, finding: 2}}",
            "--model.init_args.class_names": "[background, lung, finding]",
        }
    assert main(words("fit", path, tmp_path / "run", options)) == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("path", MASK_STUDIES, ids=str)
def test_a_study_of_masks_compares_its_four(
    path: Path, radiographs: Path, weights: dict[str, Path], tmp_path: Path
) -> None:
    options = {
        "--manifest": radiographs,
        "--weights": f"learned={weights['mini']}",
        "--class_values": "{background: 0, lung: 1, finding: 2}",
        "--maps": tmp_path / "maps",
        "--shots": "1",
        "--episodes": "1",
        "--replicates": "10",
        "--size": "32",
        "--training.steps": "2",
        "--unet_steps": "1",
    }
    assert main(words("fewshot_masks", path, tmp_path / "run", options)) == 0
    evidence = read_evidence(tmp_path / "run" / "evidence.parquet")
    assert {row.backbone for row in summaries(evidence)} == {"pixels", "random", "learned", "unet"}


def test_the_study_compares_what_was_embedded(radiographs: Path, tmp_path: Path, few_training_steps: None) -> None:
    sources = {"start": ["--backbone", "mini"], "adapted": ["--backbone", "mini", "--seed", "1"]}
    for name, source in sources.items():
        output = tmp_path / f"{name}.parquet"
        assert main(["embed", "--manifest", str(radiographs), "-o", str(output), *source]) == 0
    options = {"--manifest": radiographs, "--shots": "2", "--episodes": "3", "--replicates": "50"}
    features = [f"{name}={tmp_path / name}.parquet" for name in sources]
    study = Path("fewshot/study.yaml")
    assert main([*words("fewshot", study, tmp_path / "run", options), "--features", *features]) == 0
    evidence = read_evidence(tmp_path / "run" / "evidence.parquet")
    assert set(evidence["backbone"].to_pylist()) == {*sources, "thumbnail", "random", "cnn"}


@pytest.mark.parametrize("path", EVIDENCE, ids=str)
def test_the_way_from_files_to_evidence_is_one_command(
    path: Path, archive: PhantomArchive, tmp_path: Path, few_training_steps: None
) -> None:
    given = {
        "--data": archive.images,
        "--labels": archive.labels,
        "--steps": "1",
        "--batch_size": "2",
        "--num_workers": "0",
        "--shots": "[1,2]",
        "--episodes": "2",
    }
    assert main(words("adapt", path, tmp_path / "run", given)) == 0
    evidence = read_evidence(tmp_path / "run" / "evidence.parquet")
    assert set(evidence["backbone"].to_pylist()) == {"start", "adapted", *settings(path)["baselines"]}
    assert {row.patients_seen for row in summaries(evidence)} == {0}


@pytest.mark.parametrize("path", PRETRAINING, ids=str)
def test_the_recipe_is_one_of_the_package(path: Path) -> None:
    given = settings(path)["model"]["init_args"]
    recipe = SMALL_SCALE if path.stem.endswith("_cpu") else RECIPES.get(path.stem, CONTINUED)
    assert {name: given.get(name) for name in recipe} == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_the_ways_to_continue_have_the_settings_that_were_measured(name: str) -> None:
    file = settings(Path("pretrain") / f"{name}.yaml")
    batch_size, steps = file["data"]["init_args"]["batch_size"], file["trainer"]["max_steps"]
    width = PRESETS["small"].embed_dim
    derived = arguments(small_data_settings(10_000, batch_size, steps, from_weights=True, embed_dim=width))
    defaults = {each: parameter.default for each, parameter in inspect.signature(DINOv2).parameters.items()}
    assert {**defaults, **derived, **file["model"]["init_args"]} == {
        **defaults,
        **file["model"]["init_args"],
        **derived,
        **RECIPES[name],
    }


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_says_its_command_and_its_cost_and_names_no_place(path: Path) -> None:
    text = (FOLDER / path).read_text(encoding="utf-8")
    head = "".join(itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()))
    assert f"--config experiments/{path}" in head
    assert "Time, peak memory, result:" in head
    for value in leaves(settings(path)):
        assert not str(value).startswith(("/", "~"))


def test_the_table_lists_every_file() -> None:
    table = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert listed == {str(path) for path in FILES}


def leaves(value: Any) -> list[Any]:
    """All scalars of a nested configuration."""
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in leaves(each)]
    return [leaf for each in value for leaf in leaves(each)] if isinstance(value, list) else [value]
