"""The training step, compiled for devices that are not there."""

import re
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax

from laminate.planning.hlo import Program, parse_hlo

_SIZE = re.compile(r"([\d.]+)([KMGT]?)")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Compiled:
    """A compiled step: its text, its memory on one device in bytes, and the seconds that making it took.

    `compile_seconds` pass on the clock, `cpu_seconds` are what the compiler's threads used in them.
    """

    text: str
    temporaries: int
    peak: int
    trace_seconds: float
    compile_seconds: float
    cpu_seconds: float

    @cached_property
    def program(self) -> Program:
        """The instructions."""
        return parse_hlo(self.text)


class DoesNotFit(MemoryError):
    """The step needs more memory than the device has; `needed` and `capacity` are bytes, as the compiler says."""

    def __init__(self, needed: int, capacity: int, seconds: float):
        super().__init__(f"{needed / 2**30:.1f} GiB needed, {capacity / 2**30:.1f} GiB there")
        self.needed = needed
        self.capacity = capacity
        self.seconds = seconds


def compile_step(step: Any, *arguments: Any, options: dict[str, str] | None = None) -> Compiled:
    """Trace and compile the jitted `step` for the devices on which `arguments`, shapes with shardings, lie.

    Raises:
        DoesNotFit: the compiler finds no way to run it in the memory of the device.
    """
    began = time.perf_counter()
    lowered = step.lower(*arguments)
    traced, used = time.perf_counter(), time.process_time()
    try:
        compiled = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        sizes = exhausted(str(error))
        if sizes is None:
            raise
        raise DoesNotFit(*sizes, time.perf_counter() - traced) from error
    ended, used = time.perf_counter(), time.process_time() - used
    memory = compiled.memory_analysis()
    return Compiled(
        text=compiled.as_text(),
        temporaries=memory.temp_size_in_bytes,
        peak=_peak(memory),
        trace_seconds=traced - began,
        compile_seconds=ended - traced,
        cpu_seconds=used,
    )


def _peak(memory: Any) -> int:
    """The compiler's peak, or, where it leaves temporaries out of it as on a CPU, all that it allocates."""
    peak, temporaries = memory.peak_memory_in_bytes, memory.temp_size_in_bytes
    if peak >= temporaries:
        return peak
    kept = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return temporaries + memory.argument_size_in_bytes + kept


def exhausted(message: str) -> tuple[int, int] | None:
    """(bytes needed, bytes there) in a compiler's message that memory does not suffice; None for another message."""
    if "RESOURCE_EXHAUSTED" not in message:
        return None
    forms = (
        r"temporaries \(([\d.]+[KMGT]?)\) exceeds available HBM \(([\d.]+[KMGT]?)\)",
        r"Used ([\d.]+[KMGT]?) of ([\d.]+[KMGT]?) hbm",
    )
    for form in forms:
        found = re.search(form, message)
        if found is not None:
            return _bytes(found[1]), _bytes(found[2])
    return None


def _bytes(text: str) -> int:
    found = _SIZE.match(text)
    assert found is not None
    return int(float(found[1]) * _UNITS[found[2]])
