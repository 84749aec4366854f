"""`medino embed --maps` and `medino fewshot --probes`: what is learned from more of a unit than one vector."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medino.cli.main import main
from medino.data import scan
from medino.features import FeatureTable, MapStore
from medino.models import PRESETS, build_backbone, save_backbone
from medino.probes import differences, read_evidence, summaries

TINY = PRESETS["mini"].replace(embed_dim=24, depth=4, image_size=32)

PROBES = ("logistic_max", "linear_grid", "abmil", "attentive")


@pytest.fixture(autouse=True)
def short_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medino.probes.attention.STEPS", 20)
    monkeypatch.setattr("medino.probes.linear_grid.STEPS", 20)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Two classes of twelve patients with three images each, one of which is brighter in one class. No splits."""
    folder, lines = tmp_path / "images", ["path,label,patient"]
    folder.mkdir()
    generator = np.random.default_rng(0)
    for place in range(24):
        for image in range(3):
            values = generator.integers(0, 155, (32, 32)) + 100 * (place % 2 and image == 0)
            Image.fromarray(values.astype(np.uint8)).save(folder / f"{place}-{image}.png")
            lines.append(f"{place}-{image}.png,{('dark', 'bright')[place % 2]},patient {place}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    scan([folder], labels=tmp_path / "labels.csv", key=tmp_path / "key", name="greys").write(
        tmp_path / "cohort.parquet"
    )
    for seed in (0, 1):
        save_backbone(build_backbone(TINY, seed=seed), tmp_path / f"{seed}.safetensors")
    return tmp_path / "cohort.parquet"


def embedded(cohort: Path, name: str, *more: object) -> int:
    folder = cohort.parent
    output = ["-o", folder / f"{name}.parquet", *more]
    return main(["embed", "--manifest", str(cohort), *map(str, output)])


def studied(cohort: Path, names: list[str], *more: object) -> int:
    folder = cohort.parent
    features = [f"{name}={folder / name}.parquet" for name in names]
    given = ["--manifest", str(cohort), "--features", *features, "-o", str(folder / "evidence.parquet")]
    few = ["--shots", "1", "3", "--episodes", "2", "--replicates", "50", "--baselines", "none"]
    return main(["fewshot", *given, *few, *map(str, more)])


def with_maps(cohort: Path, name: str, seed: int) -> int:
    return embedded(cohort, name, "--weights", cohort.parent / f"{seed}.safetensors", "--maps", cohort.parent / name)


def test_bags_heads_and_patch_tokens_are_measured_beside_each_other(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert with_maps(cohort, "one", 0) == with_maps(cohort, "other", 1) == 0
    printed = capsys.readouterr().out
    assert "72 images" in printed
    assert "in fp16: 55.3 KB" in printed
    assert f"maps      {cohort.parent / 'one'}" in printed
    store, table = MapStore.open(cohort.parent / "one"), FeatureTable.read(cohort.parent / "one.parquet")
    means = store.tokens(np.arange(72)).mean(dim=(1, 2)).numpy()
    np.testing.assert_allclose(means, table.vectors("mean_patch")[1], atol=2e-3)

    assert embedded(cohort, "floor", "--thumbnail") == 0
    maps = [f"{name}={cohort.parent / name}" for name in ("one", "other")]
    names = ["one", "other", "floor"]
    assert studied(cohort, names, "--unit", "patient", "--probes", *PROBES, "--maps", *maps) == 0
    evidence = read_evidence(cohort.parent / "evidence.parquet")
    for probe in PROBES:
        rows = summaries(evidence, probe=probe, metric="auroc", shots=3)
        # The floor has no patches.
        assert [row.backbone for row in rows] == (names[:2] if probe == "attentive" else names)
        compared = differences(evidence, probe=probe, metric="auroc", shots=3)
        assert {row.compared_with for row in compared} == {"one"}
        assert len(compared) == len(rows) - 1


def test_maps_and_features_have_to_belong_together(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert with_maps(cohort, "one", 0) == with_maps(cohort, "other", 1) == 0
    capsys.readouterr()
    for more, message in [
        (("--probes", "attentive"), "learns from patch tokens"),
        (("--maps", f"two={cohort.parent / 'one'}"), "there are maps of 'two' and no features of that name (one)"),
        (("--maps", f"one={cohort.parent / 'other'}"), "the maps and the features of 'one' are of two backbones"),
        (("--maps", f"one={cohort.parent / 'none'}"), "holds no maps"),
    ]:
        assert studied(cohort, ["one"], *more) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert message in line
    assert embedded(cohort, "floor", "--thumbnail", "--maps", cohort.parent / "floor") == 2
    assert "thumbnail has no patch tokens to keep" in capsys.readouterr().err
