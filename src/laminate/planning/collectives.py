"""What the devices of a compiled program say to each other: how much, how often, and whether they compute meanwhile.

Three forms carry a collective. Alone, it is synchronous: nothing runs beside it. As a pair of start and done it runs
beside what the schedule puts between the two. On a TPU it may be spread over a chain of fusions, each of which
computes something and moves the collective on; what starts such a chain and what ends it compute nothing.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from laminate.planning.hlo import Computation, Instruction, Program

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "collective-permute", "all-to-all")
COMPUTE = ("fusion", "convolution", "dot", "while", "custom-call", "call", "sort", "reduce", "scatter")

Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Collective:
    """One collective of the program: what it is, the bytes of its whole array on one device, and when it runs.

    The whole array of a gather is its result, that of a reduce-scatter its operand. `network` says that it is between
    slices; `groups` are then empty.
    """

    name: str
    kind: str
    bytes: int
    groups: Groups
    times: int
    in_loop: bool
    overlapped: bool
    network: bool = False
    traced: str = field(default="", compare=False)

    @property
    def total_bytes(self) -> int:
        """Bytes of the whole array, times the number of executions."""
        return self.bytes * self.times

    @property
    def group_size(self) -> int:
        return max(map(len, self.groups), default=1)

    @property
    def wire_bytes(self) -> float:
        """Bytes that one device sends in one execution, by the ring algorithm."""
        if self.kind == "collective-permute" or self.network:
            return float(self.bytes)
        share = self.bytes * (self.group_size - 1) / max(1, self.group_size)
        return 2.0 * share if self.kind == "all-reduce" else float(share)


def find_collectives(program: Program) -> list[Collective]:
    """Every collective of the program, in the order in which they begin."""
    found: list[Collective] = []
    for computation, times, in_loop in program.runs():
        found += [
            _sent(computation, one, times, in_loop) for one in computation.instructions if _transfer(one)
        ]
        for carriers in _carriers(program, computation):
            first, (place, one) = carriers[0]
            kind = _kind(program, place, one)
            if kind is None or _group_size(one) == 1:
                continue
            found.append(
                Collective(
                    name=one.name,
                    kind=kind,
                    bytes=_whole_bytes(place, one, kind),
                    groups=replica_groups(one),
                    times=times,
                    in_loop=in_loop,
                    overlapped=_is_overlapped(program, computation, first, one, [top for top, _ in carriers]),
                    traced=one.op_name,
                )
            )
    return found


def _transfer(one: Instruction) -> str | None:
    """What a `send` asks of the runtime between slices, such as `all-reduce`; None for anything else."""
    if one.opcode != "send":
        return None
    found = re.search(r'_xla_megascale_transfer_type="(\w+)"', one.attributes)
    return None if found is None else found[1].lower().replace("_", "-")


def _sent(computation: Computation, one: Instruction, times: int, in_loop: bool) -> Collective:
    """What a device sends to the other slices, until it has received the answer."""
    meeting = re.search(r'_xla_host_transfer_rendezvous="([^"]*)"', one.attributes)
    answers = {
        other.name
        for other in computation.instructions
        if other.opcode == "recv" and meeting is not None and meeting[1] in other.attributes
    }
    begun = overlapped = False
    for other in computation.instructions:
        if other is one:
            begun = True
        elif begun and other.opcode == "recv-done" and answers & set(other.operands):
            break
        elif begun and other.opcode in COMPUTE:
            overlapped = True
    return Collective(
        name=one.name,
        kind=_transfer(one) or "",
        bytes=computation.operands(one)[0].bytes,
        groups=(),
        times=times,
        in_loop=in_loop,
        overlapped=overlapped,
        network=True,
        traced=one.op_name,
    )


_Carrier = tuple[Instruction, tuple[Computation, Instruction]]


def _carriers(program: Program, computation: Computation) -> list[list[_Carrier]]:
    """For each collective of `computation`: the instructions that carry it, each with the collective inside."""
    chains: dict[str, list[_Carrier]] = {}
    for top in computation.instructions:
        inside = program.fused(top) if top.opcode in ("fusion", "async-start") else iter([(computation, top)])
        for place, one in inside:
            if _base(one.opcode) in KINDS and not one.opcode.endswith("-done"):
                chains.setdefault(_chain(top, one), []).append((top, (place, one)))
    return list(chains.values())


def _chain(top: Instruction, one: Instruction) -> str:
    """A name that the links of one chain share."""
    chain = re.search(r'chain_id="(\d+)"', one.attributes)
    return f"chain {chain[1]}" if chain is not None and top.opcode == "fusion" else f"{top.name} {one.name}"


def _base(opcode: str) -> str:
    return opcode.removesuffix("-start").removesuffix("-done")


def _kind(program: Program, place: Computation, one: Instruction) -> str | None:
    """Its kind; an all-reduce of which only a slice is kept, within one fusion, is a reduce-scatter."""
    kind = _base(one.opcode)
    if kind == "all-reduce" and place.name.startswith("all-reduce-scatter"):
        return "reduce-scatter"
    return kind if kind in KINDS else None


def _whole_bytes(place: Computation, one: Instruction, kind: str) -> int:
    operands = sum(operand.bytes for operand in place.operands(one))
    if kind == "reduce-scatter":
        return max(operands, one.bytes)
    if one.opcode.endswith("-start") and kind == "all-gather":
        return one.bytes - operands  # the result is a tuple of operands and results
    return one.bytes if not one.opcode.endswith("-start") else max(operands, 0)


def _is_overlapped(
    program: Program,
    computation: Computation,
    first: Instruction,
    one: Instruction,
    carriers: list[Instruction],
) -> bool:
    """Whether anything that computes runs between its beginning and its end."""
    if len(carriers) > 1 and first.opcode == "fusion":
        return any(_computes(program, top) for top in carriers)
    if not first.opcode.endswith("-start"):
        return False
    begun = False
    for other in computation.instructions:
        if other is first:
            begun = True
        elif begun and other.opcode.endswith("-done") and first.name in other.operands:
            return False
        elif begun and other.opcode in COMPUTE:
            return True
    return False


def _computes(program: Program, top: Instruction) -> bool:
    """Whether a link of a chain does anything but begin or end the collective."""
    return "estimated_cycles" in top.attributes or any(
        inner.opcode in ("convolution", "dot", "reduce", "multiply", "add") and inner.shapes[0].size > 1
        for _, inner in program.fused(top)
    )


def replica_groups(one: Instruction) -> Groups:
    """The groups of devices among which a collective runs; empty if the text does not say (all devices)."""
    listed = re.search(r"replica_groups=\{(\{[\d,{}]*\})\}", one.attributes)
    if listed is not None:
        groups = re.findall(r"\{([\d,]*)\}", listed[1])
        return tuple(tuple(int(device) for device in group.split(",") if device) for group in groups)
    tiled = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", one.attributes)
    if tiled is not None:
        shape, sizes = ([int(n) for n in tiled[part].split(",")] for part in (1, 2))
        devices = np.arange(np.prod(sizes)).reshape(sizes)
        if tiled[3]:
            devices = devices.transpose([int(axis) for axis in tiled[3].split(",")])
        return tuple(tuple(int(device) for device in group) for group in devices.reshape(shape))
    pairs = re.search(r"source_target_pairs=\{(\{[\d,{}]*\})\}", one.attributes)
    if pairs is not None:
        return tuple(
            tuple(int(device) for device in pair.split(","))
            for pair in re.findall(r"\{(\d+,\d+)\}", pairs[1])
        )
    return ()


def _group_size(one: Instruction) -> int:
    return max(map(len, replica_groups(one)), default=0)


@dataclass(frozen=True)
class CollectiveSummary:
    """All collectives of one kind: how many executions, their bytes, the share of bytes beside compute."""

    kind: str
    count: int
    bytes: int
    overlapped: float


def summarise_collectives(collectives: list[Collective]) -> list[CollectiveSummary]:
    """One line per kind that occurs."""
    lines: list[CollectiveSummary] = []
    for kind in KINDS:
        of_kind = [one for one in collectives if one.kind == kind]
        total = sum(one.total_bytes for one in of_kind)
        if of_kind:
            lines.append(
                CollectiveSummary(kind, sum(one.times for one in of_kind), total, overlapped_share(of_kind))
            )
    return lines


def overlapped_share(collectives: list[Collective]) -> float:
    """The share of the bytes that move while something is computed; 1 where nothing moves."""
    total = sum(one.total_bytes for one in collectives)
    return 1.0 if total == 0 else sum(one.total_bytes for one in collectives if one.overlapped) / total


def blocking_in_loops(collectives: list[Collective], *, above: int) -> list[Collective]:
    """Collectives of more than `above` bytes in the body of a loop, beside which nothing is computed."""
    return [one for one in collectives if one.in_loop and not one.overlapped and one.bytes > above]
