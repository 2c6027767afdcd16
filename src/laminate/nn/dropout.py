"""Dropout of activations and of whole residual branches. `key=None` is the deterministic mode."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.types import RandomKey, Scalar


def dropout(x: Float[Array, "..."], rate: float, *, key: RandomKey | None) -> Float[Array, "..."]:
    """Zero each element with probability `rate` and divide the others by `1 - rate` (Srivastava et al. 2014)."""
    if key is None or rate == 0.0:
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / jnp.asarray(1.0 - rate, x.dtype), jnp.zeros_like(x))


def drop_path(
    branch: Float[Array, "..."], rate: Scalar | None, *, key: RandomKey | None
) -> Float[Array, "..."]:
    """Zero one example's residual branch with probability `rate`, else divide it by `1 - rate` (Huang et al. 2016).

    `rate` is a float32 scalar array, since it differs between the layers of one scanned stack.
    """
    if key is None or rate is None:
        return branch
    keep = jax.random.bernoulli(key, 1.0 - rate)
    weight = jnp.where(keep, 1.0 / (1.0 - rate), 0.0).astype(branch.dtype)
    return branch * jnp.broadcast_to(weight, branch.shape)
