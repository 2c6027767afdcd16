"""Normalisation of every channel by numbers that are kept: those of past batches, or trained ones."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.types import BatchStatistics, Buffer, RandomKey

Average = Callable[[Array], Array]
"""The mean of an array over the devices that a batch is spread over."""


def unaveraged(x: Array) -> Array:
    """The `Average` of a batch that lies on one device whole."""
    return x


class BatchNorm(BatchStatistics):
    """`scale * (x - mean) / sqrt(variance + eps) + bias`, channel by channel (Ioffe & Szegedy 2015).

    One example is normalised by the kept `mean` and `variance`; `training` gives the layer that normalises by those of
    a batch. Computed in float32, with the result in the dtype of `x`.
    """

    scale: Float[Array, " dim"]
    bias: Float[Array, " dim"]
    mean: Buffer
    variance: Buffer
    dim: int = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    momentum: float = eqx.field(static=True)

    def __init__(self, dim: int, *, eps: float = 1e-5, momentum: float = 0.1):
        self.scale = jnp.ones(dim, jnp.float32)
        self.bias = jnp.zeros(dim, jnp.float32)
        self.mean = Buffer(jnp.zeros(dim, jnp.float32))
        self.variance = Buffer(jnp.ones(dim, jnp.float32))
        self.dim = dim
        self.eps = eps
        self.momentum = momentum

    @jax.named_scope("batch_norm")
    def __call__(
        self, x: Float[Array, "*places {self.dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "*places {self.dim}"]:
        wide = (a.astype(jnp.float32) for a in (self.mean.value, self.variance.value, self.scale, self.bias))
        mean, variance, scale, bias = wide
        factor = scale * jax.lax.rsqrt(variance + self.eps)
        mean, factor, bias = (jnp.broadcast_to(a, x.shape) for a in (mean, factor, bias))
        return ((x.astype(jnp.float32) - mean) * factor + bias).astype(x.dtype)

    def training(
        self,
        x: Float[Array, "examples *places {self.dim}"],
        *,
        average: Average = unaveraged,
        parts: int = 1,
    ) -> "tuple[BatchNorm, BatchNorm]":
        """The layer with the mean and (biased) variance of a batch, and the one with the kept ones moved towards them.

        The kept numbers move by `momentum`, the variance towards the unbiased one, and carry no gradient; those of the
        first layer do. `average` is the mean over the `parts` equal parts that the batch is spread over.
        """
        wide = x.astype(jnp.float32).reshape(-1, self.dim)
        mean = average(jnp.mean(wide, axis=0))
        variance = average(jnp.mean(jnp.square(wide - jnp.broadcast_to(mean, wide.shape)), axis=0))
        count = len(wide) * parts
        unbiased = variance * (count / max(count - 1, 1))
        return self._with(mean, variance), self._with(
            self._moved(self.mean, mean), self._moved(self.variance, unbiased)
        )

    def _with(self, mean: Array, variance: Array) -> "BatchNorm":
        return eqx.tree_at(lambda m: (m.mean.value, m.variance.value), self, (mean, variance))

    def _moved(self, kept: Buffer, seen: Array) -> Array:
        return (1 - self.momentum) * kept.value + self.momentum * jax.lax.stop_gradient(seen)


class ActNorm(eqx.Module):
    """`scale * (x + shift)`, channel by channel, with trained numbers (Kingma & Dhariwal 2018), which begin as 1 and 0.

    Computed in float32, with the result in the dtype of `x`.
    """

    scale: Float[Array, " dim"]
    shift: Float[Array, " dim"]
    dim: int = eqx.field(static=True)

    def __init__(self, dim: int):
        self.scale = jnp.ones(dim, jnp.float32)
        self.shift = jnp.zeros(dim, jnp.float32)
        self.dim = dim

    @jax.named_scope("act_norm")
    def __call__(
        self, x: Float[Array, "*places {self.dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "*places {self.dim}"]:
        scale, shift = (jnp.broadcast_to(a, x.shape) for a in (self.scale, self.shift))
        return (scale * (x.astype(jnp.float32) + shift)).astype(x.dtype)
