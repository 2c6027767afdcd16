"""The first signal asks, the second Ctrl-C insists, and the earlier handlers come back."""

import os
import signal
import threading

import pytest

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
