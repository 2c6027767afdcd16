"""On a CPU a step takes the memory of the step before it, and the process is left alone where that is not wanted."""

import os
import platform
import subprocess
import sys

import pytest

from laminate.parallel.host_memory import keep_freed_memory

PAGES = 4096 * 4096 * 4 // os.sysconf("SC_PAGE_SIZE")
STEPS = 5
# The thread has memory of its own before JAX has, as those that read records have.
PROGRAM = f"""
import resource, threading
from laminate.parallel.host_memory import keep_freed_memory
kept = {{keep}}
thread = threading.Thread(target=lambda: bytearray(1000))
thread.start(); thread.join()
import jax, jax.numpy as jnp
step = jax.jit(lambda x: jnp.sum(jnp.tanh(x @ x.T) @ x))
x = jnp.ones((4096, 8))
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step(x).block_until_ready()
before = faults()
for _ in range({STEPS}):
    step(x).block_until_ready()
print(kept, faults() - before)
"""


def faults(keep: str) -> tuple[bool, int]:
    told = ("MALLOC_", "GLIBC_TUNABLES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(keep=keep)],
        env={**kept, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    said, found = done.stdout.split()
    return said == "True", int(found)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back so")
def test_a_step_takes_no_pages_that_the_step_before_it_had():
    said, found = faults("keep_freed_memory()")
    assert said and found < STEPS * PAGES // 100
    _, found = faults("None")
    assert found >= STEPS * PAGES  # or there is nothing to keep, and the module can go


@pytest.mark.parametrize(
    "environment",
    [
        {"JAX_PLATFORMS": "tpu"},
        {"JAX_PLATFORMS": "cpu", "MALLOC_ARENA_MAX": "2"},
        {"JAX_PLATFORMS": "cpu", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
        {"TPU_NAME": "pod"},
    ],
)
def test_memory_is_left_to_the_user_and_to_accelerators(environment):
    assert not keep_freed_memory(environment)
