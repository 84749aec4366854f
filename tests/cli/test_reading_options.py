"""The options of who reads and what a file may take: said as they are, and refused where they mean nothing."""

from pathlib import Path

import pytest

from medino.cli.main import main
from medino.data.workers import Limits


def test_the_help_names_the_limits_that_hold(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["scan", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert f"[{Limits().seconds:g}]" in told
    assert f"[{Limits().megabytes:g}]" in told


@pytest.mark.parametrize("option", [["--workers", "0"], ["--time_limit", "0"], ["--memory_limit", "-1"]])
def test_a_number_that_means_nothing_is_refused(option: list[str], tmp_path: Path) -> None:
    assert main(["scan", str(tmp_path), "-o", str(tmp_path / "c.parquet"), *option]) == 2


def test_a_file_that_takes_too_much_memory_is_a_reject(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "small.png")
    Image.new("RGB", (6000, 6000)).save(tmp_path / "large.png")
    output = tmp_path / "result" / "c.parquet"
    assert main(["scan", str(tmp_path), "-o", str(output), "--verify", "--memory-limit", "64"]) == 0
    assert "memory" in capsys.readouterr().out
