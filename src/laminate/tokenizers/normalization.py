"""The affine map between raw and normalised latents."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.types import Buffer, Latents


class Normalization(eqx.Module):
    """`(z - mean) / std` per token and feature, and its inverse.

    The statistics are part of the tokenizer and travel with its weights; they are never trained. A fresh one is the
    identity.
    """

    mean: Buffer
    std: Buffer

    def __init__(self, latents: int, features: int):
        self.mean = Buffer(jnp.zeros((latents, features), jnp.float32))
        self.std = Buffer(jnp.ones((latents, features), jnp.float32))

    def __call__(self, z: Float[Array, "latents latent_dim"]) -> Latents:
        """Normalised latents, float32."""
        return (z.astype(jnp.float32) - self.mean.value) / self.std.value

    def inverse(self, latents: Float[Array, "latents latent_dim"]) -> Latents:
        """Raw latents, float32."""
        return latents.astype(jnp.float32) * self.std.value + self.mean.value

    def measured(
        self, mean: Float[Array, "latents latent_dim"], variance: Float[Array, "latents latent_dim"]
    ) -> "Normalization":
        """The same map with measured statistics.

        A latent number that never varies keeps unit scale, so the map stays invertible. Raises ValueError on
        statistics that are not finite or of another shape.
        """
        if mean.shape != self.mean.value.shape or variance.shape != self.std.value.shape:
            raise ValueError(
                f"Statistics of shape {mean.shape} and {variance.shape} do not fit latents of shape "
                f"{self.mean.value.shape}."
            )
        if not bool(jnp.all(jnp.isfinite(mean)) & jnp.all(jnp.isfinite(variance)) & jnp.all(variance >= 0)):
            raise ValueError(
                "Latent statistics must be finite, and variances not negative: measure them again."
            )
        std = jnp.sqrt(variance.astype(jnp.float32))
        return eqx.tree_at(
            lambda n: (n.mean.value, n.std.value),
            self,
            (mean.astype(jnp.float32), jnp.where(std > 1e-6, std, 1.0)),
        )
