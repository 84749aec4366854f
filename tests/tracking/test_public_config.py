"""The settings that are kept say nothing of the folders and files that people are named in."""

from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from medino.tracking import PRIVATE_PATH, public_config

NAME = "Mueller_Anna_1950"


@pytest.mark.parametrize(
    "value",
    [
        f"/data/{NAME}/scans",
        f"data/{NAME}",
        f"..\\{NAME}",
        f"D:\\{NAME}",
        f"~{NAME}",
        f"{NAME}.parquet",
        f"{NAME}.PTH",
        PurePosixPath(NAME),
        [f"/{NAME}"],
        {"manifest": {"path": f"/{NAME}/a.csv"}},
        {f"/{NAME}/a.csv": 1},
    ],
)
def test_a_path_outside_the_run_is_not_kept(value: Any, tmp_path: Path) -> None:
    assert NAME not in repr(public_config({"setting": value}, tmp_path))


def test_a_name_of_something_that_is_there_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).mkdir()
    monkeypatch.chdir(tmp_path)
    assert public_config({"data": NAME}, tmp_path / "run") == {"data": PRIVATE_PATH}


def test_a_path_inside_the_run_becomes_relative_to_it(tmp_path: Path) -> None:
    config = {"dirpath": str(tmp_path / NAME / "checkpoints"), "run": tmp_path / NAME}
    assert public_config(config, tmp_path / NAME) == {"dirpath": "checkpoints", "run": "."}


def test_settings_that_are_no_paths_stay_as_they_are(tmp_path: Path) -> None:
    config = {
        "class_path": "medino.ssl.DINOv2",
        "window": "auto",
        "shots": [5, 20],
        "rate": 1e-4,
        "weights": None,
        "koleo": True,
        "empty": "",
        "centering": "sinkhorn_knopp",
    }
    assert public_config(config, tmp_path) == config


def test_settings_are_plain_and_can_be_cleaned_twice(tmp_path: Path) -> None:
    kept = public_config({"data": Path("/somewhere"), "seed": 3, "shots": (5, 20)}, tmp_path)
    assert kept == {"data": PRIVATE_PATH, "seed": 3, "shots": [5, 20]}
    assert public_config(kept, tmp_path) == kept


def test_a_setting_s_name_stays_where_a_folder_has_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "masks").mkdir()
    monkeypatch.chdir(tmp_path)
    assert public_config({"masks": None, "home/jane": 1}, tmp_path / "run") == {"masks": None, PRIVATE_PATH: 1}
