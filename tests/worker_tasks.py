"""What the tests give workers to do; workers import it, so that it can't stand in a test's own file."""

import ctypes
import itertools
import os
import signal
import sys
from pathlib import Path

import pydicom
from pydicom.pixels import pixel_array

from medino.core import InputError, UnreadableImageError


def half(task: int) -> int:
    return task // 2


def half_or_end(task: int | str) -> int | str:
    """Half of a number; a word ends the process, or would, in the way that decoders do."""
    if isinstance(task, int):
        return task // 2
    match task:
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segmentation fault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "endless loop in C":
            sum(itertools.repeat(0))
        case "memory":
            return len(bytearray(3 << 30))
        case "memory, bit by bit":
            return len([bytearray(1 << 20) for _ in range(3 << 10)])
        case "memory in C":
            ctypes.memset(ctypes.CDLL(None).malloc(ctypes.c_size_t(3 << 30)), 0, 1)
        case "unreadable":
            raise UnreadableImageError("there is no image in it")
        case "fault":
            raise KeyError("Doe^Jane")
        case "input error":
            raise InputError("the setting does not fit")
    return "survived"


def dies_the_first_time(marker: str) -> str:
    if not Path(marker).exists():
        Path(marker).touch()
        os.abort()
    return "read"


def chatter(task: int) -> int:
    print("Doe^Jane")
    os.write(2, b"Doe^Jane\n")
    sys.stderr.write("Doe^Jane\n")
    return task


def process_of(task: int) -> int:
    return os.getpid()


def pydicom_reads(path: Path) -> bool:
    """Whether pydicom alone finds pixels in a file; too large an image counts as none."""
    try:
        dataset = pydicom.dcmread(path, force=True)
        return dataset.Rows * dataset.Columns < 2**27 and pixel_array(dataset, index=0).size > 0
    except Exception:
        return False
