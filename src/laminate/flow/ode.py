"""Explicit Runge-Kutta steps along a given grid of times."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from laminate.flow.grid import TimeGrid
from laminate.flow.path import State, Velocity
from laminate.types import Scalar


class Tableau(NamedTuple):
    """An explicit method: stage `i` is at `nodes[i]` of the step, from the stages before it; then `weights`."""

    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    order: int


EULER = Tableau((0.0,), ((),), (1.0,), 1)
MIDPOINT = Tableau((0.0, 1 / 2), ((), (1 / 2,)), (0.0, 1.0), 2)
HEUN = Tableau((0.0, 1.0), ((), (1.0,)), (1 / 2, 1 / 2), 2)
HEUN3 = Tableau((0.0, 1 / 3, 2 / 3), ((), (1 / 3,), (0.0, 2 / 3)), (1 / 4, 0.0, 3 / 4), 3)
RK4 = Tableau(
    (0.0, 1 / 2, 1 / 2, 1.0), ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), 4
)
RK4_38 = Tableau(
    (0.0, 1 / 3, 2 / 3, 1.0),
    ((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)),
    (1 / 8, 3 / 8, 3 / 8, 1 / 8),
    4,
)
"""Kutta's 3/8 rule, which torchdiffeq calls `rk4`."""


class Solution(NamedTuple):
    """The state at the last time, and the first interval after which it was not finite (-1: it always was; 0 also if
    the noise was not)."""

    state: State
    broken_at: Int[Array, ""]


def solve(velocity: Velocity, noise: State, grid: TimeGrid, method: Tableau = EULER) -> Solution:
    """`noise` carried along `velocity` over every interval of `grid`.

    The state keeps its dtype, whatever the velocity's. The number of intervals is data, so other step counts use
    the same compiled program; reverse-mode differentiation is not possible for that reason.
    """

    def advance(i: Int[Array, ""], solution: Solution) -> Solution:
        state = step(velocity, solution.state, grid.times[i], grid.times[i + 1], method)
        return Solution(state, first_broken(state, i, solution.broken_at))

    start = Solution(noise, first_broken(noise, jnp.asarray(0), jnp.asarray(-1, jnp.int32)))
    return jax.lax.fori_loop(0, grid.intervals, advance, start)


def step(velocity: Velocity, x: State, t: Scalar, end: Scalar, method: Tableau) -> State:
    """`x` one step of `method` later, from time `t` to `end`.

    The stages are a loop, so the velocity is compiled once, however many they are.
    """
    length, count = end - t, len(method.nodes)
    if count == 1:
        return jax.tree.map(lambda a, k: a + length.astype(a.dtype) * k.astype(a.dtype), x, velocity(x, t))
    nodes = jnp.asarray(method.nodes, jnp.float32)
    rows = jnp.asarray([row + (0.0,) * (count - len(row)) for row in method.stages], jnp.float32)

    def stage(i: Int[Array, ""], slopes: State) -> State:
        # The last stage stands exactly on the grid, where bounds of guidance may lie.
        at = jnp.where(nodes[i] == 1.0, end, t + nodes[i] * length)
        slope = velocity(_moved(x, slopes, length * rows[i]), at)
        return jax.tree.map(lambda all, one: all.at[i].set(one.astype(all.dtype)), slopes, slope)

    # What a stage does not use yet has no weight. It begins as `x`, so that a sharded step sees it vary over devices.
    none = jax.tree.map(lambda a: jnp.broadcast_to(a[None], (count, *a.shape)), x)
    slopes = jax.lax.fori_loop(0, count, stage, none)
    return _moved(x, slopes, length * jnp.asarray(method.weights, jnp.float32))


def first_broken(state: State, i: Int[Array, ""], broken_at: Int[Array, ""]) -> Int[Array, ""]:
    """`broken_at`, or `i` if it was -1 and `state` is not finite."""
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state)]))
    return jnp.where((broken_at < 0) & ~finite, i.astype(jnp.int32), broken_at)


def _moved(x: State, slopes: State, weights: Float[Array, " stages"]) -> State:
    """`x + sum_i weights[i] slopes[i]`."""
    return jax.tree.map(lambda a, k: a + jnp.tensordot(weights.astype(a.dtype), k, axes=1), x, slopes)
