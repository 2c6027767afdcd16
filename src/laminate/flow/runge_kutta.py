"""Explicit Runge-Kutta steps, in flat space."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from laminate.flow.path import State, Velocity
from laminate.flow.solver import Solver, SolverState
from laminate.types import Scalar, exact


@dataclass(frozen=True)
class RungeKutta(Solver):
    """An explicit tableau: stage `i` is at `nodes[i]` of the step, from the stages before it; then `weights`.

    A step that ends at time 1 is one of `into_data`, if there is such a method: a stage at its end would stand where no
    noise is left, beyond every time of the training and of guidance (Karras et al. 2022). One step may be of an order
    less, and the whole keeps its own. Raises ValueError for an `into_data` of more stages.
    """

    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    order: int
    into_data: "RungeKutta | None" = None

    def __post_init__(self) -> None:
        if self.into_data is not None and len(self.into_data.nodes) > len(self.nodes):
            raise ValueError(
                f"The step into the data has {len(self.into_data.nodes)} stages, and the others {len(self.nodes)}: it "
                "may have no more."
            )

    def step(
        self, velocity: Velocity, x: State, t: Scalar, end: Scalar, solver_state: SolverState
    ) -> tuple[State, SolverState]:
        """The stages are a loop, so the velocity is compiled once, however many they are."""
        length = end - t
        if len(self.nodes) == 1:
            slope = velocity(x, t)
            euler = lambda a, k: a + length.astype(a.dtype) * k.astype(a.dtype)
            return jax.tree.map(euler, x, slope), solver_state
        count, nodes, rows, weights = self._tableau(end)

        def stage(i: Int[Array, ""], slopes: State) -> State:
            # The last stage stands exactly on the grid, where bounds of guidance may lie.
            at = jnp.where(nodes[i] == 1.0, end, t + nodes[i] * length)
            slope = velocity(_moved(x, slopes, length * rows[i]), at)
            return jax.tree.map(lambda all, one: all.at[i].set(one.astype(all.dtype)), slopes, slope)

        # What a stage does not use yet has no weight. It begins as `x`, so that a sharded step sees it vary over
        # devices.
        none = jax.tree.map(lambda a: jnp.broadcast_to(a[None], (len(self.nodes), *a.shape)), x)
        slopes = jax.lax.fori_loop(0, count, stage, none)
        return _moved(x, slopes, length * weights), solver_state

    def _tableau(self, end: Scalar) -> "_Tableau":
        """That of a step to `end`."""
        mine = self._padded(len(self.nodes))
        if self.into_data is None:
            return mine
        last, at_data = self.into_data._padded(len(self.nodes)), end >= 1.0
        return _Tableau(*(jnp.where(at_data, a, b) for a, b in zip(last, mine, strict=True)))

    def _padded(self, stages: int) -> "_Tableau":
        """The tableau with zeros for stages that it lacks."""
        fill = lambda row: (*row, *(0.0,) * (stages - len(row)))
        rows = [fill(row) for row in self.stages] + [fill(())] * (stages - len(self.stages))
        return _Tableau(
            jnp.asarray(len(self.nodes), jnp.int32),
            jnp.asarray(fill(self.nodes), jnp.float32),
            jnp.asarray(rows, jnp.float32),
            jnp.asarray(fill(self.weights), jnp.float32),
        )


class _Tableau(NamedTuple):
    """How many stages are made in a step, when and from which stages each is, and what each counts for."""

    made: Int[Array, ""]
    nodes: Float[Array, " stages"]
    rows: Float[Array, "stages stages"]
    weights: Float[Array, " stages"]


EULER = RungeKutta((0.0,), ((),), (1.0,), 1)
MIDPOINT = RungeKutta((0.0, 1 / 2), ((), (1 / 2,)), (0.0, 1.0), 2)
HEUN = RungeKutta((0.0, 1.0), ((), (1.0,)), (1 / 2, 1 / 2), 2, into_data=EULER)
"""As Karras et al. (2022) take it: the last step into the data is one of Euler's."""
HEUN2 = RungeKutta(HEUN.nodes, HEUN.stages, HEUN.weights, 2)
"""The tableau at every step, which torchdiffeq calls `heun2`."""
HEUN3 = RungeKutta((0.0, 1 / 3, 2 / 3), ((), (1 / 3,), (0.0, 2 / 3)), (1 / 4, 0.0, 3 / 4), 3)
RK4 = RungeKutta(
    (0.0, 1 / 2, 1 / 2, 1.0),
    ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
    (1 / 6, 1 / 3, 1 / 3, 1 / 6),
    4,
    into_data=HEUN3,
)
"""The classical one; the last step into the data is one of Heun's of order 3, none of whose stages stands at its
end."""
RK4_38 = RungeKutta(
    (0.0, 1 / 3, 2 / 3, 1.0),
    ((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)),
    (1 / 8, 3 / 8, 3 / 8, 1 / 8),
    4,
)
"""Kutta's 3/8 rule at every step, which torchdiffeq calls `rk4`."""


@exact
def _moved(x: State, slopes: State, weights: Float[Array, " stages"]) -> State:
    """`x + sum_i weights[i] slopes[i]`."""
    return jax.tree.map(lambda a, k: a + jnp.tensordot(weights.astype(a.dtype), k, axes=1), x, slopes)
