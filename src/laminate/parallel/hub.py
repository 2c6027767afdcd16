"""The meeting point of all hosts: a thread of host 0 to which every host, host 0 too, holds one connection.

It knows who has arrived, who has gone, and what each has said. Nothing of the training passes through it.
"""

import contextlib
import dataclasses
import selectors
import socket
import threading
import time
from typing import Any

from laminate.parallel.wire import Line, Message

TICK = 0.5  # seconds between two looks at the clock
BEAT = 1.0  # seconds between two signs of life
SILENCE = 15.0  # seconds without one after which a host counts as lost
ADVICE = "start all workers with tpu/launch.sh"


@dataclasses.dataclass(eq=False)
class _Peer:
    line: Line
    host: int | None = None
    name: str = ""
    left: bool = False
    heard: float = dataclasses.field(default_factory=time.monotonic)

    def __str__(self) -> str:
        return f"host {self.host} ({self.name})"


@dataclasses.dataclass
class _Round:
    """One gathering under way: the values that have come, by host."""

    topic: str
    end: float
    values: dict[int, str] = dataclasses.field(default_factory=dict[int, str])


class Hub:
    """Waits `seconds` for `hosts` hosts at `port`, then passes on what they say, until all have left.

    `greeting` is told to every host when all have arrived.

    Raises OSError if the port cannot be had.
    """

    def __init__(self, port: int, hosts: int, *, seconds: float, greeting: Message):
        self._hosts, self._seconds, self._greeting = hosts, seconds, greeting
        self._listener = _listen(port)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._strangers: set[_Peer] = set()
        self._peers: dict[int, _Peer] = {}
        self._rounds: dict[str, _Round] = {}
        self._end = time.monotonic() + seconds
        self._open = self._closed = False
        self._refusal: Message | None = None
        self._ticked = self._beat = time.monotonic()
        threading.Thread(target=self._run, name="hosts-hub", daemon=True).start()

    def _run(self) -> None:
        while not self._closed:
            for key, _ in self._selector.select(TICK):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._read(key.data)
            self._tick(time.monotonic())
        for peer in [*self._peers.values(), *self._strangers]:
            peer.line.close()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            peer = _Peer(Line(connection))
            self._strangers.add(peer)
            self._selector.register(connection, selectors.EVENT_READ, peer)
            if self._refusal is not None:
                _tell(peer, self._refusal)

    def _read(self, peer: _Peer) -> None:
        messages = peer.line.receive()
        if messages is None:
            self._drop(peer)
            return
        peer.heard = time.monotonic()
        for message in messages:
            self._hear(peer, message)

    def _hear(self, peer: _Peer, message: Message) -> None:
        if peer.host is None:
            self._welcome(peer, message)
        elif message["kind"] == "word":
            self._gather(peer.host, message)
        elif message["kind"] == "news":
            self._tell_all({**message, "host": peer.host, "name": peer.name}, last=peer)
        elif message["kind"] == "bye":
            peer.left = True
            self._closed = all(other.left for other in self._peers.values())

    def _welcome(self, peer: _Peer, hello: Message) -> None:
        host, name, hosts = hello.get("host"), hello.get("name"), hello.get("hosts")
        if not isinstance(host, int) or not isinstance(name, str):
            self._drop(peer)
            return
        if self._refusal is not None:
            return
        peer.host, peer.name = host, name
        if hosts != self._hosts:
            self._refuse(f"{peer} was started as one of {hosts} hosts, host 0 as one of {self._hosts}")
        elif host in self._peers:
            self._refuse(f"two processes say that they are host {host}: {self._peers[host].name}, {name}")
        else:
            self._strangers.discard(peer)
            self._peers[host] = peer
            if len(self._peers) == self._hosts:
                self._begin()

    def _begin(self) -> None:
        self._open = True
        self._selector.unregister(self._listener)
        self._listener.close()
        names = [self._peers[host].name for host in range(self._hosts)]
        self._tell_all({"kind": "welcome", "names": names, **self._greeting})

    def _refuse(self, reason: str) -> None:
        """Tell all that are here, and for a moment those that are still on their way."""
        self._refusal = {"kind": "refused", "reason": reason}
        self._end = time.monotonic() + BEAT
        for peer in [*self._peers.values(), *self._strangers]:
            _tell(peer, self._refusal)

    def _gather(self, host: int, message: Message) -> None:
        round_ = self._rounds.setdefault(
            message["round"], _Round(message["topic"], time.monotonic() + message["seconds"])
        )
        round_.values[host] = message["value"]
        if round_.topic != message["topic"]:
            self._give_up(f"the hosts are out of step: at {round_.topic!r} and at {message['topic']!r}")
        elif len(round_.values) == self._hosts:
            del self._rounds[message["round"]]
            values = [round_.values[host] for host in range(self._hosts)]
            self._tell_all({"kind": "gathered", "round": message["round"], "values": values})

    def _tick(self, now: float) -> None:
        slept, self._ticked = now - self._ticked > SILENCE / 3, now
        if slept:  # this process was stopped: that says nothing about the others
            for peer in self._peers.values():
                peer.heard = now
        if not self._open:
            if now > self._end and self._refusal is None:
                self._refuse(self._missing())
            self._closed = now > self._end
            return
        if now - self._beat > BEAT:
            self._beat = now
            self._tell_all({"kind": "beat"})
        for peer in list(self._peers.values()):
            if now - peer.heard > SILENCE and not peer.left:
                self._lost(peer, f"has not been heard from for {SILENCE:.0f} s")
        for late in [one for one in self._rounds.values() if now > one.end]:
            absent = [str(peer) for host, peer in sorted(self._peers.items()) if host not in late.values]
            self._give_up(f"{', '.join(absent)} did not come to {late.topic!r} in time")

    def _missing(self) -> str:
        absent = [f"host {host}" for host in range(self._hosts) if host not in self._peers]
        return (
            f"{len(self._peers)} of {self._hosts} hosts arrived within {self._seconds:.0f} s; "
            f"missing: {', '.join(absent)}; {ADVICE}"
        )

    def _drop(self, peer: _Peer) -> None:
        self._selector.unregister(peer.line.socket)
        peer.line.close()
        self._strangers.discard(peer)
        if peer.host is None or self._peers.get(peer.host) is not peer:
            return
        if self._open and not peer.left:
            self._lost(peer, "ended without a word (killed, out of memory or preempted)")
        elif not self._open:
            del self._peers[peer.host]

    def _lost(self, peer: _Peer, how: str) -> None:
        peer.left = True
        self._tell_all({"kind": "lost", "host": peer.host, "name": peer.name, "how": how})

    def _give_up(self, reason: str) -> None:
        self._rounds.clear()
        self._tell_all({"kind": "given up", "reason": reason})

    def _tell_all(self, message: Message, last: _Peer | None = None) -> None:
        """To every host that is still there; to `last` when all the others know."""
        for peer in sorted(self._peers.values(), key=lambda peer: peer is last):
            _tell(peer, message)


def _tell(peer: _Peer, message: Message) -> None:
    with contextlib.suppress(OSError):  # its end is noticed when it is read from
        peer.line.send(message)


def _listen(port: int) -> socket.socket:
    """A socket that takes connections to any address of this machine."""
    options: dict[str, Any] = {"reuse_port": False, "backlog": 1024}
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, **options)
        return socket.create_server(("", port), **options)
    except OSError as error:
        raise OSError(
            f"host 0 cannot listen at port {port}: {error.strerror or error}; end what uses it or give another port"
        ) from error
