"""`medino fewshot_masks` on a small phantom archive: what it keeps, compares and refuses."""

import base64
from pathlib import Path

import pytest
import torch

from medino.cli.main import main
from medino.data import scan, write_phantom
from medino.models import PRESETS, build_backbone, save_backbone
from medino.probes import differences, of_kind, read_evidence, summaries
from medino.segmentation import case_overlays, dice

CLASSES = "{background: 0, lung: 1, finding: 2}"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A study of ten patients and a very small backbone; the manifest has no splits."""
    folder = tmp_path_factory.mktemp("masks")
    archive = write_phantom(folder / "archive", patients=10, images_per_patient=1, size=64, seed=1)
    scan([archive.images], masks=archive.masks).write(folder / "cohort.parquet")
    config = PRESETS["mini"].replace(embed_dim=24, depth=2, image_size=64)
    save_backbone(build_backbone(config, seed=1), folder / "backbone.safetensors")
    return [
        *("fewshot_masks", "--manifest", str(folder / "cohort.parquet"), "--class_values", CLASSES),
        *("--weights", f"learned={folder / 'backbone.safetensors'}", "--maps", str(folder / "maps")),
        *("--shots", "1", "2", "--episodes", "2", "--replicates", "20", "--training.steps", "3", "--unet_steps", "1"),
    ]


def test_all_are_compared_and_the_maps_are_found_again(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "-o", str(tmp_path / "run"), "--csv", str(tmp_path / "summary.csv")]) == 0
    told = capsys.readouterr().out
    assert "token maps learned: 10 images, 8 x 8 patches of 24 numbers in fp16: 30.7 KB" in told
    assert "its 10 patients are split by seed 0" in told
    assert "means over classes" in told
    assert not list((tmp_path / "run").rglob("*.png"))
    evidence = read_evidence(tmp_path / "run" / "evidence.parquet")
    rows = summaries(evidence, task="segmentation", metric="dice")
    assert {row.backbone for row in rows} == {"pixels", "random", "learned", "unet"}
    assert {row.target for row in rows} == {None, "lung", "finding"}
    assert {row.patients for row in rows} == {5}
    assert {row.compared_with for row in differences(evidence)} == {"pixels", "random", "unet"}
    assert "surface_dice" in (tmp_path / "summary.csv").read_text(encoding="utf-8")
    assert main([*words, "-o", str(tmp_path / "again.parquet")]) == 0
    assert "token maps" not in capsys.readouterr().out
    assert read_evidence(tmp_path / "again.parquet").equals(evidence)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--baselines", "thumbnail"), "there is no baseline 'thumbnail'; choose from pixels, random, unet"),
        (("--shots", "6"), "5 training patients have masks, fewer than 6"),
        (("--unit", "study"), "there is no unit 'study' of masks"),
        (("--variants", "as_is", "sideways"), "there is no variant 'sideways'"),
        (("--training.head", "unetr"), "looks at the images, too"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, ...], message: str
) -> None:
    assert main([*words, "-o", str(tmp_path / "run"), *change]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("{background: 0, lung: 1}", "holds the values 2, class_values has background: 0, lung: 1; name these"),
        ("{background: 0}", "give the background and at least one class"),
    ],
)
def test_masks_that_the_classes_do_not_name_are_refused_before_any_map_is_made(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], classes: str, message: str
) -> None:
    maps = tmp_path / "maps"
    assert main([*words, "-o", str(tmp_path / "run"), "--maps", str(maps), "--class_values", classes]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "token maps" not in said.out
    assert not maps.exists()


def test_worst_middle_and_best_cases_are_drawn_where_asked_for_and_shown_by_the_report(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    titles: list[str] = []
    draw = case_overlays.overlay_figure

    def spy(image, truth, found, class_names, title):
        assert {0, 1} <= set(torch.unique(truth).tolist()) <= {0, 1, 2}
        assert class_names == ["background", "lung", "finding"]
        titles.append(title)
        # The drawn prediction is the one that was measured.
        drawn = sum(dice(found == index, truth == index) for index in (1, 2)) / 2
        assert f"Dice {drawn:.3f}\n" in title
        return draw(image, truth, found, class_names, title)

    monkeypatch.setattr(case_overlays, "overlay_figure", spy)
    folder = tmp_path / "run" / "figures" / "fewshot_masks"
    folder.mkdir(parents=True)
    (folder / "overlay-1-worst-old.png").write_bytes(b"of an earlier study")
    assert main([*words, "-o", str(tmp_path / "run"), "--overlays", "4"]) == 0
    assert f"overlays  {folder}" in capsys.readouterr().out
    written = sorted(folder.iterdir())
    assert [path.stem.split("-")[2] for path in written] == ["worst", "worst", "middle", "best"]

    # The first draw of two labelled patients, as the evidence has it: the mean over classes of each case.
    evidence = read_evidence(tmp_path / "run" / "evidence.parquet")
    measured: dict[str, list[float]] = {}
    for row in of_kind(evidence, "outcome", backbone="learned", metric="dice", shots=2, episode=0).to_pylist():
        measured.setdefault(row["unit_id"], []).append(row["value"])
    assert len(measured) == 5
    mean = {unit: sum(values) / 2 for unit, values in measured.items()}
    shown = [path.stem.split("-")[3] for path in written]
    assert len(set(shown)) == 4
    assert [mean[unit] for unit in sorted(shown[:2], key=mean.__getitem__)] == sorted(mean.values())[:2]
    assert mean[shown[3]] == max(mean.values())
    for unit in shown:
        (title,) = (title for title in titles if unit[:8] in title)
        assert f"of 5 test cases of 5 patients: case {unit[:8]}, Dice {mean[unit]:.3f}\n" in title
        assert "cohort, labelled patients: 2, masks by learned" in title

    assert main(["report", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for path in written:
        assert base64.b64encode(path.read_bytes()).decode() in page


@pytest.mark.parametrize(
    ("output", "count", "message"),
    [
        ("evidence.parquet", "3", "overlays are kept in a run's folder, and"),
        ("run", "-1", "the number of overlays is -1"),
    ],
)
def test_overlays_without_a_folder_or_a_number_are_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str, count: str, message: str
) -> None:
    assert main([*words, "-o", str(tmp_path / output), "--overlays", count]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / output).exists()


def test_weights_may_not_take_a_baselines_name(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next(word for word in words if word.startswith("learned=")).removeprefix("learned=")
    assert main([*words, "-o", str(tmp_path / "run"), "--weights", f"random={path}"]) == 2
    assert "'random' is the name of a baseline" in capsys.readouterr().err
