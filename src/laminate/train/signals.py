"""A polite request to stop: SIGTERM (a preempted machine) and Ctrl-C ask, and all hosts stop at the same point.

Python runs a signal's handler in the main thread, between two of its own instructions: while that thread compiles for
minutes none runs, or what it raises waits for the compiler. A thread of ours learns of a signal at once, and acts where
the main one does not.
"""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGINT)
GRACE = 2.0  # seconds that the main thread has to act on a signal


@contextlib.contextmanager
def handled(handle: Callable[[str], None], late: Callable[[str, int], None]) -> Generator[bool]:
    """While the body runs, SIGTERM and SIGINT call `handle(name)` in the main thread. If the body still runs `GRACE`
    seconds later, another thread calls `late(name, how many signals came so far)`.

    Yields whether signals reach this thread: outside the main one Python delivers none. The earlier handlers come back
    afterwards.
    """
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    ended = threading.Event()

    def handler(number: int, frame: FrameType | None) -> None:
        handle(signal.Signals(number).name)

    told, tell = socket.socketpair()
    tell.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(told, ended, late), name="signals", daemon=True)
    watcher.start()
    previous = {number: signal.signal(number, handler) for number in NUMBERS}
    wakeup = signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    try:
        yield True
    finally:
        ended.set()
        signal.set_wakeup_fd(wakeup)
        for number, former in previous.items():
            # None stands for a handler that was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if former is None else former)
        tell.close()
        watcher.join()
        told.close()


def _watch(told: socket.socket, ended: threading.Event, late: Callable[[str, int], None]) -> None:
    came = 0
    while byte := told.recv(1):
        if byte[0] in NUMBERS:
            came += 1
            if not ended.wait(GRACE):
                late(signal.Signals(byte[0]).name, came)


class Interrupted(KeyboardInterrupt):
    """A signal that ends the process at once; its text is what is said."""


@dataclass
class StopRequest:
    """`requested` turns true at the first `poll` after a signal at which all hosts agree; `signal` is its name.

    `agree(wanted)` is a point at which they may: what this process wants goes in ("" for nothing), why all stop here
    comes out ("" if they do not). `received` is the signal that this process got. `unavailable` says why no signal
    can be seen, and is empty where signals are seen. As long as `unsaved` is False nothing would be lost, and a signal
    interrupts at once.
    """

    requested: bool = False
    signal: str = ""
    unavailable: str = ""
    received: str = ""
    agree: Callable[[str], str] = lambda wanted: wanted
    unsaved: bool = True
    interruption: Callable[[str], str] = field(default=lambda name: name)
    """What is said when a signal of that name ends the run at once."""

    def receive(self, name: str) -> None:
        """Raises `Interrupted` at a Ctrl-C that follows an earlier request, and where nothing is unsaved."""
        if not self.unsaved or (self.received and name == "SIGINT"):
            raise Interrupted(self.interruption(name))
        self.received = self.received or name

    def poll(self) -> bool:
        """Whether to stop here. Cheap: every step and every batch of a validation asks, on every host alike."""
        if not self.requested:
            self.signal = self.agree(self.received)
            self.requested = bool(self.signal)
        return self.requested


@contextlib.contextmanager
def stop_requests(
    agree: Callable[[str], str] = lambda wanted: wanted,
    *,
    unsaved: bool = True,
    interruption: Callable[[str], str] = lambda name: name,
    leave: Callable[[str], None] = lambda text: None,
) -> Generator[StopRequest]:
    """Turns SIGTERM and SIGINT into a request while the body runs; puts the earlier handlers back afterwards.

    Call `poll` in training and in evaluation. A second Ctrl-C interrupts at once, and so does any signal as long as
    nothing is `unsaved`: by `Interrupted`, or, where the main thread waits for the compiler or for a device, by
    `leave(interruption(name))` in another thread, which ends the process. Outside the main thread Python delivers no
    signals, so the request then only says why it stays silent.
    """
    request = StopRequest(agree=agree, unsaved=unsaved, interruption=interruption)

    def late(name: str, came: int) -> None:
        if not request.unsaved or (came > 1 and name == "SIGINT"):
            leave(interruption(name))

    with handled(request.receive, late) as reachable:
        if not reachable:
            request.unavailable = "signals reach the main thread only"
        yield request
