"""Work of more than two seconds shows how far it is; shorter work shows nothing."""

from collections.abc import Iterator

import pytest

from medino.core import progress, track


def clock(monkeypatch: pytest.MonkeyPatch, seconds_a_step: float) -> None:
    """Let each look at the clock be so many seconds after the one before."""
    now = iter(step * seconds_a_step for step in range(1000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))


def test_all_items_come_through_and_short_work_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock(monkeypatch, 0.1)
    assert list(track(range(10), "counting")) == list(range(10))
    assert capsys.readouterr().err == ""


def test_long_work_has_a_line_at_first_and_then_now_and_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock(monkeypatch, 4.0)
    list(track(range(10), "counting"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["counting: 1 of 10, 4 s", "counting: 5 of 10, 20 s", "counting: 9 of 10, 36 s"]


def test_what_has_no_length_is_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def endless() -> Iterator[int]:
        yield from range(2)

    clock(monkeypatch, 4.0)
    assert list(track(endless(), "counting")) == [0, 1]
    assert capsys.readouterr().err == "counting: 1, 4 s\n"
    clock(monkeypatch, 4.0)
    list(track(endless(), "counting", total=2))
    assert capsys.readouterr().err == "counting: 1 of 2, 4 s\n"


def test_a_failure_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, 4.0)
    with pytest.raises(ZeroDivisionError):
        list(track((1 // value for value in (1, 0)), "dividing", total=2))
