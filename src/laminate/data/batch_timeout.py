"""A limit on how long a batch may take: a disk or network that hangs must end a training, not stop it for ever."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

DEFAULT_SECONDS = 600.0


class InputStalledError(RuntimeError):
    """No batch came in time. The threads that read hang, so the process can only be ended from outside Python."""


class ReadsInFlight:
    """Which record each thread reads at the moment, and since when."""

    def __init__(self) -> None:
        self._busy: dict[int, tuple[int, float]] = {}

    @contextlib.contextmanager
    def of(self, record: int) -> Generator[None]:
        thread = threading.get_ident()
        self._busy[thread] = (record, time.monotonic())
        try:
            yield
        finally:
            del self._busy[thread]

    def slowest(self) -> str:
        """The records under way, the one that has taken longest first."""
        now = time.monotonic()
        busy = sorted((since, record) for record, since in list(self._busy.values()))
        if not busy:
            return "no record is being read: the threads that read have ended"
        return "being read are " + ", ".join(f"record {r} for {now - since:.0f} s" for since, r in busy[:4])


class BatchTimeout:
    """Calls a function in a thread of its own, and waits `seconds` for it."""

    def __init__(self, seconds: float, reads: ReadsInFlight, source: str):
        if seconds <= 0:
            raise ValueError(f"the input needs some seconds for a batch, got {seconds}")
        self._seconds, self._reads, self._source = seconds, reads, source
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self.stalled = False

    def __call__(self, make: Callable[[], T]) -> T:
        """What `make` returns or raises.

        Raises:
          InputStalledError: it takes too long; the message names the records being read.
        """
        future = self._thread.submit(make)
        try:
            return future.result(self._seconds)
        except TimeoutError as error:
            if future.done():
                raise
            self.stalled = True
            raise InputStalledError(
                f"no batch from {self._source} for {self._seconds:.0f} s; {self._reads.slowest()}. Look at the disk "
                "or network that holds it; --data-timeout waits longer"
            ) from error

    def close(self) -> None:
        """End the thread, unless it hangs."""
        self._thread.shutdown(wait=not self.stalled)
