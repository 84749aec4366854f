"""`medino curate` leaves out what teaches nothing, says why, and touches no file."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from planted import plant

from medino.cli.main import main
from medino.curation import read_dropped
from medino.data import Manifest, scan


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> tuple[Path, dict[str, str]]:
    """A manifest of real tiles and planted ones, and what ought to become of the latter."""
    folder = tmp_path_factory.mktemp("planted")
    reasons = plant(folder / "images", shared_data)
    scan([folder / "images"], key=folder / "key").write(folder / "cohort.parquet")
    return folder / "cohort.parquet", reasons


def curated(cohort: Path, output: Path, *parts: object) -> Manifest:
    assert main(["curate", str(cohort), "-o", str(output), *map(str, parts)]) == 0
    return Manifest.read(output)


def reasons_by_path(cohort: Path, output: Path) -> dict[str, str]:
    manifest = Manifest.read(cohort)
    path_of = dict(zip(manifest.column("sample_id"), manifest.column("path"), strict=True))
    return {path_of[row.sample_id]: row.reason for row in read_dropped(output.with_suffix(".curation.parquet"))}


def test_what_is_planted_goes_and_everything_else_stays(
    planted: tuple[Path, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort, expected = planted
    before = {path: path.read_bytes() for path in cohort.parent.rglob("*") if path.is_file()}
    manifest = curated(cohort, tmp_path / "new.parquet")
    assert reasons_by_path(cohort, tmp_path / "new.parquet") == expected
    assert sorted(manifest.column("path")) == [f"tile{number:02d}.jpeg" for number in range(12)]
    assert {path: path.read_bytes() for path in cohort.parent.rglob("*") if path.is_file()} == before
    shown = capsys.readouterr().out
    assert "not balanced: that takes --features" in shown
    assert "tile0" not in shown
    assert manifest.settings["curation"]["from"] == Manifest.read(cohort).fingerprint
    assert manifest.settings["curation"]["settings"]["similarity"] == 0.9


def test_what_goes_names_what_stays_in_its_place(planted: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    cohort, _ = planted
    manifest = curated(cohort, tmp_path / "new.parquet")
    staying = dict(zip(manifest.column("sample_id"), manifest.column("path"), strict=True))
    rows = read_dropped(tmp_path / "new.curation.parquet")
    like = [(row.reason, staying[row.like], row.measure) for row in rows if row.like is not None]
    assert sorted(path for _, path, _ in like) == [
        "tile00.jpeg",
        "tile00.jpeg",
        "tile01.jpeg",
        "tile02.jpeg",
        "tile03.jpeg",
    ]
    assert all(measure is not None and measure >= 0.9 for _, _, measure in like)


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(planted: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    cohort, _ = planted
    one = curated(cohort, tmp_path / "one.parquet", "--workers", 1)
    two = curated(cohort, tmp_path / "two.parquet", "--workers", 2)
    assert one.table.equals(two.table)
    assert read_dropped(tmp_path / "one.curation.parquet") == read_dropped(tmp_path / "two.curation.parquet")


def test_of_two_copies_the_one_in_test_stays(planted: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    cohort, _ = planted
    manifest = Manifest.read(cohort)
    splits = ["test" if path == "z_same_pixels.png" else "train" for path in manifest.column("path")]
    manifest.with_column("split", splits).write(tmp_path / "cohort.parquet")
    curated(tmp_path / "cohort.parquet", tmp_path / "new.parquet", "--duplicates", "exact")
    reasons = reasons_by_path(tmp_path / "cohort.parquet", tmp_path / "new.parquet")
    assert reasons["tile00.jpeg"] == "exact duplicate"
    assert "z_same_pixels.png" not in reasons
    assert "z_mirrored.png" not in reasons


def test_thresholds_can_be_set(planted: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    cohort, _ = planted
    parts = ("--least-contrast", 0, "--most-at-ends", 1, "--duplicates", "no")
    curated(cohort, tmp_path / "new.parquet", *parts)
    # Without contrast is without contrast.
    assert reasons_by_path(cohort, tmp_path / "new.parquet") == {"z_black.png": "blank"}


@pytest.mark.slow
def test_features_balance_the_training_images(planted: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    cohort, expected = planted
    manifest = Manifest.read(cohort)
    splits = ["test" if path == "tile11.jpeg" else "train" for path in manifest.column("path")]
    manifest.with_column("split", splits).write(tmp_path / "cohort.parquet")
    features = tmp_path / "features.parquet"
    assert main(["embed", "--manifest", str(tmp_path / "cohort.parquet"), "-o", str(features), "--thumbnail"]) == 0
    parts = ("--features", features, "--keep", 0.5)
    once = curated(tmp_path / "cohort.parquet", tmp_path / "new.parquet", *parts)
    # Of the eleven training images that are left, half; the test image whatever its cluster.
    assert len(once) == 1 + round(0.5 * 11)
    assert "tile11.jpeg" in once.column("path")
    reasons = reasons_by_path(tmp_path / "cohort.parquet", tmp_path / "new.parquet")
    assert sorted(reasons.values()).count("balance") == 11 - round(0.5 * 11)
    assert {path: reason for path, reason in reasons.items() if reason != "balance"} == expected
    assert curated(tmp_path / "cohort.parquet", tmp_path / "again.parquet", *parts).table.equals(once.table)
    other = curated(tmp_path / "cohort.parquet", tmp_path / "other.parquet", *parts, "--seed", 5)
    assert not other.table.equals(once.table)


def test_what_can_not_be_decoded_becomes_a_reject(planted: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for path in sorted((planted[0].parent / "images").glob("tile*"))[:3]:
        (folder / path.name).write_bytes(path.read_bytes())
    scan([folder], key=tmp_path / "key").write(tmp_path / "cohort.parquet")
    broken = folder / "tile01.jpeg"
    broken.write_bytes(broken.read_bytes()[:2000])
    manifest = curated(tmp_path / "cohort.parquet", tmp_path / "new.parquet")
    assert [reject.path for reject in manifest.rejects] == ["tile01.jpeg"]
    assert reasons_by_path(tmp_path / "cohort.parquet", tmp_path / "new.parquet") == {"tile01.jpeg": "unreadable"}


def test_a_config_file_gives_the_same_manifest(
    planted: tuple[Path, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort, _ = planted
    words = ["curate", str(cohort), "-o", str(tmp_path / "new.parquet"), "--duplicates", "exact"]
    assert main(words) == 0
    expected = Manifest.read(tmp_path / "new.parquet")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*words, "--print_config"])
    config = tmp_path / "curate.yaml"
    config.write_text(capsys.readouterr().out)
    assert yaml.safe_load(config.read_text())["duplicates"] == "exact"
    assert main(["curate", "--config", str(config)]) == 0
    assert Manifest.read(tmp_path / "new.parquet").table.equals(expected.table)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("--keep", "1.5"), "keep is 1.5"),
        (("--keep", "0"), "keep has to be above 0"),
        (("--similarity", "0.2"), "similarity is 0.2"),
        (("--duplicates", "some"), "duplicates is 'some'"),
        (("--workers", "0"), "0 worker processes can't read anything"),
        (("--features", "none.parquet"), "none.parquet does not exist"),
    ],
)
def test_what_can_not_be_used_is_said_in_one_line(
    parts: tuple[str, ...],
    message: str,
    planted: tuple[Path, dict[str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cohort, _ = planted
    assert main(["curate", str(cohort), "-o", str(tmp_path / "new.parquet"), *parts]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


def test_the_manifest_itself_is_never_overwritten(
    planted: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    cohort, _ = planted
    assert main(["curate", str(cohort), "-o", str(cohort)]) == 2
    assert "is the manifest itself" in capsys.readouterr().err


def test_the_help_says_every_threshold(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["curate", "--help"])
    shown = capsys.readouterr().out
    for threshold in ("default: 0.02", "default: 0.95", "default: 0.9)", "default: 0.5)"):
        assert threshold in " ".join(shown.split())
    assert np.all([reason in shown for reason in ("blank", "clipped", "cluster")])
