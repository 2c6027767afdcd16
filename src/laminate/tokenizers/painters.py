"""From a tokenizer's raw latents to an image: by its own features, or by a decoder trained on either of them."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.pixel_decoder import PixelDecoder
from laminate.tokenizers.base import ImageTokenizer
from laminate.types import Image


class Painter(eqx.Module):
    """Turns raw latents into a float32 image, clipped to [0, 1]; networks compute in `dtype`."""

    @abc.abstractmethod
    def __call__(self, latents: Float[Array, "latents features"], *, dtype: jnp.dtype) -> Image:
        raise NotImplementedError


class ShownLatents(Painter):
    """The tokenizer makes an image itself."""

    tokenizer: ImageTokenizer

    def __call__(self, latents: Float[Array, "latents features"], *, dtype: jnp.dtype) -> Image:
        return self.tokenizer.image(latents, dtype=dtype)


class PaintedFeatures(Painter):
    """A decoder of the teacher's features shows those that the tokenizer gives back (RAE's decoders)."""

    tokenizer: ImageTokenizer
    decoder: PixelDecoder

    def __call__(self, latents: Float[Array, "latents features"], *, dtype: jnp.dtype) -> Image:
        features = self.tokenizer.features(latents, dtype=dtype)
        return jnp.clip(self.decoder(features.astype(dtype)), 0.0, 1.0)


class PaintedLatents(Painter):
    """A decoder of the tokenizer's latents paints them; the tokenizer's own decoder is not asked (FlatDINO's)."""

    decoder: PixelDecoder

    def __call__(self, latents: Float[Array, "latents features"], *, dtype: jnp.dtype) -> Image:
        return jnp.clip(self.decoder(latents.astype(dtype)), 0.0, 1.0)
