"""Between the slices of a mesh only whole gradients and scalars travel, once a step."""

import math
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.sharding import batch_sharding, layout, place
from laminate.train.step import make_step
from tests.oracles.arrays import normal
from tests.train.test_step import FROZEN, PATCHES, WIDTH, objective, start

SLICE = 4  # devices
COLLECTIVE = re.compile(
    r"= (?P<result>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start)?\("
)


class Collective(NamedTuple):
    kind: str
    sizes: list[int]  # of the arrays that it makes on one device
    crosses: bool
    in_loop: bool


def collectives(program: str) -> list[Collective]:
    """Every collective of a compiled program of 8 devices in two slices."""
    found: list[Collective] = []
    inside = ""
    for line in program.splitlines():
        if line and not line.startswith(" "):
            inside = line.split(" ")[0]
        match = COLLECTIVE.search(line)
        if match is None:
            continue
        shapes = re.findall(r"\w+\[([\d,]*)\]", match["result"])
        sizes = [math.prod(int(n) for n in shape.split(",") if n) for shape in shapes]
        groups = re.search(r"replica_groups=\{(\{[\d,{}]*\})\}", line)
        if groups is None:  # the compiler's own, for the norm of the gradient
            assert set(sizes) == {1} and inside == "ENTRY", line
            continue
        members = [
            [int(number) for number in group.split(",")] for group in re.findall(r"\{([\d,]+)\}", groups[1])
        ]
        crosses = any(len({number // SLICE for number in group}) > 1 for group in members)
        found.append(Collective(match["kind"], sizes, crosses, inside != "ENTRY"))
    return found


def test_gradients_cross_between_slices_once_a_step_of_two_parts():
    mesh = build_mesh(MeshShape(slices=2, data=2, fsdp=2))
    optimizer = optax.sgd(0.1)
    state, frozen = place(start(optimizer), mesh), place(FROZEN, mesh)
    step = make_step(objective, optimizer, state, frozen, mesh=mesh, micro_batches=2)
    batch = jax.device_put({"image": normal(0, 16, PATCHES, WIDTH)}, batch_sharding(mesh))
    found = collectives(step.lower(state, frozen, batch).compile().as_text())

    gathered = [one for one in found if one.kind == "all-gather"]
    assert any(one.in_loop for one in gathered) and not any(one.crosses for one in gathered)
    assert not any(one.crosses for one in found if one.in_loop)
    crossing = [one for one in found if one.crosses]
    assert {one.kind for one in crossing} == {"all-reduce"}
    pieces = [
        math.prod(sharding.shard_shape(leaf.shape))
        for leaf, sharding in zip(
            jax.tree.leaves(state.params), jax.tree.leaves(layout(state.params, mesh)), strict=True
        )
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    sizes = [size for one in crossing for size in one.sizes]
    assert sorted(size for size in sizes if size > 1) == sorted(pieces)
