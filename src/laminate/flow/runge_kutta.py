"""Explicit Runge-Kutta steps, in flat space."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from laminate.flow.path import State, Velocity
from laminate.flow.solver import Solver, SolverState
from laminate.types import Scalar, exact


@dataclass(frozen=True)
class RungeKutta(Solver):
    """An explicit tableau: stage `i` is at `nodes[i]` of the step, from the stages before it; then `weights`.

    With `euler_at_data` a step that ends at time 1 takes its first stage alone (Karras et al. 2022): a later one would
    stand where no noise is left, beyond every time of the training and of guidance.
    """

    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    order: int
    euler_at_data: bool = False

    def step(
        self, velocity: Velocity, x: State, t: Scalar, end: Scalar, solver_state: SolverState
    ) -> tuple[State, SolverState]:
        """The stages are a loop, so the velocity is compiled once, however many they are."""
        length, count = end - t, len(self.nodes)
        if count == 1:
            slope = velocity(x, t)
            euler = lambda a, k: a + length.astype(a.dtype) * k.astype(a.dtype)
            return jax.tree.map(euler, x, slope), solver_state
        nodes = jnp.asarray(self.nodes, jnp.float32)
        rows = jnp.asarray([row + (0.0,) * (count - len(row)) for row in self.stages], jnp.float32)

        def stage(i: Int[Array, ""], slopes: State) -> State:
            # The last stage stands exactly on the grid, where bounds of guidance may lie.
            at = jnp.where(nodes[i] == 1.0, end, t + nodes[i] * length)
            slope = velocity(_moved(x, slopes, length * rows[i]), at)
            return jax.tree.map(lambda all, one: all.at[i].set(one.astype(all.dtype)), slopes, slope)

        # What a stage does not use yet has no weight. It begins as `x`, so that a sharded step sees it vary over
        # devices.
        none = jax.tree.map(lambda a: jnp.broadcast_to(a[None], (count, *a.shape)), x)
        weights = jnp.asarray(self.weights, jnp.float32)
        if self.euler_at_data:
            at_data = end >= 1.0
            count = jnp.where(at_data, 1, count)
            weights = jnp.where(at_data, jnp.eye(1, len(self.nodes), dtype=jnp.float32)[0], weights)
        slopes = jax.lax.fori_loop(0, count, stage, none)
        return _moved(x, slopes, length * weights), solver_state


EULER = RungeKutta((0.0,), ((),), (1.0,), 1)
MIDPOINT = RungeKutta((0.0, 1 / 2), ((), (1 / 2,)), (0.0, 1.0), 2)
HEUN = RungeKutta((0.0, 1.0), ((), (1.0,)), (1 / 2, 1 / 2), 2, euler_at_data=True)
"""As Karras et al. (2022) take it: the last step into the data is one of Euler's."""
HEUN2 = RungeKutta(HEUN.nodes, HEUN.stages, HEUN.weights, 2)
"""The tableau at every step, which torchdiffeq calls `heun2`."""
HEUN3 = RungeKutta((0.0, 1 / 3, 2 / 3), ((), (1 / 3,), (0.0, 2 / 3)), (1 / 4, 0.0, 3 / 4), 3)
RK4 = RungeKutta(
    (0.0, 1 / 2, 1 / 2, 1.0), ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), 4
)
RK4_38 = RungeKutta(
    (0.0, 1 / 3, 2 / 3, 1.0),
    ((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)),
    (1 / 8, 3 / 8, 3 / 8, 1 / 8),
    4,
)
"""Kutta's 3/8 rule, which torchdiffeq calls `rk4`."""


@exact
def _moved(x: State, slopes: State, weights: Float[Array, " stages"]) -> State:
    """`x + sum_i weights[i] slopes[i]`."""
    return jax.tree.map(lambda a, k: a + jnp.tensordot(weights.astype(a.dtype), k, axes=1), x, slopes)
