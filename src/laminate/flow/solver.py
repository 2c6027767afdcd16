"""From noise to data along a grid of times, whatever takes the steps."""

import abc
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from laminate.flow.grid import TimeGrid
from laminate.flow.path import State, Velocity
from laminate.types import Scalar

SolverState = PyTree[Array]
"""What a solver keeps from one step to the next."""


class Solver(abc.ABC):
    """What takes one step along a velocity, perhaps with a look back at the steps before.

    A solver that must know the path, or the space that it runs in, is made with it.
    """

    def init(self, x: State, grid: TimeGrid) -> SolverState:
        """What the first step from `x` is given; nothing for methods of single steps.

        It keeps its structure, shapes and dtypes through all steps. What will hold states is made of `x`, so that a
        sharded step sees it vary over devices.
        """
        del x, grid
        return ()

    @abc.abstractmethod
    def step(
        self, velocity: Velocity, x: State, t: Scalar, end: Scalar, solver_state: SolverState
    ) -> tuple[State, SolverState]:
        """`x` at time `t` carried to time `end`, and what the next step is given.

        The state keeps its dtype, whatever the velocity's.
        """


class Solution(NamedTuple):
    """The state at the last time, and the first interval after which it was not finite (-1: it always was; 0 also if
    the noise was not)."""

    state: State
    broken_at: Int[Array, ""]


def solve(velocity: Velocity, noise: State, grid: TimeGrid, solver: Solver) -> Solution:
    """`noise` carried along `velocity` by `solver` over every interval of `grid`.

    The number of intervals is data, so other step counts use the same compiled program; reverse-mode differentiation
    is not possible for that reason.
    """

    def advance(i: Int[Array, ""], carried: tuple[Solution, SolverState]) -> tuple[Solution, SolverState]:
        (x, broken_at), solver_state = carried
        x, solver_state = solver.step(velocity, x, grid.times[i], grid.times[i + 1], solver_state)
        return Solution(x, _first_broken(x, i, broken_at)), solver_state

    start = Solution(noise, _first_broken(noise, jnp.asarray(0), jnp.asarray(-1, jnp.int32)))
    solution, _ = jax.lax.fori_loop(0, grid.intervals, advance, (start, solver.init(noise, grid)))
    return solution


def _first_broken(state: State, i: Int[Array, ""], broken_at: Int[Array, ""]) -> Int[Array, ""]:
    """`broken_at`, or `i` if it was -1 and `state` is not finite."""
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state)]))
    return jnp.where((broken_at < 0) & ~finite, i.astype(jnp.int32), broken_at)
