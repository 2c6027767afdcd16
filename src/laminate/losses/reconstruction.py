"""Distances between a prediction and its target, averaged over every element of one example."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.types import Scalar


def _error(prediction: Float[Array, "*shape"], target: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return prediction.astype(jnp.float32) - target.astype(jnp.float32)


def mse_loss(prediction: Float[Array, "*shape"], target: Float[Array, "*shape"]) -> Scalar:
    """Mean squared error, `mean(e^2)` with `e = prediction - target` (FlatDINO eq. 9, reconstruction term).

    Both arrays have the same shape and any floating dtype; the result is a float32 scalar.
    """
    return jnp.mean(jnp.square(_error(prediction, target)))


def huber_loss(
    prediction: Float[Array, "*shape"], target: Float[Array, "*shape"], *, delta: float = 1.0
) -> Scalar:
    """Mean Huber loss (Huber 1964): `e^2 / 2` where `|e| <= delta`, `delta (|e| - delta / 2)` beyond.

    With `delta=1` it is the reconstruction loss of the released FlatDINO code; the paper states the MSE.
    Both arrays have the same shape and any floating dtype; the result is a float32 scalar.

    Raises:
        ValueError: `delta` is not positive.
    """
    if delta <= 0.0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}; use mse_loss for a pure square.")
    magnitude = jnp.abs(_error(prediction, target))
    inside = jnp.minimum(magnitude, delta)
    return jnp.mean(0.5 * jnp.square(inside) + delta * (magnitude - inside))
