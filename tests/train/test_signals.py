"""The first signal asks, the second Ctrl-C insists, and the earlier handlers come back."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from laminate.train import signals
from laminate.train.signals import StopRequest, stop_requests


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_sets_the_flag(number: signal.Signals) -> None:
    with stop_requests() as request:
        assert not request.poll() and request.signal == ""
        os.kill(os.getpid(), number)
        assert request.poll() and request.requested and request.signal == number.name


def test_the_second_ctrl_c_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt), stop_requests():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_a_repeated_sigterm_stays_a_request() -> None:
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.poll() and request.signal == "SIGTERM"


def test_the_earlier_handlers_come_back_even_after_an_error() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(RuntimeError), stop_requests():
        assert signal.getsignal(signal.SIGTERM) != before[0]
        raise RuntimeError
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


COMPILING = """
import sys, time
import jax, jax.numpy as jnp
from laminate.runs.exit_codes import leave_now, training_errors
from laminate.train.signals import stop_requests


def deep(x):
    for n in range(1, 400):
        x = jnp.sort(jnp.sin(x[: 900 - n]) @ jnp.ones((900 - n, 900 - n), x.dtype) * n)
    return x


lowered = jax.jit(deep).lower(jnp.ones(900))
leave = lambda text: leave_now("test.py", text)
with training_errors("test.py"), stop_requests(unsaved=False, interruption="by {}".format, leave=leave):
    print("compiling", flush=True)
    lowered.compile()
    print("compiled", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_process_that_compiles_at_once_and_with_exit_code_0(number: signal.Signals) -> None:
    environment = {name: value for name, value in os.environ.items() if "OPTIMIZATIONS" not in name}
    child = subprocess.Popen(
        [sys.executable, "-c", COMPILING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert child.stdout is not None and child.stdout.readline() == "compiling\n"
    time.sleep(0.3)
    began = time.monotonic()
    child.send_signal(number)
    said, errors = child.communicate(timeout=60)
    assert (child.returncode, said) == (0, "")
    assert errors == f"test.py: by {number.name}\n"
    assert time.monotonic() - began < 5.0


def test_where_something_is_unsaved_one_signal_waits_and_a_second_ctrl_c_does_not(monkeypatch) -> None:
    monkeypatch.setattr(signals, "GRACE", 0.1)
    left: list[str] = []
    with pytest.raises(KeyboardInterrupt, match="by SIGINT"):
        with stop_requests(interruption="by {}".format, leave=left.append) as request:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)
            assert request.received == "SIGINT" and left == []
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                time.sleep(0.5)  # as a compiler that an exception waits for
                raise
    assert left == ["by SIGINT"]


def test_nothing_unsaved_is_interrupted_at_once() -> None:
    with pytest.raises(KeyboardInterrupt, match="by SIGTERM"):
        with stop_requests(unsaved=False, interruption="by {}".format) as request:
            os.kill(os.getpid(), signal.SIGTERM)
    assert not request.received


def test_outside_the_main_thread_the_request_says_why_it_stays_silent() -> None:
    seen: list[StopRequest] = []

    def work() -> None:
        with stop_requests() as request:
            seen.append(request)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen[0].unavailable == "signals reach the main thread only" and not seen[0].poll()


def test_a_request_counts_when_all_hosts_agree_and_the_signal_of_another_counts_too() -> None:
    answers = iter(["", "", "SIGTERM on host 1"])
    wanted: list[str] = []

    def agree(mine: str) -> str:
        wanted.append(mine)
        return next(answers)

    with stop_requests(agree) as request:
        assert not request.poll()
        os.kill(os.getpid(), signal.SIGINT)
        assert not request.poll() and not request.requested
        assert request.poll() and request.poll() and request.requested
    assert request.signal == "SIGTERM on host 1"
    assert wanted == ["", "SIGINT", "SIGINT"]
