"""The two sides of an adversarial game, per example, and what keeps them in balance.

`real` and `fake` are the logits of a discriminator for one true image and one made by the generator, positive for
"true"; an image may have one logit or thousands of them. The mean over a batch is the mean over all logits.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.types import Scalar

LogitReduction = Literal["mean", "sum"]


def hinge_loss(
    real: Float[Array, " logits"], fake: Float[Array, " logits"], *, reduction: LogitReduction = "mean"
) -> Scalar:
    """The discriminator's hinge loss (Lim & Ye 2017): `(mean max(0, 1 - real) + mean max(0, 1 + fake)) / 2`.

    Zero where real logits are above 1 and fake ones below -1. `reduction="sum"` has sums for the means.
    """
    return _half_of_both(
        jax.nn.relu(1 - real.astype(jnp.float32)), jax.nn.relu(1 + fake.astype(jnp.float32)), reduction
    )


def vanilla_loss(
    real: Float[Array, " logits"], fake: Float[Array, " logits"], *, reduction: LogitReduction = "mean"
) -> Scalar:
    """The discriminator's cross entropy (Goodfellow et al. 2014): `(mean softplus(-real) + mean softplus(fake)) / 2`.

    `reduction="sum"` has sums for the means.
    """
    return _half_of_both(
        jax.nn.softplus(-real.astype(jnp.float32)), jax.nn.softplus(fake.astype(jnp.float32)), reduction
    )


def generator_loss(fake: Float[Array, " logits"]) -> Scalar:
    """The generator's loss beside the hinge: `-mean(fake)`."""
    return -jnp.mean(fake.astype(jnp.float32))


def non_saturating_loss(fake: Float[Array, " logits"]) -> Scalar:
    """The generator's loss beside the cross entropy: `mean softplus(-fake)` (Goodfellow et al. 2014)."""
    return jnp.mean(jax.nn.softplus(-fake.astype(jnp.float32)))


def adaptive_weight(
    reconstruction: Float[Array, ""],
    adversarial: Float[Array, ""],
    *,
    eps: float = 1e-6,
    largest: float = 1e4,
) -> Scalar:
    """The weight of the generator's loss that makes it pull as hard as the others (Esser et al. 2021, eq. 7):

    `clip(|d reconstruction / dW| / (|d adversarial / dW| + eps), 0, largest)`,

    from the norms of the two gradients by the last layer `W`, those of the loss over the whole batch. It is a constant:
    no gradient flows through it.
    """
    ratio = reconstruction.astype(jnp.float32) / (adversarial.astype(jnp.float32) + eps)
    return jax.lax.stop_gradient(jnp.clip(ratio, 0.0, largest))


def r1_penalty(
    critic: Callable[[Float[Array, "*shape"]], Float[Array, " logits"]], real: Float[Array, "*shape"]
) -> Scalar:
    """`|d critic / d real|^2 / 2`, with the mean of the logits for the critic (Mescheder et al. 2018, eq. 9).

    `real` is a true image, or its features if the critic takes those.
    """
    gradient = jax.grad(lambda x: jnp.mean(critic(x).astype(jnp.float32)))(real)
    return 0.5 * jnp.sum(jnp.square(gradient.astype(jnp.float32)))


def consistency_loss(logits: Float[Array, " logits"], augmented: Float[Array, " logits"]) -> Scalar:
    """`mean((logits - augmented)^2)`: an image and its augmented copy are judged alike (Zhang et al. 2020, eq. 3)."""
    return jnp.mean(jnp.square(logits.astype(jnp.float32) - augmented.astype(jnp.float32)))


def _half_of_both(
    real: Float[Array, " logits"], fake: Float[Array, " logits"], reduction: LogitReduction
) -> Scalar:
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction={reduction!r} is neither mean nor sum.")
    reduce = jnp.mean if reduction == "mean" else jnp.sum
    return 0.5 * (reduce(real) + reduce(fake))
