"""The connection of one host to the meeting point of all: what it hears, and how it agrees with the others.

JAX has a coordination service of its own, behind `jax.distributed`. It carries what goes well: values of all hosts in
1.1 ms (here 0.3 ms), a barrier that tells the numbers of those that do not come, news of a failure under a key that all
wait for (0.01 s). What goes wrong it does not. Measured with JAX 0.10.2, three processes on one machine:

- Hosts that do not arrive: `initialize(initialization_timeout=5)` ended each process after 10 s by SIGABRT in C++,
  where no Python runs, with DEADLINE_EXCEEDED and no names (here: an exception after 5.2 s that names them).
- A host that was told another number of hosts is taken in without a word. Of two with the same number one is aborted
  at once, and the others wait until the deadline (here all are refused at once, with the reason).
- A host that is killed is missed after 8.4 s at a heartbeat of 10 s, 2.7 s at one of 2 s (here 0.05 s); host 0 after
  0.1 s, as "Failed to send RPC". One that is stopped, after 8.5 s at 10 s (here 14.4 s at 15 s).
- Each of these ends the survivors by SIGABRT (exit code -6, not 1), at most with the number of the host, and Python is
  not asked: `missed_heartbeat_callback` dies of std::bad_cast, and `jax_enable_recoverability` does not help when host
  0 is lost. `get_live_nodes` does not report a host that is stopped but waits for it, 8.5 s.
- Whoever reaches its port may join: it knows no credentials.
"""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable

from laminate.parallel.cluster import TOKEN, HostPlace
from laminate.parallel.hub import ADVICE, BEAT, SILENCE, Hub
from laminate.parallel.wire import Line, Message, proof_of

ARRIVAL = 90.0  # seconds in which all hosts have to arrive
GATHERING = 1800.0  # seconds in which all hosts have to come to the same point of the program


class Channel:
    """Host `place.host` among the others, from the moment when all have arrived.

    `ending(code, text)` is called, in another thread, when a host has left before the end: it has to end this
    process, whose next collective would wait forever.

    Raises OSError if not all hosts arrive within `seconds`, naming those that are missing, or if two of them
    contradict each other or do not hold the same token; ValueError if they need a token and have none.
    """

    def __init__(
        self,
        place: HostPlace,
        ending: Callable[[int, str], None],
        *,
        greeting: Message | None = None,
        seconds: float = ARRIVAL,
    ):
        place.require_token()
        self.place = place
        self._ending = ending
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._answers: dict[str, list[str]] = {}
        self._rounds = self._checks = 0
        self._cause, self._agreed, self._asked, self._frozen = "", -1, False, False
        self._at_end = False
        self._missed: str | None = None
        self._reported = threading.Event()
        if place.host == 0:
            Hub(place, seconds=seconds, greeting=greeting or {})
        self._line = Line(_connect(place, seconds))
        self._early: list[Message] = []
        try:
            self._line.show(proof_of(place.token))
            self._line.send({"host": place.host, "hosts": place.hosts, "name": socket.gethostname()})
            self.welcome = self._arrive(seconds + SILENCE)
        except OSError:
            self._line.close()
            raise
        threading.Thread(target=self._run, name="hosts", daemon=True).start()

    def gather(self, topic: str, value: str, *, seconds: float = GATHERING) -> list[str]:
        """The values of all hosts in their order, when all have come here. For one thread, which calls it for the
        same topics in the same order on every host."""
        self._go_on()
        self._rounds += 1
        name = f"{self._rounds}"
        word = {"kind": "word", "round": name, "topic": topic, "value": value, "seconds": seconds}
        self._send(word)
        with self._changed:
            self._changed.wait_for(lambda: name in self._answers)
            return self._answers.pop(name)

    def check(self, wanted: str) -> str:
        """One of many points at which all hosts may stop together; "" to go on, or why all stop here.

        `wanted` is why this host wants to stop, "" if it does not. Every host passes the same points, but not at
        the same time, and nobody waits: when a host wants to stop, the threads of all of them tell how many
        points each has passed, and all stop at the first point that none has passed.
        """
        self._go_on()
        if wanted and not self._asked:
            self._asked = True
            self._send({"kind": "news", "what": "stop", "cause": wanted})
        with self._changed:
            self._changed.wait_for(lambda: not self._frozen)
            self._checks += 1
            return self._cause if 0 <= self._agreed <= self._checks else ""

    def report(self, code: int, text: str) -> None:
        """Tell the others that this host ends before its time, and wait until they know."""
        self._send({"kind": "news", "what": "failed", "code": code, "text": text})
        self._reported.wait(2.0)

    def finish(self) -> None:
        """Come to the end together with all others: from here on, leaving is no failure, until something follows."""
        self.gather("the end", "")
        self._at_end = True

    def close(self) -> None:
        """The end of the process. One that did not come to `finish` counts as lost by it."""
        if self._at_end:
            self._send({"kind": "bye"})

    @property
    def at_end(self) -> bool:
        return self._at_end

    def _go_on(self) -> None:
        self._at_end = False
        if self._missed is not None:
            self._ending(1, self._missed)

    def _arrive(self, seconds: float) -> Message:
        end, known = time.monotonic() + seconds, False
        while time.monotonic() < end:
            messages = self._listen(BEAT)
            if messages is None and known:
                raise ConnectionError(
                    f"host 0 at {self.place.coordinator} ended before all hosts had arrived"
                )
            if messages is None:
                raise ConnectionError(
                    f"what answers at {self.place.coordinator} does not take host {self.place.host} for one of its "
                    f"job: host 0 has another {TOKEN}, all its hosts are there, or the port is another program's"
                )
            for number, message in enumerate(messages):
                known = True
                if message["kind"] == "refused":
                    raise ConnectionError(message["reason"])
                if message["kind"] == "welcome":
                    self._early = messages[number + 1 :]
                    return message
        raise TimeoutError(
            f"host 0 at {self.place.coordinator} does not say that all hosts arrived; {ADVICE}"
        )

    def _listen(self, seconds: float) -> list[Message] | None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._line.socket, selectors.EVENT_READ)
            return self._line.receive() if selector.select(seconds) else []

    def _run(self) -> None:
        heard = ticked = time.monotonic()
        messages: list[Message] | None = self._early
        while True:
            now = time.monotonic()
            slept, ticked = now - ticked > SILENCE / 3, now
            if messages is None:
                break
            if messages or slept:
                heard = now
            for message in messages:
                self._hear(message)
            if now - heard > SILENCE:
                self._lose(0, f"has not been heard from for {SILENCE:.0f} s")
                break
            self._send({"kind": "beat"})
            messages = self._listen(BEAT)
        if messages is None:
            self._lose(0, "ended without a word (killed, out of memory or preempted)")
        self._line.close()

    def _hear(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "gathered":
            self._take(message["round"], message["values"])
        elif kind == "lost":
            self._lose(message["host"], message["how"])
        elif kind == "given up":
            self._end(1, message["reason"])
        elif kind == "news" and message["what"] == "stop":
            self._prepare_stop(message)
        elif kind == "news" and message["host"] == self.place.host:
            self._reported.set()
        elif kind == "news":
            self._end(message["code"], f"{self._name(message['host'])} ended: {message['text']}")

    def _prepare_stop(self, message: Message) -> None:
        with self._changed:
            if self._cause:
                return
            mine = message["host"] == self.place.host
            self._cause = message["cause"] + ("" if mine else f" on {self._name(message['host'])}")
            self._frozen = True
            passed = str(self._checks)
        stop = {"kind": "word", "round": "stop", "topic": "stop", "value": passed, "seconds": GATHERING}
        self._send(stop)

    def _take(self, name: str, values: list[str]) -> None:
        with self._changed:
            if name == "stop":
                self._agreed, self._frozen = max(int(value) for value in values) + 1, False
            else:
                self._answers[name] = values
            self._changed.notify_all()

    def _lose(self, host: int, how: str) -> None:
        self._end(1, f"{self._name(host)} {how}; see its own log")

    def _end(self, code: int, why: str) -> None:
        text = f"host {self.place.host} of {self.place.hosts} ends: {why}"
        if self._at_end:
            self._missed = text
        else:
            self._ending(code, text)

    def _name(self, host: int) -> str:
        return f"host {host} ({self.welcome['names'][host]})"

    def _send(self, message: Message) -> None:
        with self._sending, contextlib.suppress(OSError):  # the thread that listens notices the end
            self._line.send(message)


def _connect(place: HostPlace, seconds: float) -> socket.socket:
    """A connection to host 0, which may start later than this host."""
    end = time.monotonic() + seconds
    address, port = place.address
    address = place.own_address or ("localhost" if place.host == 0 else address)
    while True:
        try:
            return socket.create_connection((address, port), timeout=5.0)
        except OSError as error:
            if time.monotonic() > end:
                raise ConnectionError(
                    f"host {place.host} of {place.hosts} cannot reach host 0 at {place.coordinator} "
                    f"({error.strerror or error}); {ADVICE}"
                ) from error
            time.sleep(0.3)
