"""Distances between a prediction and its target, averaged over every element of one example."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from laminate.types import Scalar


def _error(prediction: Float[Array, "*shape"], target: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return prediction.astype(jnp.float32) - target.astype(jnp.float32)


def mse_loss(prediction: Float[Array, "*shape"], target: Float[Array, "*shape"]) -> Scalar:
    """Mean squared error, `mean(e^2)` with `e = prediction - target` (FlatDINO eq. 9, reconstruction term).

    Both arrays have the same shape and any floating dtype; the result is a float32 scalar.
    """
    return jnp.mean(jnp.square(_error(prediction, target)))


def l1_loss(prediction: Float[Array, "*shape"], target: Float[Array, "*shape"]) -> Scalar:
    """Mean absolute error, `mean(|e|)` with `e = prediction - target` (RAE and FlatDINO's image decoder).

    Both arrays have the same shape and any floating dtype; the result is a float32 scalar.
    """
    return jnp.mean(jnp.abs(_error(prediction, target)))


def charbonnier_loss(
    prediction: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    *,
    eps: float = 1e-3,
    mask: Bool[Array, "*leading"] | None = None,
) -> Scalar:
    """Mean Charbonnier loss, `sqrt(e^2 + eps^2)`: an L1 that is smooth at zero, where it is `eps` (Charbonnier et
    al. 1994; ViTok's reconstruction term).

    `mask` has the leading axes of the arrays, such as `[tokens]` for `[tokens, dim]`; only places that are True
    count. If none is, the loss is zero. The arrays have the same shape and any floating dtype; the result is a float32
    scalar.

    Raises:
        ValueError: `eps` is not positive, or the mask's axes are not the first ones of the arrays.
    """
    if eps <= 0.0:
        raise ValueError(f"charbonnier_loss: eps must be positive, got {eps}; use l1_loss for a pure L1.")
    error = _error(prediction, target)
    cost = jnp.sqrt(jnp.square(error) + eps**2)
    if mask is None:
        return jnp.mean(cost)
    if mask.shape != error.shape[: mask.ndim]:
        raise ValueError(
            f"charbonnier_loss: a mask of shape {mask.shape} does not fit the first axes of {error.shape}."
        )
    each = jnp.mean(cost, axis=tuple(range(mask.ndim, cost.ndim)))
    return jnp.sum(jnp.where(mask, each, 0.0)) / jnp.maximum(jnp.sum(mask.astype(jnp.float32)), 1.0)


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
