"""The Gaussian bottleneck of a beta-VAE: a diagonal posterior per latent token."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.bottlenecks.base import Bottleneck
from laminate.types import Latents, RandomKey


class Posterior(NamedTuple):
    """The diagonal Gaussian `N(mean, exp(logvar))` of one example, both `[latents, features]` in float32."""

    mean: Latents
    logvar: Latents

    def reparameterise(self, noise: Latents, *, scale: float = 1.0) -> Latents:
        """`mean + scale * exp(logvar / 2) * noise` (Kingma & Welling 2014, eq. 10): a sample for standard `noise`.

        FlatDINO's image decoder is trained on latents of `scale=0.2`.
        """
        return self.mean + scale * jnp.exp(0.5 * self.logvar) * noise

    def sample(self, key: RandomKey, *, scale: float = 1.0) -> Latents:
        """A sample of the posterior, its deviation from the mean times `scale`."""
        return self.reparameterise(jax.random.normal(key, self.mean.shape, jnp.float32), scale=scale)


class Gaussian(Bottleneck[Posterior]):
    """A diagonal Gaussian over `features` numbers per token, sampled with a key and its mean without one.

    The encoder gives `2 * features` numbers per token: the mean, then the logarithm of the variance.
    With `tanh` the latents (not the posterior, which the KL sees) pass through tanh after sampling.
    `initial_logvar` is added to the encoder's log-variance: below zero, a fresh encoder whose outputs are near zero
    starts with little noise (the published models start from unit variance).

    `deterministic` is the plain autoencoder: the encoder gives `features` numbers, the latents are the mean
    whatever the key, and the posterior has unit variance by convention, so that its KL is the penalty
    `mean^2 / 2` of a regularised autoencoder (Ghosh et al. 2020).
    """

    in_features: int = eqx.field(static=True)
    out_features: int = eqx.field(static=True)
    tanh: bool = eqx.field(static=True)
    deterministic: bool = eqx.field(static=True)
    initial_logvar: float = eqx.field(static=True)

    def __init__(
        self, features: int, *, tanh: bool = False, deterministic: bool = False, initial_logvar: float = 0.0
    ):
        """Raises ValueError when `features` is not positive."""
        if features < 1:
            raise ValueError(f"Gaussian: features must be at least 1, got {features}.")
        self.in_features = features if deterministic else 2 * features
        self.out_features = features
        self.tanh = tanh
        self.deterministic = deterministic
        self.initial_logvar = initial_logvar

    def posterior(self, tokens: Float[Array, "latents {self.in_features}"]) -> Posterior:
        """The posterior that the encoder's tokens describe, in float32; the log-variance is not clamped."""
        tokens = tokens.astype(jnp.float32)
        if self.deterministic:
            return Posterior(tokens, jnp.zeros_like(tokens))
        mean, logvar = jnp.split(tokens, 2, axis=-1)
        return Posterior(mean, logvar + self.initial_logvar)

    def squash(self, z: Float[Array, "latents {self.out_features}"]) -> Latents:
        """The latents of a sample: tanh of it if this bottleneck says so, else itself."""
        return jnp.tanh(z) if self.tanh else z

    def __call__(
        self, tokens: Float[Array, "latents {self.in_features}"], *, key: RandomKey | None = None
    ) -> tuple[Latents, Posterior]:
        """The latents `[latents, features]` in float32, and the posterior before tanh."""
        posterior = self.posterior(tokens)
        z = posterior.mean if key is None or self.deterministic else posterior.sample(key)
        return self.squash(z), posterior
