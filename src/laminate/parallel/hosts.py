"""The processes of one training: one on each host of a pod, a single one on a laptop.

The only place that initialises `jax.distributed`. The hosts first meet by themselves (`channel` says why JAX's own
service is not enough) and keep that connection: it tells at once who is missing or gone, and lets all agree on when to
stop. JAX's own heartbeat is the second line.

In a process that is alone every function here does the obvious thing.
"""

import atexit
import contextlib
import ctypes
import faulthandler
import math
import os
import socket
import sys
import time
from collections.abc import Generator
from types import TracebackType
from typing import Any

import jax
from jax._src import distributed  # pyright: ignore[reportPrivateUsage]

from laminate.parallel.channel import ARRIVAL, GATHERING, Channel
from laminate.parallel.cluster import HostPlace

HEARTBEAT = 25  # seconds; longer than the channel's, which can name the host
SHUTDOWN = 20
JOINING = 60
STUCK_AFTER = 900.0  # seconds without a step


class _Together:
    """This process's part in a training of several."""

    channel: Channel | None = None
    stuck_after: float | None = None
    armed = 0.0
    checks = 0


def start(place: HostPlace | None, *, seconds: float = ARRIVAL) -> None:
    """Meet the other hosts and join them by JAX. Must come before any device use; None is a process that is alone.

    Raises OSError if they do not all arrive within `seconds`, ValueError if they need a token and have none.
    """
    if place is None or _Together.channel is not None:
        return
    _Together.channel = Channel(place, _end, greeting={"port": _free_port()}, seconds=seconds)
    sys.excepthook = _report_uncaught
    atexit.register(_Together.channel.close)
    # It would take SIGTERM for itself; `check` agrees on a step to stop at, in evaluation too.
    jax.config.update("jax_enable_preemption_service", False)
    own = f"[{place.own_address}]" if ":" in place.own_address else place.own_address
    address = f"{own or place.coordinator.rpartition(':')[0]}:{_Together.channel.welcome['port']}"
    jax.distributed.initialize(
        address,
        place.hosts,
        place.host,
        local_device_ids=place.local_devices,
        coordinator_bind_address=address if own else None,  # JAX's own service knows no token
        cluster_detection_method="deactivate",
        initialization_timeout=JOINING,
        heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=SHUTDOWN,
    )
    atexit.register(_leave_service_standing)


def host_index() -> int:
    """The number of this process, from 0."""
    return jax.process_index() if _Together.channel is None else _Together.channel.place.host


def host_count() -> int:
    """How many processes train together."""
    return jax.process_count() if _Together.channel is None else _Together.channel.place.hosts


def hosts_that_joined() -> int:
    """`host_count`, without starting the JAX backend."""
    return 1 if _Together.channel is None else _Together.channel.place.hosts


def is_first() -> bool:
    """Whether this process writes the logs and pictures."""
    return host_index() == 0


def host_names() -> list[str]:
    """`host 0 (worker-a)` and so on; one name without a number for a process that is alone."""
    if _Together.channel is None:
        return [socket.gethostname()]
    return [f"host {host} ({name})" for host, name in enumerate(_Together.channel.welcome["names"])]


def gather(topic: str, value: str, *, seconds: float = GATHERING) -> list[str]:
    """The `value` of every host, which all come here within so many `seconds`.

    All hosts call it for the same topics in the same order.
    """
    return [value] if _Together.channel is None else _Together.channel.gather(topic, value, seconds=seconds)


def barrier(topic: str, *, seconds: float = GATHERING) -> None:
    """Wait until all hosts are here."""
    gather(topic, "", seconds=seconds)


def any_host(flag: bool, topic: str = "any host") -> bool:
    """Whether `flag` is true on any host."""
    return "yes" in gather(topic, "yes" if flag else "no")


def of_first(topic: str, value: str) -> str:
    """The `value` of the first host: what all go by where each might see something else."""
    return gather(topic, value)[0]


def check(wanted: str) -> str:
    """A point, passed by all hosts in the same order, at which they may stop together (`Channel.check`)."""
    _rearm()
    return wanted if _Together.channel is None else _Together.channel.check(wanted)


def leave(code: int, text: str) -> None:
    """End this process of several before its time, after telling the others, which end with the same code.

    Does nothing in a process that is alone.
    """
    if _Together.channel is not None and not _Together.channel.at_end:
        _Together.channel.report(code, text)
        _exit(code)


def finish() -> None:
    """The end of a training, to which all hosts come; another one may follow."""
    if _Together.channel is not None:
        _Together.channel.finish()


@contextlib.contextmanager
def watched(seconds: float | None) -> Generator[None]:
    """A process that does not come to the next `check` for so long writes where its threads are, and ends; the others
    end with it, and write where theirs are.

    None: 15 minutes. Of several hosts the others would wait for it forever, and nobody may look at one that is alone.
    An infinite number is never.
    """
    asked = STUCK_AFTER if seconds is None else seconds
    _Together.stuck_after = None if math.isinf(asked) else asked
    _Together.armed, _Together.checks = 0.0, 0
    try:
        yield
    finally:
        _Together.stuck_after = None
        faulthandler.cancel_dump_traceback_later()


def _rearm() -> None:
    if _Together.stuck_after is None:
        return
    now = time.monotonic()
    _Together.checks += 1
    if _Together.checks <= 2 or now - _Together.armed > min(1.0, _Together.stuck_after / 10):
        _Together.armed = now
        # What follows the first check compiles.
        seconds = max(_Together.stuck_after, STUCK_AFTER) if _Together.checks == 1 else _Together.stuck_after
        # Not a thread of ours: a process may be stuck with the interpreter's lock held.
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)


def _report_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, trace)
    if issubclass(kind, jax.errors.JaxRuntimeError):
        time.sleep(2.0)  # if a host is lost, that is why a collective failed, and it is known in a moment
    leave(1, f"{kind.__name__}: {error}")


def _end(code: int, text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())
    # When one is stuck all are, and the first to end need not be the one at fault: each shows where it is.
    late = (
        _Together.stuck_after is not None and time.monotonic() - _Together.armed > _Together.stuck_after / 2
    )
    if late:
        faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
    _exit(code)


def _exit(code: int) -> Any:
    """Not `sys.exit`: at its end the interpreter waits for threads, and JAX for hosts that never come."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _leave_service_standing() -> None:
    """Let JAX's own service end with this process, in place of shutting it down.

    What it destroys at its shutdown is sometimes in use by a request that comes in at that moment, and gRPC then aborts
    a process that has done all its work (`Check failed: queue.Pop() == nullptr`).
    """
    state = distributed.global_state
    if state.service is not None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(state.service))
        state.service = None


def _free_port() -> int:
    with socket.create_server(("", 0)) as probe:
        return probe.getsockname()[1]
