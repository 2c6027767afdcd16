"""Tokenizers of a frozen network's features: with a tokenizer behind it, and the features themselves."""

from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.bottlenecks.fsq import Fsq
from laminate.bottlenecks.gaussian import Gaussian
from laminate.pretrained.features import features_of
from laminate.tokenizers.base import Example, ImageTokenizer
from laminate.tokenizers.flatdino import FlatDino
from laminate.tokenizers.normalization import Normalization
from laminate.types import Image, Indices, Latents, RandomKey, Tokens


@runtime_checkable
class FeatureDecoder(Protocol):
    """Turns the features of a teacher into an image in [0, 1]."""

    def pixels(self, features: Tokens) -> Image: ...


class _BehindTeacher(ImageTokenizer):
    """A tokenizer whose latents stand for features of `teacher`, which shows them if it is a `FeatureDecoder`."""

    teacher: Any

    @property
    def shows_images(self) -> bool:
        return isinstance(self.teacher, FeatureDecoder)

    def image(self, latents: Float[Array, "latents latent_dim"], *, dtype: jnp.dtype) -> Image:
        if not isinstance(self.teacher, FeatureDecoder):
            raise ValueError(
                f"The features of a {type(self.teacher).__name__} are no pixels: an image decoder shows them."
            )
        features = self.features(latents, dtype=dtype).astype(jnp.float32)
        return jnp.clip(self.teacher.pixels(features), 0.0, 1.0)


class TeacherFeatures(_BehindTeacher):
    """The features of a teacher, nothing compressed: what RAE's decoders and generators read.

    `teacher` may be None where the examples hold its features, and where nothing is encoded.
    """

    def encode_raw(
        self, example: Example, *, dtype: jnp.dtype, key: RandomKey | None = None
    ) -> tuple[Latents, Any]:
        return features_of(self.teacher, example, dtype=dtype).final.astype(jnp.float32), None

    def features(self, latents: Float[Array, "latents latent_dim"], *, dtype: jnp.dtype) -> Tokens:
        return latents.astype(dtype)


class FeatureTokenizer(_BehindTeacher):
    """A tokenizer of features behind the teacher that they are of. `teacher` may be None as for `TeacherFeatures`."""

    tokenizer: FlatDino

    @property
    def normalization(self) -> Normalization:
        return self.tokenizer.normalization

    def encode_raw(
        self, example: Example, *, dtype: jnp.dtype, key: RandomKey | None = None
    ) -> tuple[Latents, Any]:
        features = features_of(self.teacher, example, dtype=dtype).final
        latents, aux = self.tokenizer.encode_raw(features.astype(dtype), key=key)
        return latents.astype(jnp.float32), aux

    @property
    def codebook_size(self) -> int | None:
        bottleneck = self.tokenizer.bottleneck
        return bottleneck.codebook_size if isinstance(bottleneck, Fsq) else None

    def indices(self, latents: Float[Array, "latents latent_dim"]) -> Indices:
        bottleneck = self.tokenizer.bottleneck
        return (
            bottleneck.indices_from_codes(latents)
            if isinstance(bottleneck, Fsq)
            else super().indices(latents)
        )

    def from_indices(self, indices: Indices) -> Latents:
        bottleneck = self.tokenizer.bottleneck
        return (
            bottleneck.codes_from_indices(indices)
            if isinstance(bottleneck, Fsq)
            else super().from_indices(indices)
        )

    def around(self, aux: Any, *, key: RandomKey, scale: float) -> Latents:
        bottleneck = self.tokenizer.bottleneck
        if not isinstance(bottleneck, Gaussian):
            return super().around(aux, key=key, scale=scale)
        return bottleneck.squash(aux.sample(key, scale=scale))

    def features(self, latents: Float[Array, "latents latent_dim"], *, dtype: jnp.dtype) -> Tokens:
        return self.tokenizer.decode_raw(latents, dtype=dtype).final
