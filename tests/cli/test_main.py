"""The command lists its verbs, and says in one line what it does not understand."""

import pytest

from medino import __version__
from medino.cli.main import VERBS, main


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_lists_every_verb_and_what_it_does(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    for verb, text in VERBS.items():
        assert [verb, text] in lines


def test_without_a_verb_the_help_is_shown_and_the_status_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "medino VERB" in capsys.readouterr().out


def test_an_unknown_verb_is_named_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "--config", "x.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("medino: error:")
    assert "'pretrain'" in line
    assert "--help" in line


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.split() == ["medino", __version__]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([verb, "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: medino {verb}") or f" {verb} " in shown.splitlines()[0]
    assert "--config" in shown
    assert "--print_config" in shown


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_the_help_of_a_lightning_verb_says_what_it_is_for(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([verb, "--help"])
    described = " ".join(capsys.readouterr().out.partition("options:")[0].split())
    assert "a run" in described.lower()  # medino's words, not Lightning's on its trainer
