"""A configuration that can't be read is refused in one line that names the file; warnings are one line, too."""

import warnings
from pathlib import Path

import pytest

from medino.cli.main import main


@pytest.mark.parametrize("verb", ["scan", "fit"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"trainer:\n  max_steps: 3\n bad: [1,\n", "line 3, column 2"),
        (b"secret prose\nof several lines", "holds no settings"),
        (b"- secret prose\n- of several lines\n", "holds no settings"),
        (b"", "holds no settings"),
        (b"\xff\xfe\x80 secret prose", "holds no settings"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_named_in_one_line(
    verb: str, content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings.yaml").write_bytes(content)
    assert main([verb, "--config", str(tmp_path / "settings.yaml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"medino {verb}: error: the configuration {tmp_path / 'settings.yaml'} ")
    assert said in line
    assert "secret prose" not in line


def test_a_warning_is_one_line_without_its_place_in_the_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(config: object) -> None:
        warnings.warn("the unit is the file\n  here", stacklevel=1)

    monkeypatch.setattr("medino.cli.report.run", run)
    # pytest gathers warnings itself; this is how they come to the terminal.
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["report", "somewhere"]) == 0
    assert capsys.readouterr().err == "medino report: warning: the unit is the file here\n"
