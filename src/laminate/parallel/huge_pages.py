"""Huge pages for the large arrays of a command that computes on the CPU.

glibc maps an array of more than 32 MiB anew whenever one is made, and unmaps it when it is freed. The temporaries of a
compiled program are such arrays, so that each step takes a page fault for every 4 KiB of them: 32,600 in a step of
`embedded-vae`, a third of its CPU time. In pages of 2 MiB there are 250, and the step takes 0.76 of the time, that of
`embedded-decoder` 0.85. To keep what is freed (`M_ARENA_MAX` 1, `M_MMAP_MAX` 0) saves the same faults, but with one
arena for all threads the step of `embedded-dit`, which has no such faults, takes 1.25 of its time.
"""

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from laminate.parallel.signs import computes_on_cpu

TUNABLES = "GLIBC_TUNABLES"
HUGE_PAGES = "glibc.malloc.hugetlb=1"
_KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def take_huge_pages() -> None:
    """Start this command again, in the same process, with huge pages for its large arrays, if that changes anything.

    glibc reads the option at the start of a process alone. A program that runs a command inside it is not replaced.
    """
    command = sys.orig_argv[len(sys.orig_argv) - len(sys.argv) :]
    if command == sys.argv and huge_pages_help():
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, TUNABLES: HUGE_PAGES})


def huge_pages_help(environment: Mapping[str, str] = os.environ, kernel: Path = _KERNEL) -> bool:
    """Whether they are to be asked for: glibc, a CPU that computes, and a kernel that gives them to who asks.

    Not where the environment sets glibc's options itself: an empty `GLIBC_TUNABLES` turns this off.
    """
    return (
        TUNABLES not in environment
        and platform.libc_ver()[0] == "glibc"
        and computes_on_cpu(environment)
        and kernel.is_file()
        and "[madvise]" in kernel.read_text()
    )
