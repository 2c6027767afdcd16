"""What an image decoder reads of an example, in training (noisy) and otherwise."""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array

from laminate.bottlenecks.noisy import Noisy
from laminate.pretrained.features import unit_image
from laminate.tokenizers.base import ImageTokenizer
from laminate.tokenizers.frozen_networks import FrozenNetworks
from laminate.train.gan_objectives import DecoderExample
from laminate.types import Image, Latents, RandomKey, Tokens


@dataclasses.dataclass(frozen=True)
class DecoderInput:
    """Raw latents of the tokenizer, or features of a teacher, made noisy as `noise` says; of `reconstructed` features
    the latents are, and what is read is what they give back.

    `posterior` adds the latent's own deviation times `strength`; `uniform` and `half-normal` draw one level for the
    image (`bottlenecks.Noisy`). Networks compute in `dtype`, latents are float32.
    """

    noise: Literal["none", "posterior", "uniform", "half-normal"]
    strength: float
    dtype: jnp.dtype
    reconstructed: bool = False

    def latents(self, frozen: FrozenNetworks, example: dict[str, Array]) -> Latents:
        """Without noise."""
        return frozen.tokenizer.encode_raw(example, dtype=self.dtype)[0]

    def read(self, frozen: FrozenNetworks, latents: Latents) -> Tokens:
        """What the decoder reads of latents, float32."""
        if not self.reconstructed:
            return latents
        return frozen.tokenizer.features(latents, dtype=self.dtype).astype(jnp.float32)

    def clean(self, frozen: FrozenNetworks, example: dict[str, Array]) -> Tokens:
        """What it reads of an example, without noise."""
        return self.read(frozen, self.latents(frozen, example))

    def target(self, example: dict[str, Array]) -> Image:
        """The image that is to be decoded, in [0, 1]."""
        return unit_image(example["image"])

    def prepared(
        self, frozen: FrozenNetworks, example: dict[str, Array], *, key: RandomKey, fresh: bool
    ) -> DecoderExample:
        """With noise, beside the image. If `fresh`, the discriminator is trained on what has none (RAE)."""
        clean, posterior = frozen.tokenizer.encode_raw(example, dtype=self.dtype)
        noisy = self.read(frozen, self._noisy(frozen.tokenizer, clean, posterior, key))
        return DecoderExample(noisy, self.read(frozen, clean) if fresh else noisy, self.target(example))

    def _noisy(self, tokenizer: ImageTokenizer, clean: Latents, posterior: Any, key: RandomKey) -> Latents:
        if self.noise == "none":
            return clean
        if self.noise == "posterior":
            return tokenizer.around(posterior, key=key, scale=self.strength)
        return Noisy(clean.shape[-1], strength=self.strength, level=self.noise)(clean, key=key)[0]
