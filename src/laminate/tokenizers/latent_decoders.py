"""From a tokenizer's raw latents to an image: by its own features, or by a decoder trained on either of them."""

import abc
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.pixel_decoder import PixelDecoder
from laminate.tokenizers.flatdino import FlatDino
from laminate.types import Image, Tokens


@runtime_checkable
class FeatureDecoder(Protocol):
    """Turns the features of a teacher into an image in [0, 1]."""

    def pixels(self, features: Tokens) -> Image: ...


class LatentDecoder(eqx.Module):
    """Turns raw latents into a float32 image, clipped to [0, 1]; networks compute in `dtype`."""

    @abc.abstractmethod
    def __call__(self, latents: Float[Array, "latents features"], *, dtype: jnp.dtype) -> Image:
        raise NotImplementedError


class PatchLatentDecoder(LatentDecoder):
    """The features that the tokenizer gives back are pixels already, as those of `Patches`."""

    tokenizer: FlatDino
    teacher: FeatureDecoder

    def __call__(self, latents: Float[Array, "latents features"], *, dtype: jnp.dtype) -> Image:
        features = self.tokenizer.decode_raw(latents, dtype=dtype).final
        return jnp.clip(self.teacher.pixels(features.astype(jnp.float32)), 0.0, 1.0)


class FeatureLatentDecoder(LatentDecoder):
    """A decoder of the teacher's features decodes those that the tokenizer gives back (RAE's decoders)."""

    tokenizer: FlatDino
    decoder: PixelDecoder

    def __call__(self, latents: Float[Array, "latents features"], *, dtype: jnp.dtype) -> Image:
        features = self.tokenizer.decode_raw(latents, dtype=dtype).final
        return jnp.clip(self.decoder(features.astype(dtype)), 0.0, 1.0)


class DirectLatentDecoder(LatentDecoder):
    """A decoder of the tokenizer's latents decodes them; the tokenizer's own decoder is not asked (FlatDINO's)."""

    decoder: PixelDecoder

    def __call__(self, latents: Float[Array, "latents features"], *, dtype: jnp.dtype) -> Image:
        return jnp.clip(self.decoder(latents.astype(dtype)), 0.0, 1.0)
