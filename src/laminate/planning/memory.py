"""Where the memory of one device goes: what is held from step to step, and what comes and goes within a step."""

import math
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import PyTree

from laminate.planning.collectives import KINDS
from laminate.planning.hlo import Computation, Instruction, Program


@dataclass(frozen=True)
class Held:
    """Bytes on one device between steps, by what they are for. `batch` is what the input pipeline has put there."""

    parameters: int
    optimizer: int
    average: int
    frozen: int
    batch: int

    @property
    def total(self) -> int:
        return self.parameters + self.optimizer + self.average + self.frozen + self.batch


def device_bytes(tree: PyTree) -> int:
    """Bytes of one device's pieces of a tree of shapes with shardings, or of arrays that every device has whole."""
    return sum(map(_leaf_bytes, jax.tree.leaves(tree)))


def _leaf_bytes(leaf: Any) -> int:
    if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return 8 * math.prod(leaf.shape)
    sharding = getattr(leaf, "sharding", None)
    shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
    return math.prod(shape) * leaf.dtype.itemsize


def gathered_bytes(program: Program) -> int:
    """The most bytes in main memory that results of collectives take at a time, each from start to last use."""
    return max((_most_alive(program, computation) for computation, _, _ in program.runs()), default=0)


def _most_alive(program: Program, computation: Computation) -> int:
    last = {name: place for place, one in enumerate(computation.instructions) for name in one.operands}
    changes: dict[int, int] = {}
    for place, one in enumerate(computation.instructions):
        taken = _collective_result(program, one)
        if taken:
            end = last.get(one.name, place)
            changes[place] = changes.get(place, 0) + taken
            changes[end + 1] = changes.get(end + 1, 0) - taken
    most = alive = 0
    for place in sorted(changes):
        alive += changes[place]
        most = max(most, alive)
    return most


def _collective_result(program: Program, one: Instruction) -> int:
    """Bytes of main memory that a collective, or the first link of a chain, leaves its result in."""
    if one.opcode.removesuffix("-start") in KINDS:
        return sum(shape.bytes for shape in one.shapes if shape.in_hbm)
    if one.opcode == "fusion" and one.name.startswith("async-collective-start"):
        return max((shape.bytes for shape in one.shapes if shape.in_hbm), default=0)
    return 0
