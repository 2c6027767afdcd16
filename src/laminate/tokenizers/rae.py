"""Representation autoencoders: features of a frozen network as latents, and a decoder to pixels (Zheng et al. 2025)."""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.bottlenecks.noisy import Noisy
from laminate.models.rae_decoder import RaeDecoder
from laminate.tokenizers.normalization import Normalization
from laminate.types import Image, Latents, RandomKey, Tokens


@runtime_checkable
class Encoder(Protocol):
    """A frozen network: an image in [0, 1] in, patch tokens out; `mean` and `std` are those of its pixels."""

    @property
    def tokens(self) -> int: ...

    @property
    def dim(self) -> int: ...

    @property
    def mean(self) -> tuple[float, ...]: ...

    @property
    def std(self) -> tuple[float, ...]: ...

    def __call__(self, image: Image, *, key: RandomKey | None = None) -> Tokens: ...


class Rae(eqx.Module):
    """Encoder, noise (in training), the statistics of the latents, decoder.

    `encode` turns an image in [0, 1] into normalised latents `[tokens, dim]`, `decode` turns those into an image
    that is nominally in [0, 1] and not clipped. The encoder is never trained: no gradient passes through `encode`.

    Raises ValueError if the decoder takes other features than the encoder gives.
    """

    encoder: Encoder
    noise: Noisy
    normalization: Normalization
    decoder: RaeDecoder

    def __init__(self, encoder: Encoder, decoder: RaeDecoder, *, noise: float = 0.8):
        if decoder.vit.in_dim != encoder.dim:
            raise ValueError(
                f"The encoder gives {encoder.dim} numbers per token and the decoder takes {decoder.vit.in_dim}: "
                "use a decoder that was trained on this encoder."
            )
        self.encoder = encoder
        self.noise = Noisy(encoder.dim, strength=noise)
        self.normalization = Normalization(encoder.tokens, encoder.dim)
        self.decoder = decoder

    def encode(self, image: Image, *, key: RandomKey | None = None) -> Latents:
        """Normalised latents, with noise if there is a key."""
        return self.normalization(self.noise(self.encoder(image), key=key)[0])

    def decode(self, latents: Float[Array, "latents features"], *, dtype: jnp.dtype | None = None) -> Image:
        """The float32 image, computed in `dtype` (that of `latents` if None)."""
        features = self.normalization.inverse(latents)
        return self.pixels(features.astype(latents.dtype if dtype is None else dtype))

    def pixels(self, features: Tokens) -> Image:
        """The float32 image of features that are not normalised, such as those of a FlatDINO decoder."""
        image = self.decoder(features).astype(jnp.float32)
        mean, std = (jnp.asarray(c, jnp.float32) for c in (self.encoder.mean, self.encoder.std))
        return image * jnp.broadcast_to(std, image.shape) + jnp.broadcast_to(mean, image.shape)

    def with_statistics(
        self,
        mean: Float[np.ndarray, "channels rows columns"] | None,
        variance: Float[np.ndarray, "channels rows columns"] | None,
        *,
        eps: float = 1e-5,
    ) -> "Rae":
        """The same autoencoder with published latent statistics; an absent mean is zero, an absent variance one.

        Latents are divided by `sqrt(variance + eps)`.
        """
        shape = self.normalization.mean.value.shape
        means = np.zeros(shape, np.float32) if mean is None else _as_tokens(mean)
        variances = np.ones(shape, np.float32) if variance is None else _as_tokens(variance)
        measured = self.normalization.measured(jnp.asarray(means), jnp.asarray(variances + eps))
        return eqx.tree_at(lambda rae: rae.normalization, self, measured)


def _as_tokens(statistic: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(statistic.reshape(statistic.shape[0], -1).T, np.float32)
