"""Convolutional autoencoders with a Gaussian posterior for every place (Rombach et al. 2022), and what descends."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.conv_blocks import require_whole_latents
from laminate.models.conv_pyramid import Pyramid, PyramidDecoder, PyramidEncoder
from laminate.models.latent_scaling import LatentScaling, PatchedScaling
from laminate.nn import Linear, fan_in_uniform
from laminate.types import Image, RandomKey

Latent = Float[Array, "rows columns latent_dim"]

_LEAST_LOGVAR, _LARGEST_LOGVAR = -30.0, 20.0


class GridPosterior(NamedTuple):
    """The diagonal Gaussian `N(mean, exp(logvar))` of an image, both `[rows, columns, latent_dim]` in float32."""

    mean: Latent
    logvar: Latent

    def reparameterise(self, noise: Latent) -> Latent:
        """`mean + exp(logvar / 2) * noise`: a sample for standard `noise`."""
        return self.mean + jnp.exp(0.5 * self.logvar) * noise


class KlAutoencoder(eqx.Module):
    """An image in [-1, 1] to a posterior for every `patch x patch` pixels, and latents to an image.

    `scaling` is what a generator has of latents, and how they are restored; `encode` and `decode` are without it.
    `to_moments` and `from_latents` are linear maps of each place behind the encoder and before the decoder.
    With `clip` decoded images are held to [-1, 1].

    Raises ValueError for halves of which one has more levels.
    """

    encoder: PyramidEncoder
    to_moments: Linear | None
    from_latents: Linear | None
    decoder: PyramidDecoder
    scaling: LatentScaling | PatchedScaling
    latent_dim: int = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    clip: bool = eqx.field(static=True)

    def __init__(
        self,
        encoder: Pyramid,
        decoder: Pyramid,
        latent_dim: int,
        *,
        in_channels: int = 3,
        out_channels: int = 3,
        maps_moments: bool = True,
        maps_latents: bool = True,
        scaling: LatentScaling | PatchedScaling | None = None,
        clip: bool = False,
        key: RandomKey,
    ):
        if encoder.patch != decoder.patch:
            raise ValueError(
                f"The encoder has {len(encoder.widths)} levels and the decoder {len(decoder.widths)}: an image comes "
                "back in its size from as many as it went through."
            )
        k_encoder, k_decoder, k_moments, k_latents = jax.random.split(key, 4)
        doubled = 2 * latent_dim
        self.encoder = PyramidEncoder(encoder, in_channels, doubled, key=k_encoder)
        self.to_moments = (
            Linear(doubled, doubled, init=fan_in_uniform, key=k_moments) if maps_moments else None
        )
        self.from_latents = (
            Linear(latent_dim, latent_dim, init=fan_in_uniform, key=k_latents) if maps_latents else None
        )
        self.decoder = PyramidDecoder(decoder, latent_dim, out_channels, key=k_decoder)
        self.scaling = LatentScaling() if scaling is None else scaling
        self.latent_dim = latent_dim
        self.patch = encoder.patch
        self.clip = clip

    @jax.named_scope("kl_autoencoder")
    def __call__(self, image: Image, *, key: RandomKey | None = None) -> Image:
        """The image of the posterior's mean, computed in the dtype of `image`; float32."""
        return self.decode(self.encode(image).mean.astype(image.dtype))

    def moments(self, image: Image) -> Float[Array, "rows columns doubled"]:
        """Mean and logarithm of the variance, side by side and as they are, in the dtype of `image`.

        Raises ValueError for sides that are no multiples of `patch`.
        """
        require_whole_latents(image, self.patch)
        x = self.encoder(image)
        return x if self.to_moments is None else self.to_moments(x)

    def encode(self, image: Image) -> GridPosterior:
        """The posterior, its log-variance held to [-30, 20]. Raises as `moments` does."""
        return self.posterior(self.moments(image))

    def posterior(self, moments: Float[Array, "rows columns doubled"]) -> GridPosterior:
        """The posterior of `moments`."""
        mean, logvar = jnp.split(moments.astype(jnp.float32), 2, axis=-1)
        return GridPosterior(mean, jnp.clip(logvar, _LEAST_LOGVAR, _LARGEST_LOGVAR))

    def decode(self, latents: Float[Array, "rows columns {self.latent_dim}"]) -> Image:
        """The image of latents that are not scaled, computed in their dtype; float32."""
        return self.clipped(self.unclipped(latents))

    def clipped(self, image: Float[Array, "*batch height width channels"]) -> Array:
        """`image` held to [-1, 1], if this network does so."""
        return jnp.clip(image, -1.0, 1.0) if self.clip else image

    def unclipped(self, latents: Float[Array, "rows columns {self.latent_dim}"]) -> Image:
        """What the decoder gives."""
        return self.decoder(latents if self.from_latents is None else self.from_latents(latents))
