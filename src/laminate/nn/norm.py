"""Normalisation by the statistics of the example itself, always computed in float32."""

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
    """`scale * x / sqrt(E[x^2] + eps)` over the last axis (Zhang & Sennrich 2019), plus `bias` if it has one.

    The result has the dtype of `x`.
    """

    scale: Float[Array, " dim"] | None
    bias: Float[Array, " dim"] | None
    dim: int = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def __init__(self, dim: int, *, eps: float = 1e-6, scale: bool = True, bias: bool = False):
        self.scale = jnp.ones(dim, jnp.float32) if scale else None
        self.bias = jnp.zeros(dim, jnp.float32) if bias else None
        self.dim = dim
        self.eps = eps

    @jax.named_scope("rms_norm")
    def __call__(
        self, x: Float[Array, "*batch {self.dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "*batch {self.dim}"]:
        wide = x.astype(jnp.float32)
        y = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.eps)
        return _affine(y, self.scale, self.bias).astype(x.dtype)


class JointRMSNorm(eqx.Module):
    """`scale * x / sqrt(E[x^2] + eps)` with one mean over all places and channels of `x`, `[..., dim]` (DINO-SAE).

    So what a place becomes depends on all others, whatever their order. The result has the dtype of `x`.
    """

    scale: Float[Array, " dim"]
    dim: int = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def __init__(self, dim: int, *, eps: float = 1e-6):
        self.scale = jnp.ones(dim, jnp.float32)
        self.dim = dim
        self.eps = eps

    @jax.named_scope("joint_rms_norm")
    def __call__(
        self, x: Float[Array, "*places {self.dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "*places {self.dim}"]:
        wide = x.astype(jnp.float32)
        return _affine(wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide)) + self.eps), self.scale, None).astype(
            x.dtype
        )


class GroupNorm(eqx.Module):
    """`scale * (x - mean) / sqrt(var + eps) + bias` with the statistics of each group of channels (Wu & He 2018).

    Mean and variance are taken over all places of `x`, `[..., dim]`, and over the `dim / groups` channels of a group.
    As many groups as channels make it instance norm (Ulyanov et al. 2016). The result has the dtype of `x`.

    Raises ValueError if `groups` does not divide `dim`.
    """

    scale: Float[Array, " dim"]
    bias: Float[Array, " dim"]
    dim: int = eqx.field(static=True)
    groups: int = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def __init__(self, dim: int, groups: int, *, eps: float = 1e-6):
        if groups < 1 or dim % groups:
            raise ValueError(f"groups={groups} must divide the width {dim} that is normalised.")
        self.scale = jnp.ones(dim, jnp.float32)
        self.bias = jnp.zeros(dim, jnp.float32)
        self.dim = dim
        self.groups = groups
        self.eps = eps

    @jax.named_scope("group_norm")
    def __call__(
        self, x: Float[Array, "*places {self.dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "*places {self.dim}"]:
        grouped = x.astype(jnp.float32).reshape(-1, self.groups, self.dim // self.groups)
        centred = grouped - jnp.mean(grouped, axis=(0, 2), keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=(0, 2), keepdims=True)
        y = (centred * jax.lax.rsqrt(variance + self.eps)).reshape(x.shape)
        return _affine(y, self.scale, self.bias).astype(x.dtype)


def _affine(y: Array, scale: Array | None, bias: Array | None) -> Array:
    if scale is not None:
        y = y * jnp.broadcast_to(scale.astype(jnp.float32), y.shape)
    if bias is not None:
        y = y + jnp.broadcast_to(bias.astype(jnp.float32), y.shape)
    return y
