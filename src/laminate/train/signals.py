"""A polite request to stop: SIGTERM (a preempted machine) and Ctrl-C ask, and all hosts stop at the same point."""

import contextlib
import signal
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import FrameType


@dataclass
class StopRequest:
    """`requested` turns true at the first `poll` after a signal at which all hosts agree; `signal` is its name.

    `agree(wanted)` is a point at which they may: what this process wants goes in ("" for nothing), why all stop here
    comes out ("" if they do not). `received` is the signal that this process got. `unavailable` says why no signal
    can be seen, and is empty where signals are seen.
    """

    requested: bool = False
    signal: str = ""
    unavailable: str = ""
    received: str = ""
    agree: Callable[[str], str] = lambda wanted: wanted

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """The signal handler. Raises `KeyboardInterrupt` at a Ctrl-C that follows an earlier request."""
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or signal.Signals(number).name

    def poll(self) -> bool:
        """Whether to stop here. Cheap: every step and every batch of a validation asks, on every host alike."""
        if not self.requested:
            self.signal = self.agree(self.received)
            self.requested = bool(self.signal)
        return self.requested


@contextlib.contextmanager
def stop_requests(agree: Callable[[str], str] = lambda wanted: wanted) -> Generator[StopRequest]:
    """Turns SIGTERM and SIGINT into a request while the body runs; puts the earlier handlers back afterwards.

    Call `poll` in training and in evaluation. A second Ctrl-C interrupts at once. Outside the main
    thread Python delivers no signals, so the request then only says why it stays silent.
    """
    if threading.current_thread() is not threading.main_thread():
        yield StopRequest(unavailable="signals reach the main thread only", agree=agree)
        return
    request = StopRequest(agree=agree)
    previous = {number: signal.signal(number, request.receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            # None stands for a handler that was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
