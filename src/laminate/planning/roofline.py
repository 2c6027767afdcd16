"""How long a step takes at least, by what the chip computes, what it moves, and what it tells the others."""

import re
from dataclasses import dataclass

from laminate.parallel.places import ChipPlace
from laminate.planning.chips import Chip, Topology
from laminate.planning.collectives import Collective
from laminate.planning.hlo import Instruction, Program


@dataclass(frozen=True)
class Roofline:
    """Seconds that each resource of one device is busy in one step, and what can be told of their overlap.

    `scheduled` is the compiler's own estimate of all instructions but the collectives and the kernels written by hand,
    None where it gives none; `kernels` is ours of those (`planning.kernels`).
    `waiting` is the time in collectives beside which nothing is computed.
    """

    compute: float
    memory: float
    interconnect: float
    network: float
    waiting: float
    scheduled: float | None
    kernels: float = 0.0

    @property
    def binds(self) -> str:
        """The resource that a step waits for."""
        times = {
            "compute": self.compute,
            "memory": self.memory,
            "interconnect": self.interconnect,
            "network": self.network,
        }
        return max(times, key=lambda name: times[name])

    @property
    def least(self) -> float:
        """No schedule is faster than this."""
        return max(self.compute, self.memory, self.interconnect, self.network)

    @property
    def step(self) -> float:
        """The estimate of a step: what is computed, no faster than its overlapped traffic, and then the waiting."""
        return max((self.scheduled or 0.0) + self.kernels, self.least - self.waiting) + self.waiting


def roofline(
    program: Program,
    collectives: list[Collective],
    topology: Topology,
    places: list[ChipPlace],
    *,
    flops: int,
    traffic: int,
    kernels: float = 0.0,
) -> Roofline:
    """From counts of one device, and the seconds of its kernels. Peak figures are the makers'; a collective is a ring
    over the links that it can use.

    `places` are those of the devices in the order of the mesh; the groups of a collective are numbered in it, within a
    slice.
    """
    chip = topology.chip
    interconnect = network = waiting = 0.0
    for one in collectives:
        seconds = one.times * one.wire_bytes / _bandwidth(one, chip, places)
        interconnect += 0.0 if one.network else seconds
        network += seconds if one.network else 0.0
        waiting += 0.0 if one.overlapped else seconds
    return Roofline(
        compute=flops / chip.of_device(chip.peak_flops),
        memory=traffic / chip.of_device(chip.hbm_bandwidth),
        interconnect=interconnect,
        network=network,
        waiting=waiting,
        scheduled=None if chip.clock is None else cycles(program) / chip.clock or None,
        kernels=kernels,
    )


def _bandwidth(one: Collective, chip: Chip, places: list[ChipPlace]) -> float:
    """Bytes per second one way: a link along each axis of the torus that the group spans, or the network's share."""
    if one.network:
        return chip.of_device(chip.network)
    group = one.groups[0] if one.groups else tuple(range(len(places)))
    columns = zip(*(places[device].coordinates for device in group), strict=True)
    return chip.link * max(1, sum(len(set(column)) > 1 for column in columns))


def cycles(program: Program) -> int:
    """The compiler's estimates of all instructions, those in the body of a loop times its length; 0 without any."""
    return sum(
        times * estimated_cycles(one)
        for computation, times, _ in program.runs()
        for one in computation.instructions
    )


def estimated_cycles(one: Instruction) -> int:
    """The compiler's estimate of one execution of one instruction, 0 where it makes none."""
    found = re.search(r'"estimated_cycles":"(\d+)"', one.attributes)
    return 0 if found is None else int(found[1])
