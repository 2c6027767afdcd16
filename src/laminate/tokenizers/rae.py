"""Representation autoencoders: features of a frozen network as latents, and a decoder to pixels (Zheng et al. 2025)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.bottlenecks.noisy import Level, Noisy
from laminate.models.pixel_decoder import PixelDecoder
from laminate.models.rae_decoder import RaeDecoder
from laminate.pretrained import hub, identify
from laminate.pretrained import rae as published
from laminate.pretrained.teachers import VitTeacher, load_teacher
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
    `noise` and `level` are the strength and the level of `bottlenecks.noisy.Noisy`.

    Raises ValueError if the decoder takes other features than the encoder gives, or decodes on another scale than that
    of the encoder's pixels.
    """

    encoder: Encoder
    noise: Noisy
    normalization: Normalization
    decoder: RaeDecoder

    def __init__(
        self, encoder: Encoder, decoder: RaeDecoder, *, noise: float = 0.8, level: Level = "uniform"
    ):
        if decoder.vit.in_dim != encoder.dim:
            raise ValueError(
                f"The encoder gives {encoder.dim} numbers per token and the decoder takes {decoder.vit.in_dim}: "
                "use a decoder that was trained on this encoder."
            )
        if (decoder.mean, decoder.std) != (tuple(encoder.mean), tuple(encoder.std)):
            raise ValueError(
                f"The decoder makes pixels of mean {decoder.mean} and deviation {decoder.std}, and the encoder sees "
                f"{encoder.mean} and {encoder.std}: make the decoder with those of the encoder."
            )
        self.encoder = encoder
        self.noise = Noisy(encoder.dim, strength=noise, level=level)
        self.normalization = Normalization(encoder.tokens, encoder.dim)
        self.decoder = decoder

    def encode(self, image: Image, *, key: RandomKey | None = None) -> Latents:
        """Normalised latents, with noise if there is a key."""
        return self.normalization(self.noise(self.encoder(image), key=key)[0])

    def decode(self, latents: Float[Array, "latents latent_dim"], *, dtype: jnp.dtype | None = None) -> Image:
        """The float32 image, computed in `dtype` (that of `latents` if None)."""
        features = self.normalization.inverse(latents)
        return self.pixels(features.astype(latents.dtype if dtype is None else dtype))

    def pixels(self, features: Tokens) -> Image:
        """The float32 image of features that are not normalised, such as those of a FlatDINO decoder."""
        return self.decoder(features)

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


class RaePixels(eqx.Module):
    """The decoder of an autoencoder alone, to look at features: its images are clipped to [0, 1]."""

    decoder: PixelDecoder

    def pixels(self, features: Tokens) -> Image:
        """The float32 image of these features."""
        return jnp.clip(self.decoder(features), 0.0, 1.0)


def load(
    source: str | os.PathLike[str] | None = None,
    *,
    encoder: str | os.PathLike[str] | None = None,
    decoder: str | os.PathLike[str] | None = None,
    statistics: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
    cache: Path | None = None,
) -> Rae:
    """A published representation autoencoder, whole or in its parts.

        rae = load("rae-dinov2-b-diffusers")        or a folder, file or repository that holds all of one
        rae = load(encoder="dinov2-b", decoder="decoder.safetensors", statistics="stat.safetensors")
        latents = rae.encode(image)
        image = rae.decode(latents)

    `encoder` is what `pretrained.teachers.load_teacher` takes, which sees images of `image_size` (None: the usual
    ones). `statistics` is a file with `mean` or `var` of shape `[channels, rows, columns]`, or both; without it the
    latents are the features themselves.

    Raises:
        ValueError: neither or both ways of naming it, weights that do not fit, or parts that do not fit each other.
        OSError: nothing of that name.
    """
    if (source is None) == (encoder is None or decoder is None) or (
        source is not None and statistics is not None
    ):
        raise ValueError(
            "An autoencoder is one source that holds everything, or encoder and decoder, and statistics if it has "
            f"any; got source={source}, encoder={encoder}, decoder={decoder}, statistics={statistics}."
        )
    if source is not None:
        config, weights = hub.load(source, cache=cache)
        return _whole(config, weights, os.fspath(source), image_size, dtype)
    assert encoder is not None and decoder is not None
    seeing = load_teacher(encoder, image_size=image_size, resampling="bicubic", dtype=dtype, cache=cache)
    decoding = published.read_decoder(
        *hub.load(decoder, cache=cache), mean=seeing.mean, std=seeing.std, dtype=dtype
    )
    rae = Rae(seeing, decoding)
    if statistics is None:
        return rae
    stored = hub.load(statistics, cache=cache).weights
    if not stored or not stored.keys() <= {"mean", "var"}:
        raise ValueError(
            f"{os.fspath(statistics)} holds {', '.join(stored) or 'nothing'}; latent statistics are mean, var, or both."
        )
    return rae.with_statistics(stored.get("mean"), stored.get("var"))


def _whole(
    config: Mapping[str, Any] | None,
    weights: Mapping[str, np.ndarray],
    where: str,
    image_size: int | None,
    dtype: jnp.dtype,
) -> Rae:
    parts = published.split_autoencoder(weights)
    encoded = published.encoder_config(config, parts.encoder)
    one = identify.identify(encoded, parts.encoder, f"the encoder of {where}")
    size = image_size or (config or {}).get("encoder_input_size") or one.image_size
    vit = one.load(parts.encoder, affine=False, dtype=dtype)
    encoder = VitTeacher(vit, size, mean=one.family.mean, std=one.family.std, resampling="bicubic")
    decoder = published.read_decoder(config, parts.decoder, mean=encoder.mean, std=encoder.std, dtype=dtype)
    rae = Rae(encoder, decoder)
    mean, std = (parts.buffers.get(name) for name in ("_latents_mean", "_latents_std"))
    if std is None or std.ndim != 3:  # one number stands for no statistics
        return rae
    # The diffusers library adds its own epsilon to a deviation that has one already.
    return rae.with_statistics(
        None if mean is None or mean.ndim != 3 else mean, np.square(std + 1e-5), eps=0.0
    )


def _as_tokens(statistic: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(statistic.reshape(statistic.shape[0], -1).T, np.float32)
