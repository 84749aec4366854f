"""`medino retrieve` and `medino select` on a folder of images: numbers, lists, sheets, and refusals in words."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medino.cli.main import main
from medino.data import Manifest, scan
from medino.features import FeatureTable, thumbnail_features


def write_images(folder: Path, patients: int = 12) -> list[str]:
    """Two images each of dark and of bright patients; the labels' lines."""
    folder.mkdir()
    generator, lines = np.random.default_rng(0), ["path,label,patient"]
    for place in range(patients):
        for image in range(2):
            values = generator.integers(0, 120, (24, 24)) + 120 * (place % 2)
            Image.fromarray(values.astype(np.uint8)).save(folder / f"{place}-{image}.png")
            lines.append(f"{place}-{image}.png,{('dark', 'bright')[place % 2]},patient {place}")
    return lines


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Labelled images without splits."""
    lines = write_images(tmp_path / "images")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    save(scan([tmp_path / "images"], labels=tmp_path / "labels.csv", key=tmp_path / "key", name="greys"), tmp_path)
    return tmp_path


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    """The same images without labels."""
    write_images(tmp_path / "images")
    save(scan([tmp_path / "images"], key=tmp_path / "key", patient_pattern="([0-9]+)-", name="greys"), tmp_path)
    return tmp_path


def save(manifest: Manifest, folder: Path) -> FeatureTable:
    manifest.write(folder / "cohort.parquet")
    table = thumbnail_features(manifest)
    table.write(folder / "features.parquet")
    return table


def with_vectors(folder: Path, vectors: np.ndarray) -> None:
    table = FeatureTable.read(folder / "features.parquet")
    dataclasses.replace(table, blocks={(0, "whole_image"): vectors}).write(folder / "features.parquet")


def words(verb: str, folder: Path, *more: object) -> list[str]:
    paths = ["--manifest", str(folder / "cohort.parquet"), "--features", str(folder / "features.parquet")]
    return [verb, *paths, "--workers", "1", *map(str, more)]


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a refused command prints."""
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_labels_that_brightness_tells_are_found(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("retrieve", cohort, "--replicates", 50, "--at", 1, 3)) == 0
    shown = capsys.readouterr().out
    assert "24 queries of 12 patients" in shown
    scores = {line[:13].strip(): line[13:].split() for line in shown.splitlines()}
    # Ten of the 22 images of other patients have the query's label.
    assert scores["mAP"] == ["1.000", "[1.000,", "1.000]", f"{10 / 22:.3f}"]
    assert scores["recall at 1"] == ["1.000", "[1.000,", "1.000]", f"{10 / 22:.3f}"]
    assert sorted(path.name for path in cohort.iterdir() if path.suffix in (".png", ".csv")) == ["labels.csv"]


def test_test_images_are_the_queries_where_there_are_splits(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = Manifest.read(cohort / "cohort.parquet")
    tested = sorted(set(manifest.column("patient")))[:4]
    save(
        manifest.with_column("split", ["test" if p in tested else "train" for p in manifest.column("patient")]), cohort
    )
    assert main(words("retrieve", cohort, "--replicates", 50)) == 0
    assert "8 queries of 4 patients (unit: patient), among 24 labelled images" in capsys.readouterr().out


def test_of_many_queries_a_draw_by_the_seed_is_measured(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    with_vectors(cohort, generator.normal(size=(24, 8)).astype(np.float32))
    shown = []
    for seed, queries in ((0, 7), (0, 7), (1, 7), (0, 24)):
        assert main(words("retrieve", cohort, "--replicates", 50, "--seed", seed, "--queries", queries)) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "measured on 7 of 24 queries, drawn by the seed 0" in shown[0]
    assert "7 queries of " in shown[0]
    assert "among 24 labelled images" in shown[0]
    scores = [[line for line in text.splitlines() if "mAP" in line] for text in shown]
    assert len(scores[0]) == len(scores[2]) == 1
    assert scores[0] != scores[2]
    assert "measured on" not in shown[3]
    assert "--queries 0 leaves nothing" in refusal(words("retrieve", cohort, "--queries", 0), capsys)


def test_neighbours_of_one_image_are_other_patients_and_listed(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = Manifest.read(cohort / "cohort.parquet")
    owner = dict(zip(manifest.column("sample_id"), manifest.column("patient"), strict=True))
    query = manifest.column("sample_id")[3]
    assert main(words("retrieve", cohort, "--query", query, "--count", 4, "-o", cohort / "near.csv")) == 0
    rows = lines_of(cohort / "near.csv")
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert all(row["query"] == query and owner[row["neighbour"]] != owner[query] for row in rows)
    assert all(row["query_label"] == row["neighbour_label"] for row in rows)
    shown = capsys.readouterr().out
    assert f"nearest to {query}" in shown
    assert all(row["neighbour"] in shown for row in rows)


def test_sheets_are_drawn_where_asked_for_and_name_nobody(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("retrieve", cohort, "--sheet", cohort / "sheet.png", "--replicates", 20)) == 0
    with Image.open(cohort / "sheet.png") as image:
        assert image.width > 1000
        assert image.info.keys() <= {"dpi"}
    shown = capsys.readouterr().out
    assert "patient 1" not in shown
    assert "0-0.png" not in shown


def test_retrieval_refuses_in_a_sentence(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no sample 'x'" in refusal(words("retrieve", cohort, "--query", "x"), capsys)
    assert "at least 1" in refusal(words("retrieve", cohort, "--count", 0), capsys)
    assert "recall at 0" in refusal(words("retrieve", cohort, "--at", 0), capsys)
    assert "ends in .png" in refusal(words("retrieve", cohort, "--sheet", "a.jpg"), capsys)
    manifest = Manifest.read(cohort / "cohort.parquet")
    vectors = FeatureTable.read(cohort / "features.parquet").vectors()[1].copy()
    vectors[5, 2] = np.nan
    with_vectors(cohort, vectors)
    assert "NaN or infinite" in refusal(words("retrieve", cohort), capsys)
    save(manifest.with_column("patient", ["one"] * len(manifest)), cohort)
    assert "label more patients" in refusal(words("retrieve", cohort), capsys)
    save(manifest.with_column("label", [None] * len(manifest)), cohort)
    assert "has a label" in refusal(words("retrieve", cohort), capsys)
    manifest.write(cohort / "cohort.parquet")
    assert "made from another manifest" in refusal(words("retrieve", cohort), capsys)


def test_one_patient_has_no_neighbours(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = Manifest.read(cohort / "cohort.parquet")
    save(manifest.with_column("patient", ["one"] * len(manifest)), cohort)
    query = manifest.column("sample_id")[0]
    assert main(words("retrieve", cohort, "--query", query, "--count", 3)) == 0
    assert "no image of another patient" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["typiclust", "kmedoids"])
def test_both_kinds_are_chosen_and_the_list_is_the_labels_file(method: str, unlabelled: Path) -> None:
    chosen = unlabelled / "chosen.csv"
    assert main(words("select", unlabelled, "-n", 2, "-o", chosen, "--method", method)) == 0
    rows = lines_of(chosen)
    assert sorted(int(row["path"].split("-")[0]) % 2 for row in rows) == [0, 1]
    # Filled in, it labels those images and no others.
    chosen.write_text(chosen.read_text().replace(",0,\n", ",0,seen\n").replace(",0,\r\n", ",0,seen\r\n"))
    manifest = scan([unlabelled / "images"], labels=chosen, key=unlabelled / "key")
    labelled = manifest.select([label == "seen" for label in manifest.column("label")])
    assert sorted(labelled.column("path")) == sorted(row["path"] for row in rows)
    assert sorted(labelled.column("sample_id")) == sorted(row["sample_id"] for row in rows)


def test_patients_are_chosen_with_all_their_images(unlabelled: Path) -> None:
    chosen, sheet = unlabelled / "chosen.csv", unlabelled / "sheet.png"
    assert main(words("select", unlabelled, "-n", 3, "-o", chosen, "--unit", "patient", "--sheet", sheet)) == 0
    rows = lines_of(chosen)
    assert [row["order"] for row in rows] == ["1", "1", "2", "2", "3", "3"]
    owners = [row["path"].split("-")[0] for row in rows]
    assert owners[::2] == owners[1::2]
    assert len(set(owners)) == 3
    with Image.open(sheet) as image:
        assert image.width > 300


def test_the_seed_and_not_the_run_decides(unlabelled: Path) -> None:
    for name in ("one", "two"):
        assert main(words("select", unlabelled, "-n", 5, "-o", unlabelled / f"{name}.csv", "--seed", 3)) == 0
    assert (unlabelled / "one.csv").read_bytes() == (unlabelled / "two.csv").read_bytes()


def test_measured_and_labelled_patients_are_not_chosen(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no image of greys is left to choose" in refusal(
        words("select", cohort, "-n", 2, "-o", cohort / "c.csv"), capsys
    )
    manifest = Manifest.read(cohort / "cohort.parquet")
    names = sorted(set(manifest.column("patient")))
    split = {name: ("test", "validation", "train")[place % 3] for place, name in enumerate(names)}
    manifest = manifest.with_column("split", [split[name] for name in manifest.column("patient")])
    # One image of a patient has a label: the other one's content is no news.
    once = manifest.column("sample_id")[[split[name] == "train" for name in manifest.column("patient")]][0]
    manifest = manifest.with_column(
        "label", ["dark" if name == once else None for name in manifest.column("sample_id")]
    )
    save(manifest, cohort)
    assert main(words("select", cohort, "-n", 3, "-o", cohort / "c.csv")) == 0
    ids = [row["sample_id"] for row in lines_of(cohort / "c.csv")]
    chosen = manifest.select(np.isin(manifest.column("sample_id").astype(str), ids))
    assert set(chosen.column("split")) == {"train"}
    owner = dict(zip(manifest.column("sample_id"), manifest.column("patient"), strict=True))[once]
    assert owner not in chosen.column("patient")
    assert len(set(chosen.column("patient"))) == 3


def test_selection_refuses_in_a_sentence(unlabelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = unlabelled / "c.csv"
    assert "24 candidates of 12 patients give 12" in refusal(
        words("select", unlabelled, "-n", 13, "-o", output), capsys
    )
    assert "numbers from 1" in refusal(words("select", unlabelled, "-n", 0, "-o", output), capsys)
    assert "no unit 'slice'" in refusal(words("select", unlabelled, "-n", 1, "-o", output, "--unit", "slice"), capsys)
    assert "no method" in refusal(words("select", unlabelled, "-n", 1, "-o", output, "--method", "best"), capsys)
    assert "ends in .csv" in refusal(words("select", unlabelled, "-n", 1, "-o", unlabelled / "c.txt"), capsys)
    vectors = FeatureTable.read(unlabelled / "features.parquet").vectors()[1].copy()
    vectors[0] = np.inf
    with_vectors(unlabelled, vectors)
    assert "NaN or infinite" in refusal(words("select", unlabelled, "-n", 2, "-o", output), capsys)
    manifest = Manifest.read(unlabelled / "cohort.parquet")
    save(manifest.with_column("patient", ["one"] * len(manifest)), unlabelled)
    line = refusal(words("select", unlabelled, "-n", 2, "-o", output), capsys)
    assert "24 candidates of 1 patients give 1" in line
    assert not output.exists()


@pytest.mark.parametrize("method", ["typiclust", "kmedoids"])
def test_identical_features_still_give_the_number_asked_for(
    method: str, unlabelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_vectors(unlabelled, np.ones((24, 5), np.float32))
    assert main(words("select", unlabelled, "-n", 12, "-o", unlabelled / "c.csv", "--method", method)) == 0
    assert len({row["path"].split("-")[0] for row in lines_of(unlabelled / "c.csv")}) == 12
    assert capsys.readouterr().err == ""
