"""From a tokenizer's raw latents to an image: by the tokenizer itself, or by a decoder of its latents or features."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.pixel_decoder import PixelDecoder
from laminate.tokenizers.base import ImageTokenizer
from laminate.types import Image


class LatentDecoder(eqx.Module):
    """Turns raw latents into a float32 image, clipped to [0, 1]; networks compute in `dtype`."""

    @abc.abstractmethod
    def __call__(self, latents: Float[Array, "latents latent_dim"], *, dtype: jnp.dtype) -> Image:
        raise NotImplementedError


class OwnLatentDecoder(LatentDecoder):
    """The tokenizer makes images itself, as one of pixel patches does."""

    tokenizer: ImageTokenizer

    def __call__(self, latents: Float[Array, "latents latent_dim"], *, dtype: jnp.dtype) -> Image:
        return self.tokenizer.image(latents, dtype=dtype)


class SizedLatentDecoder(LatentDecoder):
    """A tokenizer of images of any size makes one of `size` (height, width), whose last patches may reach beyond it."""

    tokenizer: ImageTokenizer
    grid: tuple[int, int] = eqx.field(static=True)
    size: tuple[int, int] = eqx.field(static=True)

    def __call__(self, latents: Float[Array, "latents latent_dim"], *, dtype: jnp.dtype) -> Image:
        height, width = self.size
        return self.tokenizer.picture(latents, self.grid, dtype=dtype)[:height, :width]


class FeatureLatentDecoder(LatentDecoder):
    """A decoder of the teacher's features decodes those that the tokenizer gives back (RAE's decoders)."""

    tokenizer: ImageTokenizer
    decoder: PixelDecoder

    def __call__(self, latents: Float[Array, "latents latent_dim"], *, dtype: jnp.dtype) -> Image:
        features = self.tokenizer.features(latents, dtype=dtype)
        return jnp.clip(self.decoder(features.astype(dtype)), 0.0, 1.0)


class DirectLatentDecoder(LatentDecoder):
    """A decoder of the tokenizer's latents decodes them; the tokenizer's own decoder is not asked (FlatDINO's)."""

    decoder: PixelDecoder

    def __call__(self, latents: Float[Array, "latents latent_dim"], *, dtype: jnp.dtype) -> Image:
        return jnp.clip(self.decoder(latents.astype(dtype)), 0.0, 1.0)
