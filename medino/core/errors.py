"""What medino raises when the user, not the code, has to act: a sentence that says what, where and what to do."""

import signal


class MedinoError(Exception):
    """A failure said in the user's words. The command prints it on one line, without a traceback.

    Attributes:
        exit_status: what the `medino` command returns when this error reaches it.
    """

    exit_status = 1


class InputError(MedinoError):
    """Something given (a file, a folder, a setting, a table) can't be used as it is; nothing was written."""

    exit_status = 2


class TrainingStoppedError(MedinoError):
    """Training ended itself (non-finite values, collapse); the last good checkpoint was kept."""


class InterruptedRunError(MedinoError):
    """The user or the cluster asked a run to stop, and it did. The exit status is the shell's for the signal.

    Attributes:
        number: the signal.
    """

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message)
        self.number = number
        self.exit_status = 128 + number


class UnreadableImageError(MedinoError):
    """One file or frame can't be decoded. Scans and training turn it into a reject with this text as the reason."""
