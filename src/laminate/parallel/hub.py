"""The meeting point of all hosts: a thread of host 0 to which every host, host 0 too, holds one connection.

It knows who has arrived, who has gone, and what each has said. Nothing of the training passes through it.
"""

import contextlib
import dataclasses
import hmac
import selectors
import socket
import threading
import time
from typing import Any

from laminate.parallel.cluster import TOKEN, HostPlace
from laminate.parallel.wire import PROOF, Line, Message, proof_of

TICK = 0.5  # seconds between two looks at the clock
BEAT = 1.0  # seconds between two signs of life
SILENCE = 15.0  # seconds without one after which a host counts as lost
SHOWING = 5.0  # seconds in which a connection has to show that it is of this job
STRANGERS = 256  # connections at a time that have not shown it yet
ADVICE = "start all workers with tpu/launch.sh"


@dataclasses.dataclass(eq=False)
class _Peer:
    line: Line
    proof: bytes = b""
    known: bool = False  # holds the token of the job
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
    """Waits `seconds` for all hosts at the port of `place`, then passes on what they say, until all have left.

    A connection that does not show at once that it holds the token of `place` is dropped, and nothing that it sends
    is interpreted. `greeting` is told to every host when all have arrived.

    Raises OSError if the port cannot be had.
    """

    def __init__(self, place: HostPlace, *, seconds: float, greeting: Message):
        self._hosts, self._seconds, self._greeting = place.hosts, seconds, greeting
        self._proof, self._turned_away = proof_of(place.token), 0
        self._listener = _listen(place)
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
                elif key.data.line.socket.fileno() >= 0:  # it was not dropped a moment ago
                    self._read(key.data)
            self._tick(time.monotonic())
        if self._refusal is not None and 0 in self._peers:
            _tell(self._peers[0], self._refusal)  # its process, and this thread with it, ends when it knows
        for peer in [*self._peers.values(), *self._strangers]:
            peer.line.close()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            waiting = [one for one in self._strangers if not one.known]
            if len(waiting) >= STRANGERS:
                self._turn_away(min(waiting, key=lambda one: one.heard))
            peer = _Peer(Line(connection))
            self._strangers.add(peer)
            self._selector.register(connection, selectors.EVENT_READ, peer)

    def _examine(self, peer: _Peer) -> None:
        """Read no more than a proof, and nothing else before it has been found right."""
        shown = peer.line.shown(PROOF - len(peer.proof))
        peer.proof += shown
        if not shown:
            self._turn_away(peer)
        elif len(peer.proof) == PROOF:
            peer.known = hmac.compare_digest(peer.proof, self._proof)
            if not peer.known:
                self._turn_away(peer)
                return
            _tell(peer, {"kind": "known"})
            if self._refusal is not None:
                _tell(peer, self._refusal)

    def _turn_away(self, peer: _Peer) -> None:
        self._turned_away += 1
        self._drop(peer)

    def _read(self, peer: _Peer) -> None:
        if not peer.known:
            self._examine(peer)
            return
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
        for stranger in list(self._strangers):
            self._drop(stranger)
        names = [self._peers[host].name for host in range(self._hosts)]
        self._tell_all({"kind": "welcome", "names": names, **self._greeting})

    def _refuse(self, reason: str) -> None:
        """Tell all that are here, and for a moment those that are still on their way."""
        self._refusal = {"kind": "refused", "reason": reason}
        self._end = time.monotonic() + BEAT
        for peer in [*self._peers.values(), *self._strangers]:
            if peer.known and peer is not self._peers.get(0):
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
        for peer in [one for one in self._strangers if not one.known and now - one.heard > SHOWING]:
            self._turn_away(peer)
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
        strangers = f" ({self._turned_away} connections without this job's {TOKEN} were dropped)"
        return (
            f"{len(self._peers)} of {self._hosts} hosts arrived within {self._seconds:.0f} s; "
            f"missing: {', '.join(absent)}{strangers if self._turned_away else ''}; {ADVICE}"
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
        """To every host that is still there; to `last` when all the others know, but for host 0, with whose process
        this thread may end."""
        for peer in sorted(self._peers.values(), key=lambda peer: (peer.host == 0, peer is last)):
            _tell(peer, message)


def _tell(peer: _Peer, message: Message) -> None:
    with contextlib.suppress(OSError):  # its end is noticed when it is read from
        peer.line.send(message)


def _listen(place: HostPlace) -> socket.socket:
    """A socket that takes connections from this machine alone if all hosts are on it, else to any of its addresses."""
    port, own = place.address[1], place.own_address
    options: dict[str, Any] = {"reuse_port": False, "backlog": 1024}
    try:
        if own:
            family = socket.AF_INET6 if ":" in own else socket.AF_INET
            return socket.create_server((own, port), family=family, **options)
        if socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, **options)
        return socket.create_server(("", port), **options)
    except OSError as error:
        raise OSError(
            f"host 0 cannot listen at port {port}: {error.strerror or error}; end what uses it or give another port"
        ) from error
