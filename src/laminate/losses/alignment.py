"""Latents in the likeness of a foundation model's features: token by token, and by how tokens resemble each other."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.types import Scalar

_EPS = 1e-12


def cosine_alignment_loss(
    prediction: Float[Array, "tokens dim"], target: Float[Array, "tokens dim"], *, margin: float = 0.0
) -> Scalar:
    """`mean_i max(0, 1 - margin - cos(prediction_i, target_i))` (Yao et al. 2025, eq. 5).

    A token whose cosine is above `1 - margin` costs nothing. Any floating dtypes; the result is float32.
    """
    cosines = jnp.sum(_unit(prediction) * _unit(target), axis=-1)
    return jnp.mean(jax.nn.relu(1 - margin - cosines))


def similarity_alignment_loss(
    prediction: Float[Array, "tokens dim"], target: Float[Array, "tokens target_dim"], *, margin: float = 0.0
) -> Scalar:
    """`mean_ij max(0, |cos(prediction_i, prediction_j) - cos(target_i, target_j)| - margin)` (Yao et al. 2025, eq. 6).

    Over all pairs of tokens of one example; the widths may differ. Any floating dtypes; the result is float32.
    """
    difference = _similarities(prediction) - _similarities(target)
    return jnp.mean(jax.nn.relu(jnp.abs(difference) - margin))


def _similarities(x: Float[Array, "tokens dim"]) -> Float[Array, "tokens tokens"]:
    unit = _unit(x)
    return jnp.matmul(unit, unit.T, precision=jax.lax.Precision.HIGHEST)


def _unit(x: Float[Array, "tokens dim"]) -> Float[Array, "tokens dim"]:
    wide = x.astype(jnp.float32)
    square = jnp.sum(jnp.square(wide), axis=-1, keepdims=True)
    return wide * jnp.broadcast_to(jax.lax.rsqrt(jnp.maximum(square, _EPS)), wide.shape)
