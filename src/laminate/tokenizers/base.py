"""A frozen tokenizer as its readers see it: latents of an example of a batch, and an image of latents."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.pretrained.features import unit_image
from laminate.tokenizers.normalization import Normalization
from laminate.types import Image, Indices, Latents, RandomKey, Tokens

Example = dict[str, Array]


class ImageTokenizer(eqx.Module):
    """Images to latents and back, everything that it takes included, as the networks that stand before a tokenizer.

    Networks compute in `dtype`; latents are float32. `encode_raw` gives what the bottleneck gives, `encode` the same
    brought to mean 0 and variance 1 by the statistics in `normalization`.
    """

    @property
    def normalization(self) -> Normalization | None:
        """The measured statistics of the latents; None for a tokenizer that needs none."""
        return None

    @property
    def shows_images(self) -> bool:
        """Whether `image` can be asked for: some tokenizers give back features that are no pixels."""
        return True

    @property
    def codebook_size(self) -> int | None:
        """How many values a whole number of a token has; None for a tokenizer whose latents are real numbers."""
        return None

    @abc.abstractmethod
    def encode_raw(
        self, example: Example, *, dtype: jnp.dtype, key: RandomKey | None = None
    ) -> tuple[Latents, Any]:
        """The raw latents of an example, and the by-product of the bottleneck; `key=None` takes no sample."""

    @abc.abstractmethod
    def image(self, latents: Float[Array, "latents latent_dim"], *, dtype: jnp.dtype) -> Image:
        """The float32 image in [0, 1] of raw latents. Raises ValueError if these are no images."""

    def picture(
        self, latents: Float[Array, "latents latent_dim"], grid: tuple[int, int], *, dtype: jnp.dtype
    ) -> Image:
        """The float32 image in [0, 1] of raw latents on a `grid` (rows, columns) of patches, row by row.

        Raises ValueError for a tokenizer of one size of images alone.
        """
        raise ValueError(f"A {type(self).__name__} makes images of one size alone.")

    def around(self, aux: Any, *, key: RandomKey, scale: float) -> Latents:
        """Raw latents drawn from the posterior that `encode_raw` gave, its deviation times `scale`.

        Raises ValueError if this tokenizer has none.
        """
        raise ValueError("noise.kind posterior needs a tokenizer with a posterior: take uniform, or none.")

    def features(self, latents: Float[Array, "latents latent_dim"], *, dtype: jnp.dtype) -> Tokens:
        """The teacher's features that raw latents stand for. Raises ValueError for a tokenizer of images themselves."""
        raise ValueError(
            f"A {type(self).__name__} compresses images and gives back no features of a teacher."
        )

    def encode(self, example: Example, *, dtype: jnp.dtype, key: RandomKey | None = None) -> Latents:
        """Normalised latents of an example."""
        raw = self.encode_raw(example, dtype=dtype, key=key)[0]
        return raw.astype(jnp.float32) if self.normalization is None else self.normalization(raw)

    def original(self, example: Example) -> Image:
        """The float32 image in [0, 1] that is encoded in an example: what reconstructions are held against."""
        return unit_image(example["image"])

    def indices(self, latents: Float[Array, "latents latent_dim"]) -> Indices:
        """The int32 position in the codebook of each raw latent. Raises ValueError for a tokenizer without one."""
        raise ValueError(f"The latents of a {type(self).__name__} are real numbers and have no indices.")

    def from_indices(self, indices: Indices) -> Latents:
        """The raw latents at these positions of the codebook. Raises ValueError for a tokenizer without one."""
        raise ValueError(f"The latents of a {type(self).__name__} are real numbers and have no indices.")
