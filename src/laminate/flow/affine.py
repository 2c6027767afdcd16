"""Paths in flat space: weighted sums of data and noise."""

import abc
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array

from laminate.flow.path import Path, State
from laminate.types import Scalar


class AffinePath(Path):
    """`x_t = data_weight(t) data + noise_weight(t) noise`, from noise at 0 to data at 1.

    Every state is one of the space, and every velocity stays inside. Scores, and with them the stochastic sampler
    and losses of noise and score, belong to these paths alone.
    """

    @abc.abstractmethod
    def data_weight(self, t: Scalar) -> Scalar:
        """alpha(t), from 0 to 1."""

    @abc.abstractmethod
    def noise_weight(self, t: Scalar) -> Scalar:
        """sigma(t), from 1 to 0."""

    @abc.abstractmethod
    def data_rate(self, t: Scalar) -> Scalar:
        """d alpha / d t."""

    @abc.abstractmethod
    def noise_rate(self, t: Scalar) -> Scalar:
        """d sigma / d t."""

    def point(self, data: State, noise: State, t: Scalar) -> State:
        return _mix(self.data_weight(t), data, self.noise_weight(t), noise)

    def velocity(self, data: State, noise: State, t: Scalar) -> State:
        return _mix(self.data_rate(t), data, self.noise_rate(t), noise)

    def data_to_velocity(self, x: State, data: State, t: Scalar, *, min_one_minus_t: float | Scalar) -> State:
        """`((alpha' sigma - alpha sigma') data + sigma' x) / sigma`."""
        t = jnp.minimum(t, 1.0 - jnp.asarray(min_one_minus_t, t.dtype))
        sigma, rate = self.noise_weight(t), self.noise_rate(t)
        of_data = (self.data_rate(t) * sigma - self.data_weight(t) * rate) / sigma
        return _mix(of_data, jax.tree.map(lambda z, a: z.astype(a.dtype), data, x), rate / sigma, x)

    def project(self, x: State) -> State:
        return x

    def tangent(self, x: State, velocity: State) -> State:
        return velocity

    def score(self, x: State, velocity: State, t: Scalar) -> State:
        """The score that belongs to a velocity at `x` (Ma et al. 2024, SiT): `(r v - x) / (sigma^2 - r sigma' sigma)`.

        `r = alpha / alpha'`. On the straight path it is `(t v - x) / (1 - t)`.
        """
        ratio = self.data_weight(t) / self.data_rate(t)
        sigma = self.noise_weight(t)
        variance = sigma**2 - ratio * self.noise_rate(t) * sigma
        return jax.tree.map(
            lambda v, a: (_as(ratio, a) * v.astype(a.dtype) - a) / _as(variance, a), velocity, x
        )

    def drift_variance(self, t: Scalar) -> Scalar:
        """`alpha' / alpha sigma^2 - sigma sigma'`: half the diffusion of the process with these marginals."""
        alpha, sigma = self.data_weight(t), self.noise_weight(t)
        return self.data_rate(t) / alpha * sigma**2 - sigma * self.noise_rate(t)


@dataclass(frozen=True)
class Straight(AffinePath):
    """`x_t = t data + (1 - t) noise` (Lipman et al. 2023; Liu et al. 2023)."""

    def data_weight(self, t: Scalar) -> Scalar:
        return t

    def noise_weight(self, t: Scalar) -> Scalar:
        return 1.0 - t

    def data_rate(self, t: Scalar) -> Scalar:
        return jnp.ones_like(t)

    def noise_rate(self, t: Scalar) -> Scalar:
        return -jnp.ones_like(t)

    def data_to_velocity(self, x: State, data: State, t: Scalar, *, min_one_minus_t: float | Scalar) -> State:
        """`(data - x) / max(1 - t, min_one_minus_t)`."""
        remaining = jnp.maximum(1.0 - t, jnp.asarray(min_one_minus_t, t.dtype))
        return jax.tree.map(lambda z, a: (z.astype(a.dtype) - a) / _as(remaining, a), data, x)


STRAIGHT = Straight()


@dataclass(frozen=True)
class Trigonometric(AffinePath):
    """`x_t = sin(pi t / 2) data + cos(pi t / 2) noise`, of constant variance (GVP; Albergo & Vanden-Eijnden 2023)."""

    def data_weight(self, t: Scalar) -> Scalar:
        return jnp.sin(math.pi / 2 * t)

    def noise_weight(self, t: Scalar) -> Scalar:
        return jnp.cos(math.pi / 2 * t)

    def data_rate(self, t: Scalar) -> Scalar:
        return math.pi / 2 * jnp.cos(math.pi / 2 * t)

    def noise_rate(self, t: Scalar) -> Scalar:
        return -math.pi / 2 * jnp.sin(math.pi / 2 * t)


@dataclass(frozen=True)
class VariancePreserving(AffinePath):
    """`sigma = exp(-t^2 (beta_max - beta_min) / 4 - t beta_min / 2)` and `alpha = sqrt(1 - sigma^2)`.

    The schedule of RAE's VP option, in which it is the noise that decays exponentially.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def noise_weight(self, t: Scalar) -> Scalar:
        return jnp.exp(self._log_noise_weight(t))

    def data_weight(self, t: Scalar) -> Scalar:
        return jnp.sqrt(-jnp.expm1(2.0 * self._log_noise_weight(t)))

    def noise_rate(self, t: Scalar) -> Scalar:
        return -self.drift_variance(t) * self.noise_weight(t)

    def data_rate(self, t: Scalar) -> Scalar:
        return self.drift_variance(t) * self.noise_weight(t) ** 2 / self.data_weight(t)

    def drift_variance(self, t: Scalar) -> Scalar:
        """Half of `beta(t) = beta_min + t (beta_max - beta_min)`."""
        return 0.5 * (self.beta_min + t * (self.beta_max - self.beta_min))

    def _log_noise_weight(self, t: Scalar) -> Scalar:
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min


def _mix(first: Scalar, data: State, second: Scalar, noise: State) -> State:
    return jax.tree.map(lambda z, e: _as(first, z) * z + _as(second, z) * e.astype(z.dtype), data, noise)


def _as(scalar: Scalar, like: Array) -> Scalar:
    return scalar.astype(like.dtype)
