"""`medino fewshot --target`: labels, ordered classes and numbers; and what can't be studied, said in one line."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
import yaml
from PIL import Image

from medino.cli.main import main
from medino.data import Manifest, scan
from medino.features import FeatureTable, thumbnail_features
from medino.probes import differences, of_kind, read_evidence, summaries

GRADES = ("none", "mild", "severe")


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """30 patients of one image each, the brighter the later; thumbnails of them, and noise."""
    (tmp_path / "images").mkdir()
    generator = np.random.default_rng(0)
    lines = ["path,label,patient"]
    for place in range(30):
        values = generator.integers(0, 60, (24, 24)) + 6 * place
        Image.fromarray(values.astype(np.uint8)).save(tmp_path / "images" / f"{place:02}.png")
        lines.append(f"{place:02}.png,{GRADES[place // 10]},patient {place}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    save(scan([tmp_path / "images"], labels=tmp_path / "labels.csv", key=tmp_path / "key", name="greys"), tmp_path)
    return tmp_path


def save(manifest: Manifest, folder: Path) -> None:
    """The manifest, thumbnails of it, and noise."""
    manifest.write(folder / "cohort.parquet")
    table = thumbnail_features(manifest)
    table.write(folder / "thumbnail.parquet")
    noise = np.random.default_rng(1).normal(size=(len(table), 8)).astype(np.float32)
    dataclasses.replace(table, blocks={(0, "whole_image"): noise}).write(folder / "noise.parquet")


def label(folder: Path, labels: list[str | None]) -> None:
    """Give the images, in the order of their files, other labels."""
    manifest = Manifest.read(folder / "cohort.parquet")
    order = np.argsort(np.argsort(manifest.column("path").astype(str)))
    save(manifest.with_column("label", [labels[place] for place in order]), folder)


def words(folder: Path, *parts: object) -> list[str]:
    features = [f"noise={folder / 'noise.parquet'}", str(folder / "thumbnail.parquet")]
    start = ["fewshot", "--manifest", str(folder / "cohort.parquet"), "--features", *features]
    fast = ("--shots", "2", "5", "--episodes", "3", "--replicates", "50", "--baselines", "none")
    return [*start, "-o", str(folder / "evidence.parquet"), *fast, *map(str, parts)]


def refusal(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a refused command prints; nothing is written."""
    assert main(arguments) == 2
    assert not (folder / "evidence.parquet").exists()
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_ordered_classes_are_studied(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(cohort, "--target", "ordinal", "--order", *GRADES)) == 0
    printed = capsys.readouterr().out
    evidence = read_evidence(cohort / "evidence.parquet")
    row = summaries(evidence, backbone="thumbnail", probe="knn", shots=5, metric="quadratic_kappa")[0]
    assert f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}] ± {row.spread:.3f}" in printed
    assert (row.task, tuple(row.classes)) == ("ordinal", GRADES)
    assert row.value > 0.5
    assert "also in the evidence and the CSV: balanced accuracy, auroc" in printed


def test_ages_are_studied(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label(cohort, [f"{20 + 2.5 * place}" for place in range(30)])
    assert main(words(cohort, "--target", "continuous", "--csv", cohort / "summary.csv")) == 0
    printed = capsys.readouterr().out
    assert "predicted: each image" in printed
    evidence = read_evidence(cohort / "evidence.parquet")
    row = differences(evidence, shots=5, metric="mae")[0]
    assert f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]" in printed
    assert (row.task, row.probe, row.backbone) == ("regression", "ridge", "thumbnail")
    assert row.high < 0
    assert pyarrow.csv.read_csv(cohort / "summary.csv").num_rows == 2 * 2 * 3


def test_labels_are_studied(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [" + ".join(("dark",) * (place < 15) + ("middle",) * (10 <= place < 20)) or "+" for place in range(30)]
    label(cohort, texts)
    assert main(words(cohort, "--target", "multilabel", "--separator", "+", "--shots", "2")) == 0
    printed = capsys.readouterr().out
    evidence = read_evidence(cohort / "evidence.parquet")
    row = summaries(evidence, backbone="thumbnail", probe="logistic", metric="auprc")[0]
    assert f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]" in printed
    assert (row.task, row.classes) == ("multilabel", ["dark", "middle"])
    assert set(of_kind(evidence, "outcome")["target"].to_pylist()) <= {"dark", "middle", "dark+middle", "+"}


def test_a_config_file_gives_the_same_study(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("--target", "ordinal", "--order", *GRADES, "--probes", "knn", "nearest_mean")
    assert main(words(cohort, *settings)) == 0
    expected = read_evidence(cohort / "evidence.parquet")
    (cohort / "evidence.parquet").unlink()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(words(cohort, *settings, "--print_config"))
    config = cohort / "fewshot.yaml"
    config.write_text(capsys.readouterr().out)
    assert yaml.safe_load(config.read_text())["order"] == list(GRADES)
    assert main(["fewshot", "--config", str(config)]) == 0
    assert read_evidence(cohort / "evidence.parquet").equals(expected)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("--target", "survival"), "no target 'survival'"),
        (("--target", "ordinal"), "needs the order of its classes, from the least to the most (--order)"),
        (("--target", "ordinal", "--order", "none", "mild"), "the order of classes (none, mild) lacks 'severe'"),
        (("--target", "continuous"), "30 of 30 labelled units of greys have a label that is no finite number"),
        (("--target", "continuous", "--probes", "knn"), "no probe 'knn' for the target 'continuous'"),
        (("--order", "none", "mild"), "an order of classes belongs to an ordinal target"),
        (("--target", "continuous", "--baselines", "cnn"), "labelled units of greys have a label that is no finite"),
    ],
)
def test_targets_that_do_not_fit_are_said_in_one_line(
    parts: tuple[str, ...], message: str, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(words(cohort, *parts), cohort, capsys)


@pytest.mark.parametrize("broken", ["nan", "inf", "old"])
def test_a_label_that_is_no_number_is_named(broken: str, cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label(cohort, ["20.5", broken, *(str(place) for place in range(28))])
    line = refusal(words(cohort, "--target", "continuous"), cohort, capsys)
    assert f"1 of 30 labelled units of greys have a label that is no finite number, such as '{broken}'" in line


def test_one_patient_is_no_study(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = Manifest.read(cohort / "cohort.parquet")
    alone = manifest.with_column("patient", [manifest.column("patient")[0]] * len(manifest))
    save(alone, cohort)
    assert "1 patients (unit: patient) can't fill the splits" in refusal(words(cohort), cohort, capsys)
    for splits in (["train"] * 30, ["test"] * 30, ["train", "test"] * 15):
        save(alone.with_column("split", splits), cohort)
        for target in ("classes", "multilabel"):
            line = refusal(words(cohort, "--target", target), cohort, capsys)
            assert "greys has one labelled patient only" in line
            assert "assign the splits" not in line


def test_one_class_is_no_study(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label(cohort, ["7"] * 30)
    for settings, message in (
        ((), "all labelled units are of one class, '7'"),
        (("--target", "multilabel"), "label '7' has 0 training patients without it"),
        (("--target", "continuous"), "have one value, 7; a study of a continuous target needs two or more"),
        (("--target", "ordinal", "--order", "7", "8"), "has the class '8' of the order"),
    ):
        assert message in refusal(words(cohort, *settings), cohort, capsys)


def test_labels_of_images_that_are_not_there_are_counted(
    cohort: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    scanned = ["scan", str(cohort / "images"), "-o", str(cohort / "again.parquet"), "--key", str(cohort / "key")]
    with (cohort / "labels.csv").open("a") as labels:
        labels.write("gone.png,mild,patient 99\n")
    assert main([*scanned, "--labels", str(cohort / "labels.csv")]) == 0
    assert "1 of 31 rows of the labels mean no readable image" in caplog.text
    capsys.readouterr()
    (cohort / "labels.csv").write_text("path,label\ngone.png,mild\n")
    assert main([*scanned, "--labels", str(cohort / "labels.csv")]) == 2
    assert "none of the 1 rows of labels.csv means a scanned image" in capsys.readouterr().err


def test_features_that_lack_labelled_images_are_refused(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = FeatureTable.read(cohort / "thumbnail.parquet")
    fewer = dataclasses.replace(
        table, sample_ids=table.sample_ids[4:], blocks={key: rows[4:] for key, rows in table.blocks.items()}
    )
    fewer.write(cohort / "thumbnail.parquet")
    assert "'thumbnail' lack 4 of 30 labelled samples; embed the whole" in refusal(words(cohort), cohort, capsys)


@pytest.mark.parametrize("target", ["classes", "multilabel", "ordinal"])
def test_features_that_are_not_finite_are_refused(
    target: str, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = FeatureTable.read(cohort / "thumbnail.parquet")
    ((key, rows),) = table.blocks.items()
    rows = rows.copy()
    rows[2, 1], rows[5] = np.nan, np.inf
    dataclasses.replace(table, blocks={key: rows}).write(cohort / "thumbnail.parquet")
    settings = ("--target", target, *(("--order", *GRADES) if target == "ordinal" else ()))
    line = refusal(words(cohort, *settings), cohort, capsys)
    assert "'thumbnail' hold NaN or infinity for 2 of 30 labelled samples" in line
