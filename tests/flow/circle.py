"""A space that is not flat: every token is a point of the unit circle, and paths are arcs."""

from dataclasses import dataclass

import jax.numpy as jnp

from laminate.flow import Path, Solver


def angle(x):
    return jnp.arctan2(x[..., 1], x[..., 0])


def at_angle(angle):
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def ahead(x):
    """The direction in which the angle grows."""
    return jnp.stack([-x[..., 1], x[..., 0]], axis=-1)


def arc(start, end):
    """The angle from `start` to `end` by the shorter way."""
    return jnp.mod(angle(end) - angle(start) + jnp.pi, 2.0 * jnp.pi) - jnp.pi


@dataclass(frozen=True)
class Circle(Path):
    def point(self, data, noise, t):
        return at_angle(angle(noise) + t * arc(noise, data))

    def velocity(self, data, noise, t):
        return arc(noise, data)[..., None] * ahead(self.point(data, noise, t))

    def data_to_velocity(self, x, data, t, *, min_one_minus_t):
        return arc(x, data)[..., None] * ahead(x) / jnp.maximum(1.0 - t, min_one_minus_t)

    def project(self, x):
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

    def tangent(self, x, velocity):
        return jnp.sum(velocity * ahead(x), axis=-1, keepdims=True) * ahead(x)


@dataclass(frozen=True)
class Turn(Solver):
    """The step of Euler's method round the circle."""

    def step(self, velocity, x, t, end, solver_state):
        speed = jnp.sum(velocity(x, t) * ahead(x), axis=-1)
        return at_angle(angle(x) + (end - t) * speed), solver_state
