"""The stochastic sampler with the same marginals, on affine paths (Ma et al. 2024, SiT)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from laminate.flow.affine import STRAIGHT, AffinePath
from laminate.flow.grid import TimeGrid
from laminate.flow.path import State, Velocity
from laminate.flow.solver import Solver, SolverState
from laminate.types import RandomKey, Scalar

DiffusionForm = Literal["constant", "noise", "decreasing", "increasing_decreasing"]
LastStep = Literal["mean", "euler", "tweedie", "none"]
Diffusion = Callable[[Scalar], Scalar]
Draws = Callable[[Int[Array, ""]], Any]


def diffusion(form: DiffusionForm, *, norm: float = 1.0) -> Diffusion:
    """`w(t)`, half the diffusion of the stochastic process.

    `constant`: norm; `noise`: norm (1 - t); `decreasing`: (norm cos(pi t) + 1)^2 / 4; `increasing_decreasing`:
    norm sin(pi t)^2. Any non-negative `w` gives the marginals of the flow.
    """
    forms: dict[str, Diffusion] = {
        "constant": lambda t: norm * jnp.ones_like(t),
        "noise": lambda t: norm * (1.0 - t),
        "decreasing": lambda t: 0.25 * jnp.square(norm * jnp.cos(math.pi * t) + 1.0),
        "increasing_decreasing": lambda t: norm * jnp.square(jnp.sin(math.pi * t)),
    }
    if form not in forms:
        raise ValueError(f"diffusion form {form!r} is none of {', '.join(forms)}.")
    return forms[form]


def gaussian_draws(key: RandomKey, like: State) -> Draws:
    """Standard normal numbers in the shape of `like` for each interval, a function of the key and its index."""
    leaves, structure = jax.tree.flatten(like)

    def draw(i: Int[Array, ""]) -> State:
        keys = jax.random.split(jax.random.fold_in(key, i), len(leaves))
        return structure.unflatten(
            [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
        )

    return draw


@dataclass(frozen=True)
class EulerMaruyama(Solver):
    """Steps of `dx = (v + w score) dt + sqrt(2 w) dW`, the score that of the velocity on `path`.

    With `heun` the noise comes first, and then a step of Heun's method along the drift. Near 1 the score is large;
    grids usually end before, at `1 - size`, and `last_step` goes the rest of the way. `draws(i)` are the standard
    normal numbers of step `i`.
    """

    draws: Draws
    w: Diffusion
    heun: bool = False
    path: AffinePath = STRAIGHT

    def init(self, x: State, grid: TimeGrid) -> SolverState:
        """The number of the step."""
        del x, grid
        return jnp.asarray(0, jnp.int32)

    def step(
        self, velocity: Velocity, x: State, t: Scalar, end: Scalar, solver_state: SolverState
    ) -> tuple[State, SolverState]:
        length = end - t
        noisy = _sum(x, self.draws(solver_state), jnp.sqrt(2.0 * self.w(t) * length))
        slope = lambda x, t: drift(velocity, x, t, w=self.w, path=self.path)
        if self.heun:
            first = slope(noisy, t)
            second = slope(_sum(noisy, first, length), end)
            moved = _sum(_sum(noisy, first, 0.5 * length), second, 0.5 * length)
        else:
            moved = _sum(noisy, slope(x, t), length)
        return moved, solver_state + 1


def last_step(
    kind: LastStep,
    velocity: Velocity,
    x: State,
    *,
    size: float,
    w: Diffusion,
    path: AffinePath = STRAIGHT,
) -> State:
    """From time `1 - size` to the data without noise: along the drift, along the velocity, or by Tweedie's formula.

    Raises ValueError for another `kind` or a `size` outside (0, 1).
    """
    if kind not in get_args(LastStep):
        raise ValueError(f"last step {kind!r} is none of {', '.join(get_args(LastStep))}.")
    if kind == "none":
        return x
    if not 0.0 < size < 1.0:
        raise ValueError(f"The last step's size must lie in (0, 1), got size={size}.")
    t, length = jnp.asarray(1.0 - size, jnp.float32), jnp.asarray(size, jnp.float32)
    if kind == "mean":
        return _sum(x, drift(velocity, x, t, w=w, path=path), length)
    slope = velocity(x, t)
    if kind == "euler":
        return _sum(x, slope, length)
    alpha, variance = path.data_weight(t), jnp.square(path.noise_weight(t))
    whole = _sum(x, path.score(x, slope, t), variance)
    return jax.tree.map(lambda a: a / alpha.astype(a.dtype), whole)


def drift(velocity: Velocity, x: State, t: Scalar, *, w: Diffusion, path: AffinePath = STRAIGHT) -> State:
    """`velocity + w score`."""
    slope = velocity(x, t)
    return _sum(slope, path.score(x, slope, t), w(t))


def _sum(x: State, y: State, weight: Scalar) -> State:
    """`x + weight y`, in the dtype of `y` where it is a score of a narrower velocity."""
    return jax.tree.map(lambda a, b: a.astype(jnp.result_type(a, b)) + weight.astype(b.dtype) * b, x, y)
