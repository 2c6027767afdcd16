"""The deep compression autoencoder, DC-AE (Chen et al. 2025): a latent for many pixels, without a distribution."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.conv_blocks import require_whole_latents
from laminate.models.dc_decoder import DcDecoder
from laminate.models.dc_encoder import DcEncoder
from laminate.models.latent_scaling import LatentScaling
from laminate.types import Image, RandomKey


class DcAutoencoder(eqx.Module):
    """An image in [-1, 1] to a latent for every `patch x patch` pixels, and latents to an image, which is not clipped.

    `scaling` is what a generator has of latents, and how they are restored; `encode` and `decode` are without it.

    Raises ValueError for halves that do not fit each other.
    """

    encoder: DcEncoder
    decoder: DcDecoder
    scaling: LatentScaling
    latent_dim: int = eqx.field(static=True)
    patch: int = eqx.field(static=True)

    def __init__(self, encoder: DcEncoder, decoder: DcDecoder, *, scaling: LatentScaling | None = None):
        gives, takes = (encoder.last.out_channels, encoder.patch), (decoder.in_dim, decoder.patch)
        if gives != takes:
            raise ValueError(
                f"The encoder gives {gives[0]} numbers for every {gives[1]} pixels, and the decoder takes {takes[0]} "
                f"for every {takes[1]}: they have to be the same."
            )
        self.encoder = encoder
        self.decoder = decoder
        self.scaling = LatentScaling() if scaling is None else scaling
        self.latent_dim, self.patch = gives

    @jax.named_scope("dc_autoencoder")
    def __call__(self, image: Image, *, key: RandomKey | None = None) -> Image:
        """The image of the latents of `image`, computed in its dtype; float32."""
        return self.decode(self.encode(image).astype(image.dtype))

    def encode(self, image: Image) -> Float[Array, "rows columns {self.latent_dim}"]:
        """The latents as they are, computed in the dtype of `image`; float32.

        Raises ValueError for sides that are no multiples of `patch`.
        """
        require_whole_latents(image, self.patch)
        return self.encoder(image).astype(jnp.float32)

    def decode(self, latents: Float[Array, "rows columns {self.latent_dim}"]) -> Image:
        """The image of latents that are not scaled, computed in their dtype; float32."""
        return self.decoder(latents)
