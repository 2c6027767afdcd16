"""Paths on spheres (Chen & Lipman 2024): every token is a point of a sphere, and paths are arcs of great circles."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.flow.path import Path, State, Velocity
from laminate.flow.solver import Solver, SolverState
from laminate.types import Scalar

_LEAST_SQUARE = 1e-30  # under a root: the square of a difference of unit vectors is above it, or zero
_EQUAL = 1e-4  # half a chord, below which arc and chord are equal to the last digit of float32
_SHORTEST = 1e-3  # of the radius: predicted data that are shorter are less than a direction


@dataclass(frozen=True)
class Sphere(Path):
    """Arcs at constant speed on the sphere of `radius`: the vectors along the last axis of a state are its points.

    With the angle `w` between noise and data, the point at `t` is
    `(sin((1 - t) w) noise + sin(t w) data) / sin w`, and its speed `radius w`. Everything is computed, and given back,
    in float32 or wider, whatever comes in: half precision has no small angles.

    A pair may be equal, where nothing moves, or opposite, where one of the many shortest ways is taken. The noise is
    uniform on the sphere. A vector of zeros has no direction, and no place on it: `project` makes it NaN.

    Raises ValueError for a radius that is not above 0.
    """

    radius: float

    def __post_init__(self) -> None:
        if not 0.0 < self.radius < math.inf:
            raise ValueError(f"A sphere needs a radius above 0, got radius={self.radius}.")

    def point(self, data: State, noise: State, t: Scalar) -> State:
        def one(z: Array, e: Array) -> Array:
            start = _unit(_wide(e))
            angle, way = _arc(start, _unit(_wide(z)))
            return self.radius * _along(start, way, angle, t.astype(start.dtype))

        return jax.tree.map(one, data, noise)

    def velocity(self, data: State, noise: State, t: Scalar) -> State:
        """`radius w / sin w (cos(t w) data - cos((1 - t) w) noise)`."""

        def one(z: Array, e: Array) -> Array:
            start = _unit(_wide(e))
            angle, way = _arc(start, _unit(_wide(z)))
            turned = t.astype(start.dtype) * angle
            return self.radius * (jnp.cos(turned) * way - angle * jnp.sin(turned) * start)

        return jax.tree.map(one, data, noise)

    def data_to_velocity(self, x: State, data: State, t: Scalar, *, min_one_minus_t: float | Scalar) -> State:
        """`log_x(data) / max(1 - t, min_one_minus_t)`.

        Predicted data may lie anywhere: only their direction counts, unless they are shorter than a thousandth of the
        radius, as those of a fresh network. Then they move the state by their tangent part, in units of that.
        """
        shortest = _SHORTEST * self.radius

        def one(a: Array, z: Array) -> Array:
            start, z = _unit(_wide(a)), _wide(z).astype(_wide(a).dtype)
            length = _norm(z)
            is_short = jnp.broadcast_to(length < shortest, z.shape)
            arc = _arc(start, jnp.where(is_short, start, z / length))[1]
            way = jnp.where(is_short, (z - _dot(z, start) * start) / shortest, arc)
            remaining = jnp.maximum(1.0 - t, jnp.asarray(min_one_minus_t, t.dtype)).astype(way.dtype)
            return self.radius * way / remaining

        return jax.tree.map(one, x, data)

    def project(self, x: State) -> State:
        return jax.tree.map(lambda a: self.radius * _unit(_wide(a)), x)

    def tangent(self, x: State, velocity: State) -> State:
        """`v - <v, x> x / |x|^2`."""

        def one(a: Array, v: Array) -> Array:
            a, v = _unit(_wide(a)), _wide(v)
            return v - _dot(v.astype(a.dtype), a) * a

        return jax.tree.map(one, x, velocity)

    def exp(self, x: State, velocity: State) -> State:
        """Where the arc that begins at `x` along the tangent `velocity` is after its length."""

        def one(a: Array, v: Array) -> Array:
            start, way = _unit(_wide(a)), _wide(v).astype(_wide(a).dtype) / self.radius
            end = _along(start, way, _norm(way), jnp.ones((), start.dtype))
            return self.radius * _unit(end)

        return jax.tree.map(one, x, velocity)

    def log(self, x: State, end: State) -> State:
        """The tangent at `x` whose arc ends in `end`; its length is the distance."""
        return jax.tree.map(lambda a, b: self.radius * _arc(_unit(_wide(a)), _unit(_wide(b)))[1], x, end)

    def angle(self, x: State, end: State) -> State:
        """The angle between two states, from 0 to pi: without the last axis."""
        return jax.tree.map(lambda a, b: _arc(_unit(_wide(a)), _unit(_wide(b)))[0][..., 0], x, end)


@dataclass(frozen=True)
class ExpMap(Solver):
    """Euler's method along arcs: the step follows the great circle of the tangent part of the velocity.

    Exact where the velocity leads to one data point, in any number of steps (HAE, algorithm 2).
    """

    path: Sphere

    def step(
        self, velocity: Velocity, x: State, t: Scalar, end: Scalar, solver_state: SolverState
    ) -> tuple[State, SolverState]:
        length = end - t
        along = self.path.tangent(x, velocity(x, t))
        moved = self.path.exp(x, jax.tree.map(lambda v: length.astype(v.dtype) * v, along))
        return _as(moved, x), solver_state


@dataclass(frozen=True)
class EulerProject(Solver):
    """Euler's step along the whole velocity in the space around, then back to that of `path` (HAE's first version)."""

    path: Path

    def step(
        self, velocity: Velocity, x: State, t: Scalar, end: Scalar, solver_state: SolverState
    ) -> tuple[State, SolverState]:
        length = end - t
        beside = jax.tree.map(lambda a, v: a + length.astype(a.dtype) * v.astype(a.dtype), x, velocity(x, t))
        return _as(self.path.project(beside), x), solver_state


def expected_norm(dim: int) -> float:
    """The mean length of `dim` standard normal numbers, `sqrt(2) gamma((dim + 1) / 2) / gamma(dim / 2)`: nearly
    `sqrt(dim)`, the radius at which numbers of a token have variance 1."""
    if dim < 1:
        raise ValueError(f"expected_norm needs at least one number, got dim={dim}.")
    return math.sqrt(2.0) * math.exp(math.lgamma((dim + 1) / 2) - math.lgamma(dim / 2))


def _arc(
    start: Float[Array, "... dim"], end: Float[Array, "... dim"]
) -> tuple[Float[Array, "... 1"], Float[Array, "... dim"]]:
    """The angle between unit vectors, and the tangent at `start` of that length which leads to `end`.

    `start cos w + tangent sin(w) / w = end`. Both come from half the chord and half the sum, sine and cosine of half
    the angle, of which one is exact near 0 and the other near pi, where the cosine itself says nothing.
    """
    chord, both = end - start, end + start
    sine, cosine = 0.5 * _norm(chord), 0.5 * _norm(both)
    angle = 2.0 * jnp.arctan2(sine, cosine)
    near = jnp.broadcast_to(sine <= cosine, start.shape)
    way = jnp.where(near, chord + 2.0 * sine**2 * start, both - 2.0 * cosine**2 * start)
    way = way - _dot(way, start) * start  # what rounding left
    # From the opposite point all directions are as short: that of the number which is least at `start`.
    lost = (_norm(way) < 1e-14) & (sine > 0.9)
    least = jax.nn.one_hot(jnp.argmin(jnp.abs(start), axis=-1), start.shape[-1], dtype=start.dtype)
    way = jnp.where(jnp.broadcast_to(lost, start.shape), least - _dot(least, start) * start, way)
    return angle, jnp.where(sine < _EQUAL, 1.0, angle / _norm(way)) * way


def _along(
    start: Float[Array, "... dim"], way: Float[Array, "... dim"], angle: Float[Array, "... 1"], t: Scalar
) -> Float[Array, "... dim"]:
    """The unit vector at the share `t` of an arc of `angle`."""
    turned = t * angle
    return jnp.cos(turned) * start + t * jnp.sinc(turned / math.pi) * way


def _unit(x: Float[Array, "... dim"]) -> Float[Array, "... dim"]:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def _norm(x: Float[Array, "... dim"]) -> Float[Array, "... 1"]:
    """The length, whose derivative at zero is zero."""
    return jnp.sqrt(jnp.maximum(_dot(x, x), _LEAST_SQUARE))


def _dot(x: Float[Array, "... dim"], y: Float[Array, "... dim"]) -> Float[Array, "... 1"]:
    return jnp.sum(x * y, axis=-1, keepdims=True)


def _wide(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def _as(state: State, like: State) -> State:
    return jax.tree.map(lambda a, b: a.astype(b.dtype), state, like)
