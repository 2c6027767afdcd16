"""The memory of a process that computes on the CPU: kept, where the C library would give it back after every step.

glibc maps a large array anew whenever one is made and unmaps it when it is freed. The temporaries of a compiled program
are such arrays, so every step takes a page fault for each 4 KiB of them: 32,700 in a step of `embedded-vae`, which were
a third of its CPU time. Kept, they are taken again as they lie.
"""

import ctypes
import os
import platform
from collections.abc import Mapping

from laminate.parallel.signs import computes_on_cpu

# Options of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_LARGEST = 2**31 - 1


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let freed memory stay in a process that computes on the CPU; whether that is done.

    Comes before the process has threads: they have arenas of their own, which are too small for large arrays. Nothing
    is done where an accelerator computes, with another C library than glibc, or where the environment sets options of
    malloc itself. The process keeps the most that it ever held.
    """
    told = "GLIBC_TUNABLES" in environment or any(name.startswith("MALLOC_") for name in environment)
    if told or platform.libc_ver()[0] != "glibc" or not computes_on_cpu(environment):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    options = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST))
    return all(mallopt(option, value) for option, value in options)
