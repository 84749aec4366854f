"""What this process does with memory that it has freed."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of mallopt(3) by their numbers in glibc's malloc.h."""


def keep_freed_memory() -> bool:
    """Let the C library hand memory that was freed out again, instead of giving it back to the system each time.

    By default glibc maps each block of over 32 MB anew. The system clears its pages when they are first touched, which
    takes longer than most of what a network on a CPU computes in them; a training step frees and asks for the same
    sizes again and again. The process then stays as large as it once was.

    Returns:
        Whether this process's C library can do so.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
