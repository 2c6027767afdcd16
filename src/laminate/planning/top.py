"""The instructions that take most of the compiler's schedule, where they come from, and what binds them.

Kernels written by hand are in no schedule; they stand among the others by our own estimate (`planning.kernels`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from laminate.planning.chips import Chip
from laminate.planning.flops import instruction_flops
from laminate.planning.hlo import Computation, Instruction, Program, is_kernel
from laminate.planning.kernels import kernel_seconds
from laminate.planning.roofline import estimated_cycles
from laminate.planning.traffic import instruction_traffic

OURS = re.compile(r"(?:^|/)(?:src/laminate|experiments)/(.*)$")
_NOT_SCOPES = re.compile(
    r"^(jit\(.*\)|shard_map|while|body|closed_call|checkpoint|rematted_computation|cond)$"
)


@dataclass(frozen=True)
class Costly:
    """All executions of one instruction in one step, as seconds of the schedule, of a kernel as those that we estimate.

    `products` and `memory` are the shares of that time that its matrix products take at the peak of the chip and its
    bytes at its bandwidth. `place` is a file and line of this code, `scope` the path of the traced operation.
    """

    name: str
    opcode: str
    seconds: float
    times: int
    products: float
    memory: float
    place: str
    scope: str

    @property
    def binds(self) -> str:
        """What its time goes into; neither where the vector unit, a change of layout or latency takes most of it."""
        if max(self.products, self.memory) < 0.5:
            return "neither"
        return "products" if self.products >= self.memory else "memory"


def most_costly(program: Program, chip: Chip, count: int) -> tuple[Costly, ...]:
    """The `count` that take longest, the longest first; none where the compiler estimates nothing."""
    if chip.clock is None:
        return ()
    found = [
        (seconds * times, times, computation, one)
        for computation, times, _ in program.runs()
        for one in computation.instructions
        if (seconds := _seconds(program, computation, one, chip, chip.clock))
    ]
    found.sort(key=lambda each: -each[0])
    return tuple(
        _costly(program, chip, computation, one, times, seconds)
        for seconds, times, computation, one in found[:count]
    )


def _seconds(program: Program, computation: Computation, one: Instruction, chip: Chip, clock: float) -> float:
    if is_kernel(one):
        return kernel_seconds(program, computation, one, chip)
    return estimated_cycles(one) / clock


def _costly(
    program: Program, chip: Chip, computation: Computation, one: Instruction, times: int, seconds: float
) -> Costly:
    inside = [*program.fused(one)] if one.opcode == "fusion" else [(computation, one)]
    flops = times * sum(instruction_flops(place, each) for place, each in inside)
    traffic = times * instruction_traffic(program, computation, one)
    traced = [one, *(each for _, each in sorted(inside, key=lambda pair: -instruction_flops(*pair)))]
    named = next((each for each in traced if each.op_name), one)
    return Costly(
        name=one.name,
        opcode=one.opcode,
        seconds=seconds,
        times=times,
        products=flops / chip.of_device(chip.peak_flops) / seconds,
        memory=traffic / chip.of_device(chip.hbm_bandwidth) / seconds,
        place=next(filter(None, (program.place(each.frame, OURS) for each in traced)), ""),
        scope=_scope(named.op_name),
    )


def _scope(op_name: str) -> str:
    return "/".join(_parts(op_name))


def _parts(op_name: str) -> Iterator[str]:
    """The parts of a path that say something: no loops, no calls, no name twice in a row."""
    last = ""
    for part in op_name.split("/"):
        if part != last and not _NOT_SCOPES.match(part):
            yield part
        last = part
