"""Normalisation over the last axis, always computed in float32."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.types import RandomKey


class LayerNorm(eqx.Module):
    """`scale * (x - mean) / sqrt(var + eps) + bias` over the last axis (Ba et al. 2016).

    Mean and variance are taken in one pass, `var = max(0, E[x^2] - E[x]^2)`. The result has the dtype of `x`.
    """

    scale: Float[Array, " dim"] | None
    bias: Float[Array, " dim"] | None
    dim: int = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def __init__(self, dim: int, *, eps: float = 1e-6, scale: bool = True, bias: bool = True):
        self.scale = jnp.ones(dim, jnp.float32) if scale else None
        self.bias = jnp.zeros(dim, jnp.float32) if bias else None
        self.dim = dim
        self.eps = eps

    @jax.named_scope("layer_norm")
    def __call__(
        self, x: Float[Array, "*batch {self.dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "*batch {self.dim}"]:
        wide = x.astype(jnp.float32)
        mean = jnp.mean(wide, axis=-1, keepdims=True)
        variance = jnp.maximum(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) - jnp.square(mean), 0.0)
        y = (wide - mean) * jax.lax.rsqrt(variance + self.eps)
        return _affine(y, self.scale, self.bias).astype(x.dtype)


class RMSNorm(eqx.Module):
    """`scale * x / sqrt(E[x^2] + eps)` over the last axis (Zhang & Sennrich 2019). The result has the dtype of `x`."""

    scale: Float[Array, " dim"] | None
    dim: int = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def __init__(self, dim: int, *, eps: float = 1e-6, scale: bool = True, bias: bool = False):
        if bias:
            raise ValueError("RMSNorm has no bias: pass bias=False, or use LayerNorm.")
        self.scale = jnp.ones(dim, jnp.float32) if scale else None
        self.dim = dim
        self.eps = eps

    @jax.named_scope("rms_norm")
    def __call__(
        self, x: Float[Array, "*batch {self.dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "*batch {self.dim}"]:
        wide = x.astype(jnp.float32)
        y = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.eps)
        return _affine(y, self.scale, None).astype(x.dtype)


def _affine(y: Array, scale: Array | None, bias: Array | None) -> Array:
    if scale is not None:
        y = y * jnp.broadcast_to(scale.astype(jnp.float32), y.shape)
    if bias is not None:
        y = y + jnp.broadcast_to(bias.astype(jnp.float32), y.shape)
    return y
