"""Many files are read in order by any number of processes, and one that kills its decoder costs only itself."""

import os
import signal

import pytest

from medino.data.reading import DECODER_DIED, read_all


def half_or_death(task: int) -> int:
    """Stands for a decoder that faults on some files."""
    if task % 20 == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return task // 2


@pytest.mark.parametrize("workers", [1, 2])
def test_answers_come_in_the_tasks_order(workers: int) -> None:
    assert list(read_all(abs, [-3, 2, -1] * 10, workers, "reading")) == [3, 2, 1] * 10


def test_a_decoder_that_dies_costs_its_own_file_alone() -> None:
    answers = list(read_all(half_or_death, range(50), 2, "reading"))
    assert answers == [DECODER_DIED if task % 20 == 7 else task // 2 for task in range(50)]
