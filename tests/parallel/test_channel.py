"""Hosts meet, agree, and notice who is missing, gone or silent; threads of this process stand for the hosts."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.parallel import channel, hub, wire
from laminate.parallel.channel import Channel
from laminate.parallel.cluster import HostPlace
from laminate.parallel.hub import Hub
from laminate.parallel.wire import PROOF, proof_of

SECRET = "0123456789abcdef0123"


def free_port() -> int:
    with socket.create_server(("", 0)) as probe:
        return probe.getsockname()[1]


def hang_up(one: Channel) -> None:
    with contextlib.suppress(OSError):  # the other end was first
        one._line.socket.shutdown(socket.SHUT_RDWR)


class Hosts:
    """Some hosts that met, and why each of them had to end."""

    def __init__(self, count: int):
        port = free_port()
        self.endings: dict[int, tuple[int, str]] = {}
        self.pool = ThreadPoolExecutor(count)
        self.channels = self.each(
            lambda host: Channel(
                HostPlace(f"127.0.0.1:{port}", count, host), lambda *how: self._end(host, *how), seconds=20.0
            ),
            count,
        )

    def _end(self, host: int, code: int, text: str) -> None:
        self.endings.setdefault(host, (code, text))

    def wait(self, *ended: int, seconds: float = 15.0) -> None:
        """Until these hosts had to end."""
        end = time.monotonic() + seconds
        while not set(ended) <= self.endings.keys():
            assert time.monotonic() < end, self.endings
            time.sleep(0.02)

    def each(self, act: Callable[[int], Any], count: int = 0) -> list[Any]:
        """`act` by all hosts at once."""
        return list(self.pool.map(act, range(count or len(self.channels))))

    def vanish(self, host: int) -> None:
        hang_up(self.channels[host])

    def close(self) -> None:
        for one in self.channels:
            hang_up(one)
        self.pool.shutdown()


@pytest.fixture
def met() -> Iterator[Callable[[int], Hosts]]:
    made: list[Hosts] = []

    def make(count: int) -> Hosts:
        made.append(Hosts(count))
        return made[-1]

    yield make
    for hosts in made:
        hosts.close()


def arrive(place: HostPlace, seconds: float) -> str:
    with pytest.raises(OSError) as caught:
        Channel(place, lambda code, text: None, seconds=seconds)
    return str(caught.value)


def meet(port: int) -> socket.socket:
    """A connection of a stranger, as soon as host 0 listens."""
    end = time.monotonic() + 15
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)


# Arrival


def test_hosts_that_are_missing_are_named_on_every_host_that_arrived():
    port = free_port()
    with ThreadPoolExecutor(3) as pool:
        begin = time.monotonic()
        said = list(pool.map(lambda host: arrive(HostPlace(f"127.0.0.1:{port}", 6, host), 1.5), (0, 2, 5)))
        assert time.monotonic() - begin < 10
    assert set(said) == {
        "3 of 6 hosts arrived within 2 s; missing: host 1, host 3, host 4; start all workers with tpu/launch.sh"
    }


def test_a_host_that_is_alone_says_which_address_does_not_answer():
    said = arrive(HostPlace(f"127.0.0.1:{free_port()}", 2, 1), 0.5)
    assert said.startswith("host 1 of 2 cannot reach host 0 at 127.0.0.1:") and "tpu/launch.sh" in said


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (HostPlace("127.0.0.1:1", 3, 0), "two processes say that they are host 0"),
        (HostPlace("127.0.0.1:1", 4, 1), "was started as one of 4 hosts, host 0 as one of 3"),
    ],
)
def test_hosts_that_contradict_each_other_are_refused(second, expected, monkeypatch):
    port = free_port()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(arrive, HostPlace(f"127.0.0.1:{port}", 3, 0), 20.0)
        meet(port).close()
        monkeypatch.setattr(channel, "Hub", lambda *_, **__: None)
        other = pool.submit(arrive, HostPlace(f"127.0.0.1:{port}", second.hosts, second.host), 20.0)
        assert expected in first.result(15) and expected in other.result(15)


def test_a_port_in_use_is_refused_with_its_number():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"host 0 cannot listen at port {port}" in arrive(HostPlace(f"localhost:{port}", 2, 0), 1.0)


def test_strangers_do_not_disturb_the_arrival():
    port = free_port()
    with ThreadPoolExecutor(2) as pool:
        make = lambda host: Channel(HostPlace(f"127.0.0.1:{port}", 2, host), lambda *_: None, seconds=20.0)
        first = pool.submit(make, 0)
        for text in (b"GET / HTTP/1.1\r\n\r\n", b'{"host": "none"}\n', b"[]\n", b""):
            for greeting in (text, proof_of("") + text):
                stranger = meet(port)
                stranger.sendall(greeting)
                stranger.close()
        channels = [pool.submit(make, 1).result(20), first.result(20)]
        assert channels[0].welcome["names"] == [socket.gethostname()] * 2
        for one in channels:
            hang_up(one)


# Strangers


def a_hub(**changes) -> int:
    """The port of a hub that waits for two hosts which hold the token."""
    port = free_port()
    Hub(HostPlace(f"127.0.0.1:{port}", 2, 0, token=SECRET), seconds=20.0, greeting=changes)
    return port


def answered(stranger: socket.socket, seconds: float) -> bytes:
    """All that the hub says to a stranger before it hangs up, which it has to do in so many seconds."""
    stranger.settimeout(seconds)
    said = b""
    with contextlib.suppress(ConnectionError):  # it hung up while something was on its way to it
        while more := stranger.recv(1 << 16):
            said += more
    return said


def both_arrive(port: int) -> list[dict[str, Any]]:
    """What the two hosts that hold the token are told when they have met at a hub that is there already."""
    made = []

    def arrive(host: int) -> dict[str, Any]:
        made.append(
            Channel(HostPlace(f"127.0.0.1:{port}", 2, host, token=SECRET), lambda *_: None, seconds=20.0)
        )
        return made[-1].welcome

    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(arrive, range(2)))
    for one in made:
        hang_up(one)
    return told


HELLO = b'{"host": 1, "hosts": 2, "name": "stranger"}\n'


@pytest.mark.parametrize(
    "sent",
    [
        HELLO,
        proof_of("") + HELLO,
        proof_of(SECRET + "0") + HELLO,
        SECRET.encode() + HELLO,
        proof_of(SECRET)[:-1] + b"\n" + HELLO,
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        b"\xff" * 8 + b"\0" * (1 << 20),
        b"9" * (1 << 20) + b"\n",
        bytes(range(256)) * 16,
    ],
    ids=["none", "empty", "another", "not hashed", "cut off", "http", "huge length", "huge line", "garbage"],
)
def test_who_does_not_hold_the_token_is_hung_up_on_unheard_and_the_hosts_still_meet(sent, monkeypatch):
    read = []
    parse = wire.json.loads
    monkeypatch.setattr(wire.json, "loads", lambda text: read.append(text) or parse(text))
    monkeypatch.setattr(channel, "Hub", lambda *_, **__: None)
    monkeypatch.setattr(hub, "SHOWING", 1.0)
    port = a_hub(port=7)
    with meet(port) as stranger:
        with contextlib.suppress(ConnectionError):  # hung up before everything was sent
            stranger.sendall(sent)
        assert answered(stranger, 3.0) == b""
    assert not [text for text in read if text in sent]
    assert both_arrive(port) == [{"kind": "welcome", "names": [socket.gethostname()] * 2, "port": 7}] * 2


def test_who_shows_the_token_too_slowly_is_hung_up_on_and_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(hub, "SHOWING", 1.0)
    monkeypatch.setattr(channel, "Hub", lambda *_, **__: None)
    port = a_hub()
    with meet(port) as slow, meet(port) as silent:
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            for byte in proof_of(SECRET):
                slow.sendall(bytes([byte]))
                time.sleep(0.1)
        assert answered(silent, 3.0) == b""
        assert time.monotonic() - began < 1.0 + 3 * hub.TICK
    with meet(port) as slow:
        slow.sendall(proof_of(SECRET)[: PROOF - 1])
        assert len(both_arrive(port)) == 2
        assert answered(slow, 3.0) == b""


def test_however_many_strangers_wait_at_the_door_the_hosts_come_in(monkeypatch):
    monkeypatch.setattr(hub, "STRANGERS", 4)
    monkeypatch.setattr(channel, "Hub", lambda *_, **__: None)
    port = a_hub()
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(meet(port)) for _ in range(40)]
        assert len(both_arrive(port)) == 2
        assert {answered(one, 3.0) for one in crowd} == {b""}


def test_a_host_with_another_token_is_told_what_to_look_at_and_host_0_says_that_it_came():
    port = free_port()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(arrive, HostPlace(f"127.0.0.1:{port}", 2, 0, token=SECRET), 4.0)
        other = pool.submit(arrive, HostPlace(f"127.0.0.1:{port}", 2, 1, token=SECRET[::-1]), 4.0)
        assert (
            "does not take host 1 for one of its job: host 0 has another LAMINATE_JOB_TOKEN"
            in other.result(3)
        )
        said = first.result(15)
    assert said.startswith(
        "1 of 2 hosts arrived within 4 s; missing: host 1 (1 connections without this job's"
    )


def test_without_a_token_no_other_machine_is_listened_to():
    with pytest.raises(ValueError, match="give all its hosts the same LAMINATE_JOB_TOKEN"):
        Channel(HostPlace(f"10.0.0.9:{free_port()}", 2, 0), lambda *_: None, seconds=1.0)
    for place in (HostPlace(f"localhost:{free_port()}", 2, 0), HostPlace(f"10.0.0.9:{free_port()}", 1, 0)):
        with hub._listen(place) as listener:
            assert listener.getsockname()[0] == "127.0.0.1"


# Agreement


def test_a_gathering_gives_every_host_the_values_of_all_in_their_order(met):
    hosts = met(4)
    for topic in ("first", "second"):
        told = hosts.each(lambda host, topic=topic: hosts.channels[host].gather(topic, f"{topic} {host}"))
        assert told == [[f"{topic} {host}" for host in range(4)]] * 4


@given(ahead=st.lists(st.integers(0, 9), min_size=3, max_size=3), asking=st.integers(0, 2))
def test_all_hosts_stop_at_one_point_that_none_has_passed_however_far_apart_they_are(shared, ahead, asking):
    hosts, passed = shared, [0, 0, 0]
    for one in hosts.channels:
        one._cause, one._agreed, one._asked, one._checks = "", -1, False, 0

    def run(host: int) -> str:
        mine = hosts.channels[host]
        for point in range(2000):
            wants = host == asking and point >= ahead[host]
            cause = mine.check("SIGTERM" if wants else "")
            passed[host] += 1
            if cause:
                return cause
            time.sleep(0.0005 * (1 + ahead[host]))
        return "never"

    causes = hosts.each(run)
    assert len(set(passed)) == 1 and passed[0] > ahead[asking]
    assert causes[asking] == "SIGTERM"
    elsewhere = f"SIGTERM on host {asking} ({socket.gethostname()})"
    assert [cause for host, cause in enumerate(causes) if host != asking] == [elsewhere] * 2


@pytest.fixture(scope="module")
def shared() -> Iterator[Hosts]:
    hosts = Hosts(3)
    yield hosts
    hosts.close()


def test_hosts_at_different_points_of_the_program_end_with_both_named(met):
    hosts = met(2)
    for host, topic in enumerate(("save", "restore")):
        threading.Thread(target=hosts.channels[host].gather, args=(topic, ""), daemon=True).start()
    hosts.wait(0, 1)
    assert {text.split(": ", 1)[1] for _, text in hosts.endings.values()} <= {
        "the hosts are out of step: at 'save' and at 'restore'",
        "the hosts are out of step: at 'restore' and at 'save'",
    }


def test_a_host_that_does_not_come_to_a_point_in_time_is_named(met):
    hosts = met(3)
    for host in (0, 2):
        act = lambda host=host: hosts.channels[host].gather("a checkpoint", "", seconds=0.5)
        threading.Thread(target=act, daemon=True).start()
    hosts.wait(0, 1, 2)
    assert (
        "host 1 (" in hosts.endings[0][1] and "did not come to 'a checkpoint' in time" in hosts.endings[0][1]
    )


# Endings


@pytest.mark.parametrize("gone", [0, 2])
def test_a_host_that_vanishes_is_named_at_once_by_all_others(met, gone):
    hosts = met(3)
    hosts.vanish(gone)
    others = {0, 1, 2} - {gone}
    hosts.wait(*others, seconds=10.0)
    for host in others:
        code, text = hosts.endings[host]
        assert code == 1
        assert text.startswith(
            f"host {host} of 3 ends: host {gone} ({socket.gethostname()}) ended without a word"
        )


def test_a_host_that_fails_says_why_and_all_others_end_with_its_code(met):
    hosts = met(3)
    hosts.channels[1].report(2, "the disk is gone")
    hosts.wait(0, 2)
    name = f"host 1 ({socket.gethostname()})"
    assert hosts.endings == {
        host: (2, f"host {host} of 3 ends: {name} ended: the disk is gone") for host in (0, 2)
    }


def test_a_host_that_falls_silent_is_lost(met, monkeypatch):
    monkeypatch.setattr(hub, "SILENCE", 2.0)
    monkeypatch.setattr(channel, "SILENCE", 2.0)
    hosts = met(3)
    hosts.channels[2]._send = lambda message: None
    hosts.wait(0, 1)
    for host in (0, 1):
        assert f"host 2 ({socket.gethostname()}) has not been heard from for 2 s" in hosts.endings[host][1]


def test_after_the_end_hosts_leave_in_any_order_and_nobody_minds(met):
    hosts = met(3)
    hosts.each(lambda host: hosts.channels[host].finish())
    for host in (1, 0, 2):
        hosts.channels[host].close()
        time.sleep(0.2)
        hosts.vanish(host)
    time.sleep(1.0)
    assert hosts.endings == {}


def test_one_that_leaves_between_two_trainings_is_missed_by_the_second(met):
    hosts = met(2)
    hosts.each(lambda host: hosts.channels[host].finish())
    hosts.vanish(1)
    time.sleep(1.0)
    assert hosts.endings == {}
    threading.Thread(target=hosts.channels[0].gather, args=("the second", ""), daemon=True).start()
    hosts.wait(0)
    assert "host 1 (" in hosts.endings[0][1]
