"""UniPC: a multistep predictor and corrector in the log signal-to-noise ratio (Zhao et al. 2023), on affine paths."""

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.flow.affine import STRAIGHT, AffinePath
from laminate.flow.grid import TimeGrid
from laminate.flow.path import State, Velocity
from laminate.flow.solver import Solver, SolverState
from laminate.types import Scalar, exact

_LEAST = 1e-5  # of the data, where its logarithm is taken: at noise itself there is none


@dataclass(frozen=True)
class UniPc(Solver):
    """Steps of `order` from the predictions at the last `order` times; each is corrected by that of the next step.

    With `predicts="data"` the network's data are held on to, with `"noise"` its noise. `kind` is the function B(h) of
    the paper: `"bh2"` is `exp(h) - 1`, `"bh1"` is `h`. `lower_order_final` lowers the order towards the end.
    `uncorrected` are the numbers of steps whose result is not corrected. A step that ends at the data returns the
    predicted data. Raises ValueError for an order below one.
    """

    order: int = 2
    kind: Literal["bh1", "bh2"] = "bh2"
    predicts: Literal["data", "noise"] = "data"
    lower_order_final: bool = True
    uncorrected: tuple[int, ...] = ()
    path: AffinePath = STRAIGHT

    def __post_init__(self) -> None:
        if self.order < 1:
            raise ValueError(f"UniPc needs an order of at least 1, got order={self.order}.")

    def init(self, x: State, grid: TimeGrid) -> SolverState:
        """Number of the step and of all; the order of the last; times and predictions, the newest first; its state."""
        past = jax.tree.map(lambda a: jnp.broadcast_to(a[None], (self.order, *a.shape)), x)
        times = jnp.zeros(self.order, jnp.float32)
        return jnp.asarray(0, jnp.int32), grid.intervals, jnp.asarray(1, jnp.int32), times, past, x

    def step(
        self, velocity: Velocity, x: State, t: Scalar, end: Scalar, solver_state: SolverState
    ) -> tuple[State, SolverState]:
        number, count, last_order, times, past, before = solver_state
        predicted = self._prediction(x, velocity(x, t), t)
        weights = jax.lax.switch(
            last_order - 1, [lambda p=p: self._weights(times, t, p, True) for p in range(1, self.order + 1)]
        )
        corrected = _combined(before, past, predicted, weights)
        keep = (number == 0) | jnp.isin(number - 1, jnp.asarray((-1, *self.uncorrected), jnp.int32))
        x = jax.tree.map(lambda raw, better: jnp.where(keep, raw, better), x, corrected)
        times = jnp.roll(times, 1).at[0].set(t)
        past = jax.tree.map(lambda all, new: jnp.roll(all, 1, axis=0).at[0].set(new), past, predicted)
        order = jnp.minimum(self.order, number + 1)
        if self.lower_order_final:
            order = jnp.minimum(order, count - number)
        order = jnp.maximum(order, 1).astype(jnp.int32)
        weights = jax.lax.switch(
            order - 1, [lambda p=p: self._weights(times, end, p, False) for p in range(1, self.order + 1)]
        )
        moved = _combined(x, past, predicted, weights)
        at_data = self.path.noise_weight(end) <= 0
        moved = jax.tree.map(lambda a, data: jnp.where(at_data, data, a), moved, self._data(x, predicted, t))
        return moved, (number + 1, count, order, times, past, x)

    def _prediction(self, x: State, velocity: State, t: Scalar) -> State:
        alpha, sigma = self.path.data_weight(t), self.path.noise_weight(t)
        of_alpha, of_sigma = self.path.data_rate(t), self.path.noise_rate(t)
        scale = of_alpha * sigma - alpha * of_sigma
        if self.predicts == "data":
            return jax.tree.map(lambda a, v: (sigma * v.astype(a.dtype) - of_sigma * a) / scale, x, velocity)
        return jax.tree.map(lambda a, v: (of_alpha * a - alpha * v.astype(a.dtype)) / scale, x, velocity)

    def _data(self, x: State, predicted: State, t: Scalar) -> State:
        if self.predicts == "data":
            return predicted
        alpha, sigma = jnp.maximum(self.path.data_weight(t), _LEAST), self.path.noise_weight(t)
        return jax.tree.map(lambda a, noise: (a - sigma * noise) / alpha, x, predicted)

    def _ratio(self, t: Scalar) -> Scalar:
        return jnp.log(jnp.maximum(self.path.data_weight(t), _LEAST)) - jnp.log(
            jnp.maximum(self.path.noise_weight(t), _LEAST)
        )

    @exact
    def _weights(
        self, times: Float[Array, " order"], end: Scalar, order: int, correcting: bool
    ) -> Float[Array, " terms"]:
        """What the state, the past predictions and the new one are multiplied by."""
        start = times[0]
        of_data = self.predicts == "data"
        grown, shrunk = self.path.data_weight, self.path.noise_weight
        if not of_data:
            grown, shrunk = shrunk, grown
        ratio = self._ratio(start)
        h = self._ratio(end) - ratio
        hh = -h if of_data else h
        phi = jnp.expm1(hh)
        b_h = phi if self.kind == "bh2" else hh
        # Distances of the past times in units of the step, and that of its end.
        earlier = [(self._ratio(times[i]) - ratio) / h for i in range(1, order)]
        r = jnp.stack([*earlier, jnp.ones_like(h)])
        rows = jnp.stack([r**k for k in range(order)])
        psi = jnp.stack([_psi(hh, k) for k in range(1, order + 1)])
        right = psi * jnp.asarray([float(math.factorial(k)) for k in range(1, order + 1)], jnp.float32) / b_h
        used = order if correcting else order - 1
        if (correcting and order == 1) or (not correcting and order == 2):
            rho = jnp.full(used, 0.5, jnp.float32)
        elif used:
            rho = jnp.linalg.solve(rows[:used, :used], right[:used])
        else:
            rho = jnp.zeros(0, jnp.float32)
        step = -grown(end) * b_h
        differences = step * rho / r[:used]
        of_past = jnp.zeros(self.order, jnp.float32).at[1:order].set(differences[: order - 1])
        of_past = of_past.at[0].set(-grown(end) * phi - jnp.sum(differences))
        of_new = step * rho[-1:] if correcting else jnp.zeros(1, jnp.float32)
        return jnp.concatenate([(shrunk(end) / jnp.maximum(shrunk(start), _LEAST))[None], of_past, of_new])


def unipc_sigmas(
    steps: int, *, shift: float = 1.0, again: float | None = None, dynamic: float | None = None
) -> Float[np.ndarray, " points"]:
    """The shares of noise at which the released scheduler stops, from noise down to 0.

    It shifts twice: its largest share, 0.999, once when it is made, and the whole grid once more, by `again` or by
    the same `shift`. With a `dynamic` mu it shifts once, by `exp(mu)`. Raises ValueError for fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"A sampler needs at least one step, got {steps}.")
    first = np.float32(1) - np.float32(1 / 1000)
    moved = lambda s, by: by * s / (1 + (by - 1) * s)
    if dynamic is None:
        first = np.float32(moved(first, np.float32(shift)))
        by = shift if again is None else again
    else:
        by = math.exp(dynamic)
    grid = moved(np.linspace(float(first), 0.0, steps + 1)[:-1], by)
    return np.append(grid, 0.0).astype(np.float32)


def unipc_grid(
    steps: int,
    *,
    shift: float = 1.0,
    again: float | None = None,
    dynamic: float | None = None,
    capacity: int = 256,
) -> TimeGrid:
    """`unipc_sigmas` as times from noise to data, padded to a multiple of `capacity` intervals."""
    times = 1.0 - unipc_sigmas(steps, shift=shift, again=again, dynamic=dynamic).astype(np.float64)
    padded = np.pad(times, (0, math.ceil(steps / capacity) * capacity - steps), mode="edge")
    return TimeGrid(jnp.asarray(padded, jnp.float32), jnp.asarray(steps, jnp.int32))


def _psi(h: Scalar, k: int) -> Scalar:
    """`h phi_{k+1}(h)`, by its series where the recursion cancels."""
    recursion = jnp.expm1(h) / h - 1.0
    for i in range(1, k):
        recursion = recursion / h - 1.0 / math.factorial(i + 1)
    near = jnp.clip(h, -1.0, 1.0)
    series = jnp.zeros_like(h)
    for n in reversed(range(12)):
        series = series * near + 1.0 / math.factorial(n + k + 1)
    return jnp.where(jnp.abs(h) < 1.0, near * series, recursion)


@exact
def _combined(x: State, past: State, new: State, weights: Float[Array, " terms"]) -> State:
    def one(a: Array, before: Array, now: Array) -> Array:
        w = weights.astype(a.dtype)
        return w[0] * a + jnp.tensordot(w[1:-1], before, axes=1) + w[-1] * now

    return jax.tree.map(one, x, past, new)
