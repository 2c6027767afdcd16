"""A process that is alone and stuck says where, and ends; one that goes on is not slowed."""

import math
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import laminate
from laminate.parallel import hosts

ENV = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(laminate.__file__).parents[1])}
STEPS = "    for _ in range(4): check(''); time.sleep(0.05)\n"


def run(body: str) -> subprocess.CompletedProcess[str]:
    head = """
        import sys, time
        from laminate.parallel import hosts
        from laminate.parallel.hosts import check, watched
        hosts.STUCK_AFTER = 0.3
        def step_that_hangs():
            time.sleep(float(sys.argv[1]))
    """
    code = textwrap.dedent(head) + textwrap.dedent(body)
    return subprocess.run(
        [sys.executable, "-c", code, "2"], env=ENV, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("seconds", ["None", "0.3"])
def test_one_that_is_stuck_says_where_and_ends_with_code_1(seconds):
    done = run(f"with watched({seconds}):\n{STEPS}    step_that_hangs()\nprint('went on')")
    assert done.returncode == 1 and "went on" not in done.stdout
    assert "Timeout" in done.stderr and "step_that_hangs" in done.stderr


@pytest.mark.parametrize(
    "body",
    [
        "with watched(float('inf')):\n{}    step_that_hangs()",
        "with watched(None):\n{}step_that_hangs()",
    ],
    ids=["never", "after"],
)
def test_never_is_never_and_what_follows_the_training_is_not_watched(body):
    done = run(body.format(STEPS) + "\nprint('went on')")
    assert done.returncode == 0 and "went on" in done.stdout, done.stderr


def test_a_step_pays_microseconds_for_it():
    with hosts.watched(1000.0):
        for _ in range(3):
            hosts.check("")
        began = time.perf_counter()
        for _ in range(1000):
            hosts.check("")
        assert (time.perf_counter() - began) / 1000 < 1e-4
    with hosts.watched(math.inf):
        assert hosts.check("") == ""
