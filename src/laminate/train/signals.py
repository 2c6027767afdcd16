"""A polite request to stop: SIGTERM (a preempted machine) and Ctrl-C set a flag that the loop polls."""

import contextlib
import signal
import threading
from collections.abc import Generator
from dataclasses import dataclass
from types import FrameType


@dataclass
class StopRequest:
    """`requested` turns true at the first signal; `signal` is its name.

    `unavailable` says why no signal can be seen, and is empty where signals are seen.
    """

    requested: bool = False
    signal: str = ""
    unavailable: str = ""

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """The signal handler. Raises `KeyboardInterrupt` at a Ctrl-C that follows an earlier request."""
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        self.signal = self.signal or signal.Signals(number).name


@contextlib.contextmanager
def stop_requests() -> Generator[StopRequest]:
    """Turns SIGTERM and SIGINT into a flag while the body runs; puts the earlier handlers back afterwards.

    Poll `requested` in training and in evaluation. A second Ctrl-C interrupts at once. Outside the main
    thread Python delivers no signals, so the request then only says why it stays silent.
    """
    if threading.current_thread() is not threading.main_thread():
        yield StopRequest(unavailable="signals reach the main thread only")
        return
    request = StopRequest()
    previous = {number: signal.signal(number, request.receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            # None stands for a handler that was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
