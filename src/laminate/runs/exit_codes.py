"""How a training leaves: exit code 0 done or interrupted, 1 failed, 2 refused before it started.

Of several processes all leave with the same code; each says on standard error what it met, or who met it.
"""

import contextlib
import os
import sys
from collections.abc import Generator

from laminate.data.batch_timeout import InputStalledError
from laminate.data.faults import TooManyBadImagesError
from laminate.data.records import RecordFileError
from laminate.parallel.hosts import finish, host_index, host_names, hosts_that_joined, leave
from laminate.storage.writing import UnwritableError
from laminate.train.loop import DivergedError, OutOfMemory
from laminate.train.manifest import CheckpointError, MismatchedCheckpoint
from laminate.train.signals import Interrupted, handled
from laminate.train.trackers import TrackerError

FAILED, REFUSED = 1, 2
INTERRUPTED = "interrupted; the same command goes on from what is saved"
_KNOWN = (
    DivergedError,
    OutOfMemory,
    TooManyBadImagesError,
    RecordFileError,
    CheckpointError,
    UnwritableError,
    TrackerError,
)


@contextlib.contextmanager
def user_errors(program: str) -> Generator[None]:
    """What a user can mend becomes one line on standard error and exit code 2; a place that cannot be written, 1."""
    try:
        yield
    except UnwritableError as error:
        raise _left(program, f"{error}", FAILED) from error
    except (ValueError, OSError) as error:
        raise _left(program, f"{error}", REFUSED) from error


@contextlib.contextmanager
def training_errors(program: str) -> Generator[None]:
    """The known ways in which a training ends early become one line on standard error and an exit code.

    1: it diverged, a device is out of memory, the data are damaged, checkpoints cannot be read, or something cannot be
    written. 2: the checkpoint to begin with does not fit, or a tracker cannot be started. 0: Ctrl-C or SIGTERM outside
    the steps, where nothing is unsaved; at once, even while something is compiled. Any other exception is a fault of
    the program and keeps its traceback.
    """
    try:
        with handled(_interrupt, lambda name, came: leave_now(program, INTERRUPTED)):
            yield
            finish()
    except _KNOWN as error:
        code = REFUSED if isinstance(error, MismatchedCheckpoint | TrackerError) else FAILED
        raise _left(program, f"{error}", code) from error
    except InputStalledError as error:
        _left(program, f"{error}", FAILED)
        sys.stderr.flush()
        os._exit(FAILED)  # the interpreter would wait for the threads that hang
    except Interrupted as error:
        leave_now(program, f"{error}")  # the interpreter would wait for the compiler, in a thread of JAX
    except KeyboardInterrupt as error:
        raise _left(program, INTERRUPTED, 0) from error


def _left(program: str, reason: str, code: int) -> SystemExit:
    """Say why, and end: one of several processes at once, after telling the others; else by what is returned."""
    where = f"{host_names()[host_index()]}: " if hosts_that_joined() > 1 else ""
    sys.stderr.write(f"{program}: {where}{reason}\n")
    leave(code, reason)
    return SystemExit(code)


def leave_now(program: str, reason: str) -> None:
    """End the process at once with exit code 0, from any thread: the main one waits for something that takes long."""
    _left(program, reason, 0)
    sys.stderr.flush()
    os._exit(0)


def _interrupt(name: str) -> None:
    raise Interrupted(INTERRUPTED)


def say(text: str, *, primary: bool) -> None:
    """One line on standard error, from the first process."""
    if primary:
        sys.stderr.write(f"{text}\n")
