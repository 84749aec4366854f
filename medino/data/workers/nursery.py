"""Where workers come from: one process that has loaded the readers and forks a worker in milliseconds.

Of the ways to start a process none fits as it is. `fork` copies this one with the threads of torch, pyarrow and the
progress bar frozen in whatever they were doing, locks and all: its child can hang for ever. `spawn` imports torch
anew, seconds for each worker that a hostile file costs. Python's fork server has neither fault, but it runs the
user's own script again in each child, and can't be started from inside a worker of Dask, which is what reading on a
cluster does. So this is a fork server of a few lines: it never starts a thread, and so its children can be forked at
any time.
"""

import atexit
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from multiprocessing.connection import Connection

READY = b"r"
START = b"s"

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS"), "1")
"""The workers are what runs side by side; libraries that start threads of their own in each would stand in their
way."""


class Nursery:
    """The process that workers are forked from, seen from the process that wants them."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._control, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as errors:
            start = "import sys; sys.path[:] = sys.argv[2:]; from medino.data.workers.nursery import main; main()"
            self._process = subprocess.Popen(
                [sys.executable, "-c", start, str(theirs.fileno()), *sys.path],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=os.environ | _ONE_THREAD,
                # Not in the terminal's group: Ctrl-C is the business of the process that wants the workers.
                start_new_session=True,
            )
            theirs.close()
            if self._control.recv(1) != READY:
                self.close()
                errors.seek(0)
                raise RuntimeError(f"the processes that read can't start: {errors.read().decode(errors='replace')}")

    @property
    def usable(self) -> bool:
        """Whether it lives, and is this process's own (not one that a fork left it)."""
        return self.owner == os.getpid() and self._process.poll() is None

    def start(self, connection: Connection, note: Connection) -> None:
        """Fork a worker (see `medino.data.workers.worker.keep`) that has these ends of two connections."""
        socket.send_fds(self._control, [START], [connection.fileno(), note.fileno()])

    def close(self) -> None:
        """End it; workers that it made live on."""
        self._control.close()
        if self.owner == os.getpid():
            self._process.wait()


_LOCK = threading.Lock()
_NURSERIES: list[Nursery] = []


def nursery() -> Nursery:
    """This process's nursery, which is made on first use and lives as long as the process.

    Raises:
        RuntimeError: it can't be started.
    """
    with _LOCK:
        if not (_NURSERIES and _NURSERIES[0].usable):
            for former in _NURSERIES:
                former.close()
            _NURSERIES[:] = [Nursery()]
            atexit.register(_NURSERIES[0].close)
        return _NURSERIES[0]


def main() -> None:
    """The nursery itself: load the readers, then fork a worker for each pair of connections that comes."""
    import torch

    from medino.data.readers import load_readers
    from medino.data.workers.worker import keep

    torch.set_num_threads(1)
    load_readers()
    gc.freeze()  # else the first collection in each worker would copy the memory that it shares with all others
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    control.send(READY)
    # What decoders print goes nowhere: they quote what is in the file.
    os.dup2(1, 2)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, len(START), 2)
        if not message:
            return
        if os.fork() == 0:
            try:
                control.close()
                keep(Connection(descriptors[0]), Connection(descriptors[1], readable=False))
            finally:
                os._exit(1)
        for descriptor in descriptors:
            os.close(descriptor)
