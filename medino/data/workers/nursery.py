"""Where workers come from: one process that has loaded the readers and forks a worker in milliseconds.

Of the ways to start a process none fits as it is. `fork` copies this one with the threads of torch, pyarrow and the
progress bar frozen in whatever they were doing, locks and all: its child can hang for ever. `spawn` imports all
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
    """The process that workers are forked from, seen from the process that wants them.

    Args:
        decodes: load torch too, before workers are forked: it takes longer than all the rest, and headers are read
            without it.
    """

    def __init__(self, decodes: bool) -> None:
        self.owner = os.getpid()
        self._ready = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - read when the process has not come up
        self._control, theirs = socket.socketpair()
        with theirs:
            start = "import sys; sys.path[:] = sys.argv[3:]; from medino.data.workers.nursery import main; main()"
            self._process = subprocess.Popen(
                [sys.executable, "-c", start, str(theirs.fileno()), str(int(decodes)), *sys.path],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=os.environ | _ONE_THREAD,
                # Not in the terminal's group: Ctrl-C is the business of the process that wants the workers.
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it has loaded what workers need.

        Raises:
            RuntimeError: it can't.
        """
        if self._ready:
            return
        if self._control.recv(1) != READY:
            self.close()
            self._errors.seek(0)
            raise RuntimeError(f"the processes that read can't start: {self._errors.read().decode(errors='replace')}")
        self._ready = True

    @property
    def usable(self) -> bool:
        """Whether it lives, and is this process's own (not one that a fork left it)."""
        return self.owner == os.getpid() and self._process.poll() is None

    def start(self, connection: Connection, note: Connection) -> None:
        """Fork a worker (see `medino.data.workers.worker.keep`) that has these ends of two connections.

        Raises:
            RuntimeError: the nursery can't be started.
        """
        self.wait()
        socket.send_fds(self._control, [START], [connection.fileno(), note.fileno()])

    def close(self) -> None:
        """End it; workers that it made live on."""
        self._control.close()
        if self.owner == os.getpid():
            try:
                self._process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                # A fork of this process still holds the other end.
                self._process.kill()
                self._process.wait()


_LOCK = threading.Lock()
_NURSERIES: dict[bool, Nursery] = {}


def nursery(decodes: bool) -> Nursery:
    """This process's nursery, which is made on first use and lives as long as the process.

    Args:
        decodes: whether workers are to decode pixels; one that can serves those that needn't as well.
    """
    with _LOCK:
        for kind in (True, False) if not decodes else (True,):
            if kind in _NURSERIES and _NURSERIES[kind].usable:
                return _NURSERIES[kind]
        former = _NURSERIES.get(decodes)
        if former is not None:
            former.close()
        _NURSERIES[decodes] = Nursery(decodes)
        return _NURSERIES[decodes]


def close_nurseries() -> None:
    """End this process's nurseries; the next workers come from a new one."""
    with _LOCK:
        for former in _NURSERIES.values():
            former.close()
        _NURSERIES.clear()


atexit.register(close_nurseries)


def main() -> None:
    """The nursery itself: load the readers, then fork a worker for each pair of connections that comes."""
    import pydicom.config

    from medino.data.readers import HEADER_FORMATS, load_readers
    from medino.data.workers.worker import keep

    if int(sys.argv[2]):
        import torch

        torch.set_num_threads(1)
        load_readers()
    else:
        load_readers(HEADER_FORMATS)
    # What breaks the standard's rules is read as it is, and the warnings that it does would be thrown away.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
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
