"""`medino fewshot` compares features on a handful of labels: a table to read, evidence to keep."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
import yaml
from PIL import Image

from medino.cli.main import main
from medino.core import RunFolder
from medino.data import Manifest, scan
from medino.features import FeatureTable, thumbnail_features
from medino.probes import differences, of_kind, read_evidence, summaries

FAST = ("--shots", "1", "2", "--episodes", "3", "--replicates", "50", "--baselines", "none")


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Two classes of twelve patients with two images each: dark ones and bright ones. No splits."""
    folder, lines = tmp_path / "images", ["path,label,patient"]
    folder.mkdir()
    generator = np.random.default_rng(0)
    for place in range(24):
        for image in range(2):
            values = generator.integers(0, 200, (24, 24)) + 55 * (place % 2)
            Image.fromarray(values.astype(np.uint8)).save(folder / f"{place}-{image}.png")
            lines.append(f"{place}-{image}.png,{('dark', 'bright')[place % 2]},patient {place}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    manifest = scan([folder], labels=tmp_path / "labels.csv", key=tmp_path / "key", name="greys")
    save(manifest, tmp_path)
    return tmp_path / "cohort.parquet"


def save(manifest: Manifest, folder: Path) -> None:
    """The manifest, thumbnails of it, and the same with noise that hides the classes."""
    manifest.write(folder / "cohort.parquet")
    table = thumbnail_features(manifest)
    table.write(folder / "thumbnail.parquet")
    noise = np.random.default_rng(1).normal(size=(len(table), 8)).astype(np.float32)
    dataclasses.replace(table, blocks={(0, "whole_image"): noise}).write(folder / "noise.parquet")


def words(cohort: Path, *parts: object, output: str = "evidence.parquet") -> list[str]:
    folder = cohort.parent
    features = [f"noise={folder / 'noise.parquet'}", str(folder / "thumbnail.parquet")]
    start = ["fewshot", "--manifest", str(cohort), "--features", *features, "-o", str(folder / output), *FAST]
    return [*start, *map(str, parts)]


def refusal(arguments: list[str], cohort: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a refused command prints; nothing is written."""
    assert main(arguments) == 2
    assert not (cohort.parent / "evidence.parquet").exists()
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_the_study_is_printed_and_kept(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(cohort)) == 0
    printed = capsys.readouterr().out
    evidence = read_evidence(cohort.parent / "evidence.parquet")
    row = summaries(evidence, backbone="thumbnail", probe="knn", shots=2, metric="balanced_accuracy")[0]
    assert f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}] ± {row.spread:.3f}" in printed
    difference = differences(evidence, probe="knn", shots=2, metric="auroc")[0]
    assert (difference.backbone, difference.compared_with) == ("thumbnail", "noise")
    assert f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]" in printed
    assert f"few-shot study of greys: {row.patients} test patients (unit: patient), classified: each image" in printed
    assert "thumbnail - noise" in printed
    assert "24 labelled patients are split by seed 0" in printed


def test_baselines_are_computed_beside_what_was_embedded(
    cohort: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medino.probes.end_to_end.STEPS", 2)
    features = cohort.parent / "start.parquet"
    assert main(["embed", "--manifest", str(cohort), "--backbone", "mini", "--size", "16", "-o", str(features)]) == 0
    given = ("--features", f"start={features}", "--baselines", "thumbnail", "random", "cnn")
    assert main(words(cohort, *given)) == 0
    assert "start - cnn" in capsys.readouterr().out
    rows = summaries(read_evidence(cohort.parent / "evidence.parquet"), metric="balanced_accuracy", shots=2)
    probes = ("nearest_mean", "knn", "logistic")
    of_features = {(name, probe) for name in ("start", "thumbnail", "random") for probe in probes}
    assert {(row.backbone, row.probe) for row in rows} == {*of_features, ("cnn", "end_to_end")}
    # The thumbnails are those that `medino embed --thumbnail` writes.
    monkeypatch.undo()
    thumbnail = ("--features", f"start={features}", f"thumbnail={cohort.parent / 'thumbnail.parquet'}")
    assert main(words(cohort, *thumbnail, "--baselines", "thumbnail", output="given.parquet")) == 0
    given_rows = summaries(read_evidence(cohort.parent / "given.parquet"), metric="balanced_accuracy", shots=2)
    assert [row for row in rows if row.backbone == "thumbnail"] == [
        row for row in given_rows if row.backbone == "thumbnail"
    ]


def test_a_table_has_a_floor_unless_told_otherwise(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cohort.parent
    features = folder / "start.parquet"
    assert main(["embed", "--manifest", str(cohort), "--backbone", "mini", "--size", "16", "-o", str(features)]) == 0

    def study(name: str, *more: str) -> tuple[set[str], str]:
        capsys.readouterr()
        given = [*words(cohort, "--features", f"start={features}", output=f"{name}.parquet")]
        at = given.index("--baselines")
        assert main([*given[:at], *given[at + 2 :], *more]) == 0
        evidence = read_evidence(folder / f"{name}.parquet")
        return set(evidence["backbone"].to_pylist()), capsys.readouterr().out

    backbones, printed = study("usual")
    assert backbones == {"start", "thumbnail", "random"}
    assert "thumbnail and random are computed from the images" in printed
    assert "thumbnail - start" in printed
    (folder / "none.yaml").write_text("baselines: []\n")
    assert study("in a file", "--config", str(folder / "none.yaml"))[0] == {"start"}
    assert study("in words", "--baselines", "none")[0] == {"start"}
    # Features that were carried to where an image is not, or none is: the study is that of all their images.
    expected = read_evidence(folder / "in words.parquet")
    next(iter((folder / "images").iterdir())).unlink()
    for name, reason in (("one", "1 of the images can't be read"), ("all", "images is not there")):
        backbones, printed = study(name)
        (line,) = [line for line in printed.splitlines() if "have no floor of thumbnail and random: " in line]
        assert reason in line
        assert read_evidence(folder / f"{name}.parquet").equals(expected)
        if name == "one":
            (folder / "images").rename(folder / "elsewhere")


def test_images_without_a_label_need_no_baseline(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = Manifest.read(cohort)
    save(manifest.with_column("label", [None, *manifest.column("label")[1:]]), cohort.parent)
    path = cohort.parent / "images" / manifest.sample(0).path
    path.unlink()
    noise = ("--features", f"noise={cohort.parent / 'noise.parquet'}", "--baselines", "thumbnail")
    assert main(words(cohort, *noise)) == 0
    assert "could not be decoded" not in capsys.readouterr().out


def test_splits_of_the_manifest_are_kept(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = Manifest.read(cohort)
    order = sorted(set(manifest.column("patient")))
    split = {patient: "test" if place % 3 else "train" for place, patient in enumerate(order)}
    manifest = manifest.with_column("split", [split[patient] for patient in manifest.column("patient")])
    save(manifest, cohort.parent)
    assert main(words(cohort)) == 0
    assert "are split by" not in capsys.readouterr().out
    tested = of_kind(read_evidence(cohort.parent / "evidence.parquet"), "outcome")["patient"].to_pylist()
    assert set(tested) == {patient for patient, name in split.items() if name == "test"}


def test_where_nobody_knows_the_patient_the_table_says_what_is_counted(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = Manifest.read(cohort)
    save(manifest.with_column("patient_unit", ["file"] * len(manifest)), cohort.parent)
    assert main(words(cohort)) == 0
    printed = capsys.readouterr().out
    assert "(unit: file)" in printed
    assert "nobody knows the patient of all images: what is counted as one is the file" in printed


def test_a_runs_folder_takes_the_evidence_and_keeps_what_is_there(cohort: Path) -> None:
    assert main(words(cohort, output="run")) == 0
    evidence = RunFolder(cohort.parent / "run").evidence
    before = read_evidence(evidence)
    assert main(words(cohort, "--unit", "patient", output="run")) == 0
    after = read_evidence(evidence)
    assert after.num_rows > before.num_rows
    assert {row.unit for row in summaries(after)} == {"image", "patient"}
    assert main(words(cohort, "--unit", "patient", output="run")) == 0
    assert read_evidence(evidence).num_rows == after.num_rows


def test_the_summary_can_be_had_as_csv(cohort: Path) -> None:
    assert main(words(cohort, "--csv", cohort.parent / "summary.csv")) == 0
    table = pyarrow.csv.read_csv(cohort.parent / "summary.csv")
    assert table.num_rows == 2 * 3 * 7 * 3
    assert "unit_id" not in table.column_names or table["unit_id"].null_count == table.num_rows


def test_settings_of_the_draw_and_the_interval_reach_the_study(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = Manifest.read(cohort)
    rare = manifest.column("patient")[0]
    owners, labels = manifest.column("patient"), manifest.column("label")
    save(
        manifest.with_column(
            "label", ["rare" if p == rare else label for p, label in zip(owners, labels, strict=True)]
        ),
        cohort.parent,
    )
    settings = ("--draw", "images", "--interval", "bca", "--drop_small_classes")
    assert main(words(cohort, *settings)) == 0
    assert "left out, of too few patients: rare" in capsys.readouterr().out
    rows = summaries(read_evidence(cohort.parent / "evidence.parquet"))
    assert {(row.draw, row.interval, row.classes_left_out) for row in rows} == {("images", "bca", "rare")}


def test_a_config_file_gives_the_same_study(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(cohort)) == 0
    expected = read_evidence(cohort.parent / "evidence.parquet")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(words(cohort, "--print_config", output="again.parquet"))
    config = cohort.parent / "fewshot.yaml"
    config.write_text(capsys.readouterr().out)
    assert yaml.safe_load(config.read_text())["shots"] == [1, 2]
    assert main(["fewshot", "--config", str(config)]) == 0
    assert read_evidence(cohort.parent / "again.parquet").equals(expected)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("--shots", "50"), "training patients"),
        (("--probes", "svm"), "no probe 'svm'"),
        (("--tokens", "register"), "no features 'register'"),
        (("--unit", "organ"), "no unit 'organ'"),
        (("--baselines", "thumbnail", "resnet"), "no baseline 'resnet'; choose from thumbnail, random, cnn"),
        (("--baseline", "start"), "baseline 'start' is not among the features (noise, thumbnail)"),
        (("--features", "a=none.parquet"), "features none.parquet does not exist"),
        (("--features", "x/a.parquet", "y/a.parquet"), "two features are called 'a'"),
        (("-o", "evidence.csv"), "neither a .parquet file nor a run's folder"),
    ],
)
def test_what_can_not_be_used_is_said_in_one_line(
    parts: tuple[str, ...], message: str, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(words(cohort, *parts), cohort, capsys)


def test_a_manifest_without_labels_or_of_one_class_is_refused(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = Manifest.read(cohort)
    for label, message in ((None, "none of the 48 samples of greys has a label"), ("dark", "of one class, 'dark'")):
        save(manifest.with_column("label", [label] * len(manifest)), cohort.parent)
        assert message in refusal(words(cohort), cohort, capsys)


def test_features_of_another_manifest_are_refused(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = FeatureTable.read(cohort.parent / "thumbnail.parquet")
    dataclasses.replace(table, manifest="0" * 32).write(cohort.parent / "thumbnail.parquet")
    assert "features 'thumbnail' were made from another manifest" in refusal(words(cohort), cohort, capsys)
