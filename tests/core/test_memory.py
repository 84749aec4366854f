"""Freed memory that is kept: the system is not asked for the same pages again."""

import platform
import subprocess
import sys

import pytest

PAGES_TOUCHED = """
import resource, sys
import torch
from medino.core import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
entries = 48 * 2**18  # 48 MB of float32
for turn in range(40):
    if turn == 20:  # The heap has grown by then.
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(entries)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_touched(how: str) -> int:
    """Pages that the system handed out while twenty tensors of 48 MB were made and freed in turn."""
    return int(subprocess.run([sys.executable, "-c", PAGES_TOUCHED, how], capture_output=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_memory_is_handed_out_again() -> None:
    assert pages_touched("keep") < pages_touched("default") / 10
