"""Many files are read in order by any number of processes, and one that kills its process costs only itself."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from worker_tasks import chatter, dies_the_first_time, half, half_or_end, process_of

from medino.core import InputError
from medino.data.workers import Limits, Workers, read_all

LIMITS = Limits(seconds=120.0, megabytes=256)
"""Time enough on any machine; what never ends gets less, as it takes all that it may."""

ENDLESS, ENDLESS_LIMITS = "endless loop in C", Limits(seconds=3.0, megabytes=256)

PATIENCE = 120.0
"""Seconds after which what should have happened never will."""

ENDS = {
    "killed": "most likely for want of memory",
    "segmentation fault": "crashed on this file (segmentation fault)",
    "abort": "crashed on this file (abort)",
    "exit": "left its process on this file (exit code 3)",
    ENDLESS: "longer than the 3 s that a file may take (--time_limit)",
    "memory": "more than the 256 MB of memory that a file may take (--memory_limit)",
    "memory, bit by bit": "more than the 256 MB of memory",
    "memory in C": "crashed on this file (segmentation fault)",
    "unreadable": "there is no image in it",
    "fault": "the reader failed on this file (KeyError)",
}


def answers_to(tasks: Sequence[int | str], processes: int) -> list[object]:
    limits = ENDLESS_LIMITS if ENDLESS in tasks else LIMITS
    return list(read_all(half_or_end, tasks, Workers(processes, limits), "reading"))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_answers_come_in_the_tasks_order(workers: int) -> None:
    assert list(read_all(half, range(1000), workers, "reading")) == [task // 2 for task in range(1000)]


def test_nothing_to_read_has_no_answers() -> None:
    assert list(read_all(half, [], 2, "reading")) == []


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_its_process_is_the_one_without_an_answer_and_the_reason_says_why(end: str) -> None:
    tasks: list[int | str] = list(range(60))
    tasks[37] = end
    answers = answers_to(tasks, 1)
    assert ENDS[end] in str(answers[37])
    assert "Doe" not in str(answers[37])
    assert [answer for place, answer in enumerate(answers) if place != 37] == [n // 2 for n in range(60) if n != 37]


def test_the_answers_do_not_depend_on_the_number_of_workers() -> None:
    tasks: list[int | str] = list(range(300))
    for place, end in enumerate(["abort", "killed", "abort", "memory", "exit", "unreadable"]):
        tasks[11 * place + 1] = tasks[299 - place] = end
    tasks[150] = "endless loop in C"
    alone = answers_to(tasks, 1)
    assert answers_to(tasks, 2) == alone
    assert answers_to(tasks, 4) == alone
    assert all(isinstance(answer, int) == isinstance(task, int) for task, answer in zip(tasks, alone, strict=True))


def test_a_file_that_only_a_hurt_worker_dies_of_is_read_by_the_next(tmp_path: Path) -> None:
    tasks = [str(tmp_path / name) for name in "abc"]
    assert list(read_all(dies_the_first_time, tasks, 2, "reading")) == ["read"] * 3


def test_tasks_are_drawn_and_answered_as_they_come() -> None:
    endless = itertools.count()
    answers = read_all(half, endless, 2, "reading")
    assert list(itertools.islice(answers, 5)) == [0, 0, 1, 1, 2]
    answers.close()
    assert next(endless) < 20_000


def test_answers_larger_than_a_connection_holds_come_whole() -> None:
    tasks = ["x" * (1 << 20)] * 30
    assert list(read_all(str.upper, tasks, 2, "reading")) == ["X" * (1 << 20)] * 30


def test_an_error_that_is_no_files_ends_the_reading_in_its_own_words() -> None:
    with pytest.raises(InputError, match="the setting does not fit"):
        answers_to([1, 2, "input error", 4], 2)


def test_a_function_that_no_worker_can_load_is_said() -> None:
    code = "def f(x): return x\nfrom medino.data.workers import read_all\nprint(list(read_all(f, [1], 1, 'reading')))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "a worker can't load what it is to do" in told.stderr


def test_what_decoders_print_reaches_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(read_all(chatter, range(4), 1, "reading")) == [0, 1, 2, 3]
    told = capfd.readouterr()
    assert "Doe" not in told.out + told.err


@pytest.mark.parametrize("limits", [{"seconds": 0.0}, {"megabytes": -1.0}, {"seconds": float("nan")}])
def test_a_limit_that_nothing_can_keep_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(InputError, match="limit of a file"):
        Limits(**limits)


def test_no_worker_is_an_input_error() -> None:
    with pytest.raises(InputError, match="0 worker processes"):
        Workers(0)


def alive(process: int) -> bool:
    """Whether a process runs, zombies apart."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def in_time(condition: Callable[[], bool]) -> bool:
    """Whether a condition comes true before anybody's patience ends."""
    deadline = time.monotonic() + PATIENCE
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return met


def gone(processes: set[int]) -> bool:
    """Whether all of them end."""
    return in_time(lambda: not any(map(alive, processes)))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_no_worker_outlives_the_wish_for_its_answers() -> None:
    answers = read_all(process_of, itertools.count(), 2, "reading")
    processes = {int(answer) for answer in itertools.islice(answers, 500)}
    answers.close()
    assert gone(processes)


INTERRUPTED = """
import itertools, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which is not there in what a shell runs in the background
sys.path.insert(0, sys.argv[1])
from worker_tasks import half_or_end, process_of
from medino.data.workers import Limits, Workers, read_all
answers = read_all(process_of, itertools.chain(range(400)), 2, "reading")
try:
    print(*{next(answers) for _ in range(400)}, flush=True)
    list(read_all(half_or_end, ["endless loop in C"] * 1000, Workers(2, Limits(seconds=10.0)), "reading"))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_reading_leaves_no_process_and_no_traceback(by: signal.Signals) -> None:
    tests = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", INTERRUPTED, str(tests)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        # The nursery, two workers of the first reading and one of the second, each with its keeper.
        begun = in_time(lambda: len(processes_below(child.pid)) >= 7)
        children = processes_below(child.pid)
        os.killpg(child.pid, by)
        assert begun
        assert child.wait(PATIENCE) == (130 if by == signal.SIGINT else -signal.SIGKILL)
        told = child.stderr.read()
        assert "Traceback" not in told
        assert "KeyboardInterrupt" not in told
    assert gone(children)


def processes_below(process: int) -> set[int]:
    """The processes that a process started, and those that they started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    below = {process}
    while grown := {child for child, parent in parents.items() if parent in below} - below:
        below |= grown
    return below - {process}
