"""Losses of one example: what a network says at a point of the path, against what is true there."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.flow.affine import STRAIGHT, AffinePath
from laminate.flow.path import Path, State, Velocity
from laminate.types import Scalar


def flow_matching_loss(
    velocity: Velocity,
    z: State,
    *,
    t: Scalar,
    noise: State,
    path: Path = STRAIGHT,
    cosine_weight: float | Scalar = 0.0,
    normal_weight: float | Scalar = 0.0,
) -> Scalar:
    """`mean |v - d x_t / d t|^2 + cosine_weight (1 - cos)`, with `x_t` on the path from `noise` to `z`.

    `v` is the part of `velocity(x_t, t)` along which a state can move, which in flat space is all of it; a curved
    path adds `normal_weight mean |velocity - v|^2` (Chen & Lipman 2024). The mean is over all numbers of the state.
    On the straight path the target is `z - noise` (Lipman et al. 2023); the cosine term (Yao et al. 2025) is
    `cosine_distance`. A network that predicts the data has the velocity `path.data_to_velocity`.
    """
    x = path.point(z, noise, t)
    predicted, target = velocity(x, t), path.velocity(z, noise, t)
    along = path.tangent(x, predicted)
    loss = _mean_square(_difference(along, target))
    if not _is_zero(cosine_weight):
        loss = loss + cosine_weight * cosine_distance(along, target)
    if not _is_zero(normal_weight):
        loss = loss + normal_weight * _mean_square(_difference(predicted, along))
    return loss


def noise_matching_loss(
    predict: Callable[[Any, Scalar], Any], z: State, *, t: Scalar, noise: State, path: AffinePath = STRAIGHT
) -> Scalar:
    """`mean |predict(x_t, t) - noise|^2` (Ho et al. 2020)."""
    return _mean_square(_difference(predict(path.point(z, noise, t), t), noise))


def score_matching_loss(
    predict: Callable[[Any, Scalar], Any], z: State, *, t: Scalar, noise: State, path: AffinePath = STRAIGHT
) -> Scalar:
    """`mean |sigma predict(x_t, t) + noise|^2` (Song et al. 2021)."""
    sigma = path.noise_weight(t)
    scaled = jax.tree.map(lambda a: -sigma * a.astype(jnp.float32), predict(path.point(z, noise, t), t))
    return _mean_square(_difference(scaled, noise))


def velocity_weight(path: AffinePath, t: Scalar) -> Scalar:
    """`(drift variance / sigma)^2`: makes a noise or score loss one of the velocity."""
    return jnp.square(path.drift_variance(t) / path.noise_weight(t))


def likelihood_weight(path: AffinePath, t: Scalar) -> Scalar:
    """`drift variance / sigma^2`: makes a noise or score loss a bound on the likelihood (Song et al. 2021b)."""
    return path.drift_variance(t) / jnp.square(path.noise_weight(t))


def cosine_distance(predicted: State, target: State, *, eps: float = 1e-8) -> Scalar:
    """`1 - cos` of the two vectors of channels at each position, mean over positions. Channels are last."""
    leaves = zip(jax.tree.leaves(predicted), jax.tree.leaves(target), strict=True)
    cosines = [_cosines(a, b, eps).reshape(-1) for a, b in leaves]
    return jnp.mean(1.0 - jnp.concatenate(cosines))


def _cosines(
    a: Float[Array, "... channels"], b: Float[Array, "... channels"], eps: float
) -> Float[Array, "..."]:
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    # The square root of the product, not the product of roots, keeps the gradient finite for a vector of zeros.
    squares = jnp.sum(a * a, axis=-1) * jnp.sum(b * b, axis=-1)
    return jnp.sum(a * b, axis=-1) / jnp.sqrt(jnp.maximum(squares, eps**2))


def _is_zero(weight: float | Scalar) -> bool:
    """Whether a term is left out of the program; a traced weight never is."""
    return isinstance(weight, int | float) and weight == 0


def _difference(a: State, b: State) -> State:
    return jax.tree.map(lambda x, y: x.astype(jnp.float32) - y.astype(jnp.float32), a, b)


def _mean_square(tree: State) -> Scalar:
    leaves = jax.tree.leaves(tree)
    total = sum((jnp.sum(jnp.square(leaf)) for leaf in leaves), jnp.zeros((), jnp.float32))
    return total / sum(leaf.size for leaf in leaves)
