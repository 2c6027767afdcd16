"""Layers whose weight is divided by its largest singular value."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.nn.conv import Conv1d, Conv2d
from laminate.nn.linear import Linear
from laminate.types import Buffer, Float32Params, RandomKey, Scalar

T = TypeVar("T")


Weighted = Linear | Conv1d | Conv2d
"""Layers with a `weight` laid out `(out, ...)`."""


class SpectralNorm(Float32Params):
    """`layer` with `weight / sigma` for its weight (Miyato et al. 2018), which is held in float32 on every mesh.

    `sigma = u' W v` estimates the largest singular value of the weight as a matrix `W`, `(out, everything else)`, in
    float32; the gradient flows through `W` in it, and not through `u` and `v`. A call leaves these as they are:
    `iterated` makes one step of the power iteration, `v = W'u / |W'u|`, `u = W v / |W v|`, for all layers of a module.
    The bias is not divided.

    `eps` bounds the lengths that are divided by, from below; with `eps_under_root` it is added to their squares
    instead.
    """

    layer: Weighted
    u: Buffer
    v: Buffer
    eps: float = eqx.field(static=True)
    eps_under_root: bool = eqx.field(static=True)

    def __init__(self, layer: Weighted, *, eps: float = 1e-12, eps_under_root: bool = False, key: RandomKey):
        matrix = _matrix(layer.weight)
        self.layer = layer
        self.eps = eps
        self.eps_under_root = eps_under_root
        self.v = Buffer(jnp.zeros(matrix.shape[1], jnp.float32))
        # One step, since with two vectors that know nothing of each other sigma may be zero.
        u = jax.random.normal(key, matrix.shape[:1], jnp.float32)
        self.u, self.v = (Buffer(a) for a in self._step(u))

    @jax.named_scope("spectral_norm")
    def __call__(self, x: Float[Array, "*_ _"], *, key: RandomKey | None = None) -> Float[Array, "*_ _"]:
        return self.normalised()(x, key=key)

    def sigma(self) -> Scalar:
        """The estimate of the largest singular value with the vectors that are stored."""
        u, v = (jax.lax.stop_gradient(a.value) for a in (self.u, self.v))
        return _dot(u, _dot(_matrix(self.layer.weight), v))

    def normalised(self) -> Weighted:
        """The layer with the divided weight."""
        weight, sigma = self.layer.weight, self.sigma()
        # A weight of zeros stays one.
        sigma = jnp.where(sigma == 0, 1.0, sigma)
        divided = weight.astype(jnp.float32) / jnp.broadcast_to(sigma, weight.shape)
        return eqx.tree_at(lambda layer: layer.weight, self.layer, divided)

    def iterated(self) -> "SpectralNorm":
        """The same layer with vectors one step of the power iteration further."""
        return eqx.tree_at(lambda m: (m.u.value, m.v.value), self, self._step(self.u.value))

    def _step(self, u: Float[Array, " out"]) -> tuple[Float[Array, " out"], Float[Array, " rest"]]:
        matrix = jax.lax.stop_gradient(_matrix(self.layer.weight))
        v = self._unit(_dot(jax.lax.stop_gradient(u), matrix))
        return self._unit(_dot(matrix, v)), v

    def _unit(self, x: Float[Array, " size"]) -> Float[Array, " size"]:
        square = jnp.sum(jnp.square(x))
        if self.eps_under_root:
            return x * jnp.broadcast_to(jax.lax.rsqrt(square + self.eps), x.shape)
        return x / jnp.broadcast_to(jnp.maximum(jnp.sqrt(square), self.eps), x.shape)


def iterated(module: T) -> T:
    """`module` with the vectors of every `SpectralNorm` in it one step further; all else stays."""
    return jax.tree.map(
        lambda node: node.iterated() if _is_spectral(node) else node, module, is_leaf=_is_spectral
    )


def _is_spectral(node: Any) -> bool:
    return isinstance(node, SpectralNorm)


def _matrix(weight: Float[Array, "..."]) -> Float[Array, "_ _"]:
    return weight.astype(jnp.float32).reshape(weight.shape[0], -1)


def _dot(a: Array, b: Array) -> Array:
    return jnp.dot(a, b, precision=jax.lax.Precision.HIGHEST)
