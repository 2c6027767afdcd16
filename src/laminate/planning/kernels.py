"""Kernels written by hand in a compiled program, whose time the compiler leaves out of its schedule.

What they compute is what they state of themselves (`pallas_call(cost_estimate=...)`), what they move is counted as that
of every instruction.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from laminate.planning.chips import Chip
from laminate.planning.hlo import Computation, Instruction, Program, is_kernel, stated_flops
from laminate.planning.traffic import instruction_traffic

SHARE = 0.25
"""Of the peak, at which the products of a kernel are taken to run. The bundles of instructions that the compiler makes
of the two kernels of `nn.flash` for a v5e, 288 tokens and heads of 64, which fill half of a matrix unit, come to 0.25
and 0.31 of it where no bundle waits."""


@dataclass(frozen=True)
class Kernels:
    """All of them in one step of one device: how often each runs, and seconds.

    `least` is the time of their products at the peak or of their bytes, whichever is longer, and `seconds` the
    estimate, with the products at `SHARE` of the peak. `unstated` are those that state no operations; they are
    counted by their bytes alone.
    """

    runs: dict[str, int]
    least: float
    seconds: float
    unstated: tuple[str, ...] = ()


NONE = Kernels({}, 0.0, 0.0)


def find_kernels(program: Program, chip: Chip) -> Kernels:
    """Sums over all kernels, those in the body of a loop times its length."""
    runs: dict[str, int] = {}
    least = seconds = 0.0
    unstated: set[str] = set()
    for computation, times, one in _kernels(program):
        name = kernel_name(one)
        runs[name] = runs.get(name, 0) + times
        least += times * kernel_seconds(program, computation, one, chip, share=1.0)
        seconds += times * kernel_seconds(program, computation, one, chip)
        if stated_flops(one) is None:
            unstated.add(name)
    return Kernels(runs, least, seconds, tuple(sorted(unstated)))


def kernel_seconds(
    program: Program, computation: Computation, one: Instruction, chip: Chip, *, share: float = SHARE
) -> float:
    """One run of one kernel: its products at `share` of the peak, or its bytes if these take longer."""
    return max(
        (stated_flops(one) or 0) / (share * chip.of_device(chip.peak_flops)),
        instruction_traffic(program, computation, one) / chip.of_device(chip.hbm_bandwidth),
    )


def kernel_name(one: Instruction) -> str:
    """What it is called where it is written, as far as the program says."""
    found = re.search(r"([\w.\-]+)\)*/pallas_call", one.op_name)
    return one.name if found is None else found[1]


def _kernels(program: Program) -> Iterator[tuple[Computation, int, Instruction]]:
    for computation, times, _ in program.runs():
        for one in computation.instructions:
            if is_kernel(one):
                yield computation, times, one
