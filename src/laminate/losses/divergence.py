"""Divergence of a diagonal Gaussian posterior from the standard normal prior, and its weight."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from laminate.types import Metrics, Scalar

_REFERENCE_KL_WEIGHT = 1e-6  # the weight at 512 latent numbers
_REFERENCE_NUMBERS = 512


def kl_per_element(
    mean: Float[Array, "latents latent_dim"], logvar: Float[Array, "latents latent_dim"]
) -> Float[Array, "latents latent_dim"]:
    """KL(N(mean, exp(logvar)) || N(0, 1)) of every latent number, in nats (Kingma & Welling 2014, app. B):

    `(exp(logvar) + mean^2 - 1 - logvar) / 2`.

    Inputs of any floating dtype; the result is float32, exactly zero at the prior.
    """
    mean, logvar = mean.astype(jnp.float32), logvar.astype(jnp.float32)
    return 0.5 * (jnp.expm1(logvar) - logvar + jnp.square(mean))


def _clipped(
    mean: Float[Array, "latents latent_dim"],
    logvar: Float[Array, "latents latent_dim"],
    free_bits: float | Scalar,
) -> Float[Array, "latents latent_dim"]:
    return jnp.maximum(kl_per_element(mean, logvar), free_bits)


def kl_loss(
    mean: Float[Array, "latents latent_dim"],
    logvar: Float[Array, "latents latent_dim"],
    *,
    free_bits: float | Scalar = 0.0,
) -> Scalar:
    """Sum over tokens and features of `max(kl, free_bits)` (FlatDINO eq. 9; free bits: Kingma et al. 2016).

    `free_bits` is in nats per latent number. Sizes are normalised by the weight alone, see `kl_weight`.
    """
    return jnp.sum(_clipped(mean, logvar, free_bits))


def kl_variance_loss(
    mean: Float[Array, "latents latent_dim"],
    logvar: Float[Array, "latents latent_dim"],
    *,
    free_bits: float | Scalar = 0.0,
) -> Scalar:
    """Population variance over the tokens of each token's `sum_features max(kl, free_bits)`.

    Zero when every token carries the same number of nats.
    """
    return jnp.var(jnp.sum(_clipped(mean, logvar, free_bits), axis=-1))


def kl_weight(latents: int, features: int) -> float:
    """The default KL weight `1e-6 * 512 / (latents * features)` (FlatDINO eq. 10 and Table 4).

    Raises:
        ValueError: a size is not positive.
    """
    if latents < 1 or features < 1:
        raise ValueError(f"kl_weight: sizes must be positive, got latents={latents}, features={features}.")
    return _REFERENCE_KL_WEIGHT * _REFERENCE_NUMBERS / (latents * features)


def anneal(weight: float, step: Int[Array, ""] | int, steps: int | None) -> Scalar:
    """`weight * min(1, step / steps)`: a linear ramp over the first `steps` optimiser updates.

    `step` counts completed updates. `steps` of None or 0 means no ramp. The result is a float32 scalar.
    """
    if not steps:
        return jnp.asarray(weight, jnp.float32)
    ramp = jnp.minimum(1.0, jnp.asarray(step).astype(jnp.float32) / steps)
    return weight * ramp


def posterior_metrics(
    mean: Float[Array, "latents latent_dim"], logvar: Float[Array, "latents latent_dim"]
) -> Metrics:
    """What a training log shows of one example's posterior; every entry is a mean, so batches average.

    `kl_nats` (per latent number, not clipped), `logvar_mean`, `std_mean`, `mean_sq_mean`.
    """
    mean, logvar = mean.astype(jnp.float32), logvar.astype(jnp.float32)
    return {
        "kl_nats": jnp.mean(kl_per_element(mean, logvar)),
        "logvar_mean": jnp.mean(logvar),
        "std_mean": jnp.mean(jnp.exp(0.5 * logvar)),
        "mean_sq_mean": jnp.mean(jnp.square(mean)),
    }
