"""What an image decoder reads of an example, in training (noisy) and otherwise, and the frozen networks it needs."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from laminate.bottlenecks.gaussian import Gaussian
from laminate.bottlenecks.noisy import Noisy
from laminate.pretrained.features import features_of, unit_image
from laminate.tokenizers.flatdino import FlatDino
from laminate.tokenizers.latent_decoders import PatchLatentDecoder
from laminate.train.gan_objectives import DecoderExample
from laminate.types import Image, Latents, RandomKey


class Frozen(NamedTuple):
    """The networks beside a decoder; what it does not need is None."""

    teacher: Any
    tokenizer: FlatDino | None
    perceptual: Any
    backbone: Any


@dataclasses.dataclass(frozen=True)
class Reading:
    """Latents of the tokenizer, or features of the teacher where there is none, made noisy as `noise` says.

    `posterior` adds the latent's own deviation times `strength`; `uniform` and `half-normal` draw one level for the
    image (`bottlenecks.Noisy`). Networks compute in `dtype`, latents are float32.
    """

    noise: Literal["none", "posterior", "uniform", "half-normal"]
    strength: float
    dtype: jnp.dtype

    def clean(self, frozen: Frozen, example: dict[str, Array]) -> Latents:
        """Without noise."""
        return self._read(frozen, example)[0]

    def target(self, example: dict[str, Array]) -> Image:
        """The image that is to be painted, in [0, 1]."""
        return unit_image(example["image"])

    def prepared(
        self, frozen: Frozen, example: dict[str, Array], *, key: RandomKey, fresh: bool
    ) -> DecoderExample:
        """With noise, beside the image. If `fresh`, the discriminator is trained on what has none (RAE)."""
        clean, posterior = self._read(frozen, example)
        noisy = self._noisy(frozen.tokenizer, clean, posterior, key)
        return DecoderExample(noisy, clean if fresh else noisy, self.target(example))

    def _read(self, frozen: Frozen, example: dict[str, Array]) -> tuple[Latents, Any]:
        """The float32 latents, and the by-product of the tokenizer's bottleneck."""
        features = features_of(frozen.teacher, example, dtype=self.dtype).final
        if frozen.tokenizer is None:
            return features.astype(jnp.float32), None
        latents, aux = frozen.tokenizer.encode_raw(features.astype(self.dtype))
        return latents.astype(jnp.float32), aux

    def _noisy(self, tokenizer: FlatDino | None, clean: Latents, posterior: Any, key: RandomKey) -> Latents:
        if self.noise == "none":
            return clean
        if self.noise != "posterior":
            return Noisy(clean.shape[-1], strength=self.strength, level=self.noise)(clean, key=key)[0]
        if tokenizer is None or not isinstance(tokenizer.bottleneck, Gaussian):
            raise ValueError(
                "noise.kind posterior needs a tokenizer with a posterior: take uniform, or none."
            )
        return tokenizer.bottleneck.squash(posterior.sample(key, scale=self.strength))


def plain_image(frozen: Frozen, latents: Latents, *, dtype: jnp.dtype) -> Image:
    """The tokenizer's own reconstruction of the features as an image, where the teacher can show them."""
    assert frozen.tokenizer is not None
    return PatchLatentDecoder(frozen.tokenizer, frozen.teacher)(latents, dtype=dtype)
