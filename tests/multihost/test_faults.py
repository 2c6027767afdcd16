"""Whatever becomes of one host, every process ends by itself within the limit and says which host and why."""

import signal
import time

import pytest

from laminate.parallel.cluster import TOKEN
from tests.multihost.pod import ENDING, STEPS, Pod


@pytest.mark.parametrize(
    ("victim", "number", "how"),
    [
        (1, signal.SIGKILL, "ended without a word (killed, out of memory or preempted)"),
        (0, signal.SIGKILL, "ended without a word (killed, out of memory or preempted)"),
        (1, signal.SIGSTOP, "has not been heard from for 15 s"),
    ],
    ids=["killed", "first killed", "stopped"],
)
def test_a_host_that_is_killed_or_stopped_in_mid_step_is_named_and_the_others_end(
    tmp_path, victim, number, how
):
    with Pod(tmp_path, STEPS, [["100"]] * 2) as pod:
        pod.until_said("step 6")
        pod.processes[victim].send_signal(number)
        began = time.monotonic()
        survivor = pod.wait(seconds=ENDING, but=[victim])[1 - victim]
    assert survivor.code != 0 and survivor.at - began < ENDING
    assert f"host {1 - victim} of 2 ends: host {victim} (" in survivor.said
    assert how in survivor.said


def test_of_several_hosts_with_a_token_each_that_is_left_names_the_one_that_was_killed(tmp_path):
    token = 20 * "ab"
    with Pod(tmp_path, STEPS, [["100"]] * 3, environment={host: {TOKEN: token} for host in range(3)}) as pod:
        pod.until_said("step 6")
        pod.processes[1].kill()
        ended = pod.wait(seconds=ENDING)
    for host in (
        0,
        2,
    ):  # host 0 is the meeting point: what it knows first, and ends by, the other has to learn from it
        assert ended[host].code != 0 and f"host {host} of 3 ends: host 1 (" in ended[host].said
    assert not [host for host in ended if token in host.said]


def test_a_host_whose_program_fails_says_where_and_the_others_end_with_it(tmp_path):
    with Pod(tmp_path, STEPS, [["100"]] * 2, faults={1: "raises"}) as pod:
        pod.until_said("step 3")  # at step 4 the other one may fail, and end this one, before it has said so
        first, failing = pod.wait(seconds=ENDING)
    assert (first.code, failing.code) == (1, 1)
    assert "in go_wrong" in failing.said and "ZeroDivisionError: a fault of the program" in failing.said
    assert "host 0 of 2 ends: host 1 (" in first.said
    assert "ended: ZeroDivisionError: a fault of the program" in first.said


def test_when_one_host_is_stuck_all_end_and_each_says_where_it_is(tmp_path):
    with Pod(tmp_path, STEPS, [["5"]] * 2, faults={1: "is stuck"}) as pod:
        pod.until_said("step 4")
        first, stuck = pod.wait(seconds=ENDING)
    assert (first.code, stuck.code) == (1, 1)
    assert "Timeout (0:00:05)!" in first.said + stuck.said
    assert "in go_wrong" in stuck.said
    assert "steps.py" in first.said and "in go_wrong" not in first.said


def test_a_disk_that_hangs_on_one_host_ends_all_with_the_record_that_hangs(train):
    with train(2, "--mesh", "2", "--data-timeout", "4", faults={1: "hangs in reading"}) as pod:
        pod.until_said("step 2/6")
        first, failing = pod.wait(seconds=ENDING)
    assert (first.code, failing.code) == (1, 1)
    assert "vae.py: host 1 (" in failing.said and "for 4 s; being read are record" in failing.said
    assert "host 0 of 2 ends: host 1 (" in first.said and "ended: no batch from folder" in first.said
