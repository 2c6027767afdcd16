"""On a CPU a step's temporaries lie in huge pages, and the process is left alone where that is not wanted."""

import os
import subprocess
import sys

import pytest

from laminate.cli.command import flags_command
from laminate.cli.sample_flags import SampleFlags
from laminate.parallel.huge_pages import HUGE_PAGES, TUNABLES, huge_pages_help

PAGES = 4096 * 4096 * 4 // os.sysconf("SC_PAGE_SIZE")
STEPS = 5
PROGRAM = f"""
import os, resource, sys
from laminate.parallel.huge_pages import take_huge_pages
print("started", os.getpid(), *sys.argv[1:])
take_huge_pages()
import jax, jax.numpy as jnp
step = jax.jit(lambda x: jnp.sum(jnp.tanh(x @ x.T) @ x))
x = jnp.ones((4096, 8))
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step(x).block_until_ready()
before = faults()
for _ in range({STEPS}):
    step(x).block_until_ready()
print("faults", faults() - before)
"""


def started(*arguments: str, **variables: str) -> tuple[list[str], int]:
    """What a command says whenever it starts, and the page faults of its steps."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", TUNABLES))}
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**kept, "JAX_PLATFORMS": "cpu", **variables},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    *starts, faults = done.stdout.splitlines()
    return starts, int(faults.split()[1])


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    file = tmp_path_factory.mktemp("command") / "step.py"
    file.write_text(PROGRAM)
    return str(file)


@pytest.mark.skipif(not huge_pages_help({"JAX_PLATFORMS": "cpu"}), reason="here they would change nothing")
def test_a_command_starts_again_once_as_the_same_process_and_its_steps_take_no_small_pages(command):
    starts, faults = started("-B", command, "--tokens", "24")
    assert len(starts) == 2 and starts[0] == starts[1] and starts[0].endswith("--tokens 24")
    assert faults < STEPS * PAGES // 100


def test_a_command_is_left_alone_where_the_environment_says_so(command):
    starts, _ = started(command, **{TUNABLES: ""})
    assert len(starts) == 1


def test_a_program_that_runs_a_command_inside_it_is_not_replaced(command):
    inside = f"import runpy, sys; sys.argv = ['step.py', '--seed']; runpy.run_path({command!r}, run_name='__main__')"
    starts, _ = started("-c", inside)
    assert len(starts) == 1


@pytest.mark.parametrize(
    ("environment", "kernel"),
    [
        ({"JAX_PLATFORMS": "tpu"}, "always [madvise] never"),
        ({"TPU_NAME": "pod"}, "always [madvise] never"),
        ({"JAX_PLATFORMS": "cpu", TUNABLES: HUGE_PAGES}, "always [madvise] never"),
        ({"JAX_PLATFORMS": "cpu"}, "[always] madvise never"),
        ({"JAX_PLATFORMS": "cpu"}, "always madvise [never]"),
        ({"JAX_PLATFORMS": "cpu"}, None),
    ],
)
def test_huge_pages_are_asked_for_only_where_that_changes_something(environment, kernel, tmp_path):
    file = tmp_path / "enabled"
    if kernel is not None:
        file.write_text(kernel)
    assert not huge_pages_help(environment, file)


def test_a_program_that_hands_a_command_its_arguments_is_not_replaced(monkeypatch):
    asked = []
    monkeypatch.setattr("laminate.cli.command.take_huge_pages", lambda: asked.append(sys.argv))
    monkeypatch.setattr(sys, "argv", ["sample.py"])
    flags_command(None, SampleFlags, arguments=[])
    assert not asked
    flags_command(None, SampleFlags)
    assert asked == [["sample.py"]]
