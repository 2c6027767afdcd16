"""The frozen networks whose features a tokenizer compresses.

A teacher takes an image in [0, 1] of float32 or bfloat16, `[height, width, 3]`, and gives its patch tokens
`[tokens, dim]` in the compute dtype, which is that of the image unless it is told; norms and softmax are float32. It
resizes and normalises the image itself, in float32.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.models.pixel_decoder import PixelDecoder
from laminate.models.vit import Vit
from laminate.nn import Resampling, resize
from laminate.pretrained import hub
from laminate.pretrained.files import read
from laminate.pretrained.identify import identify, identity, split_name
from laminate.pretrained.published import PUBLISHED, Published
from laminate.pretrained.vit_reader import Rgb, VitReader
from laminate.types import Image, RandomKey, Tokens


@runtime_checkable
class Teacher(Protocol):
    """What every teacher is: `tokens` tokens of `dim` numbers from one image."""

    @property
    def tokens(self) -> int: ...

    @property
    def dim(self) -> int: ...

    def __call__(
        self, image: Image, *, dtype: jnp.dtype | None = None, key: RandomKey | None = None
    ) -> Tokens: ...


class VitTeacher(eqx.Module):
    """The patch tokens of a vision transformer that sees images of `image_size` by `image_size` pixels.

    Raises ValueError if that is no whole number of patches.
    """

    vit: Vit
    image_size: int = eqx.field(static=True)
    mean: Rgb = eqx.field(static=True)
    std: Rgb = eqx.field(static=True)
    resampling: Resampling = eqx.field(static=True)

    def __init__(
        self,
        vit: Vit,
        image_size: int,
        *,
        mean: Rgb,
        std: Rgb,
        resampling: Resampling = "bilinear-antialias",
    ):
        if vit.patch is None or image_size % vit.patch.patch or image_size < 1:
            patch = None if vit.patch is None else vit.patch.patch
            raise ValueError(
                f"A teacher with image_size={image_size} and patch={patch} has no whole number of patches: "
                "choose a multiple of the patch."
            )
        self.vit = vit
        self.image_size = image_size
        self.mean = mean
        self.std = std
        self.resampling = resampling

    @property
    def tokens(self) -> int:
        assert self.vit.patch is not None
        return (self.image_size // self.vit.patch.patch) ** 2

    @property
    def dim(self) -> int:
        return self.vit.out_dim

    @jax.named_scope("teacher")
    def __call__(
        self,
        image: Float[Array, "height width 3"],
        *,
        dtype: jnp.dtype | None = None,
        key: RandomKey | None = None,
    ) -> Float[Array, "{self.tokens} {self.dim}"]:
        return self.vit(self.seen(image, dtype=dtype))[self.vit.prefix :]

    def taps(
        self,
        image: Float[Array, "height width 3"],
        layers: tuple[int, ...],
        *,
        dtype: jnp.dtype | None = None,
    ) -> tuple[Float[Array, "{self.tokens} {self.dim}"], Float[Array, "layers {self.tokens} _"]]:
        """The patch tokens, and those that leave each of `layers` (counted from 0), not normed."""
        tokens, tapped = self.vit.taps(self.seen(image, dtype=dtype), layers)
        return tokens[self.vit.prefix :], tapped[:, self.vit.prefix :]

    def seen(
        self, image: Float[Array, "height width 3"], *, dtype: jnp.dtype | None = None
    ) -> Float[Array, "{self.image_size} {self.image_size} 3"]:
        """What enters the network: the resized, normalised image."""
        sized = resize(image.astype(jnp.float32), (self.image_size, self.image_size), self.resampling)
        mean, std = (
            jnp.broadcast_to(jnp.asarray(c, jnp.float32), sized.shape) for c in (self.mean, self.std)
        )
        return ((sized - mean) / std).astype(image.dtype if dtype is None else dtype)


class ShowingTeacher(VitTeacher):
    """A teacher with a decoder of its own, which shows its features as images.

    Raises ValueError if the decoder takes other features, or what `VitTeacher` raises.
    """

    decoder: PixelDecoder

    def __init__(
        self,
        vit: Vit,
        decoder: PixelDecoder,
        image_size: int,
        *,
        mean: Rgb,
        std: Rgb,
        resampling: Resampling = "bilinear-antialias",
    ):
        super().__init__(vit, image_size, mean=mean, std=std, resampling=resampling)
        if decoder.vit.in_dim != self.dim:
            raise ValueError(
                f"The teacher gives {self.dim} numbers per patch and its decoder takes {decoder.vit.in_dim}."
            )
        self.decoder = decoder

    def pixels(self, features: Float[Array, "{self.tokens} {self.dim}"]) -> Image:
        """The float32 image of these features, clipped to [0, 1]."""
        return jnp.clip(self.decoder(features), 0.0, 1.0)


def vision_teacher(
    family: VitReader,
    config: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    *,
    image_size: int,
    prefix: str | None = None,
    resampling: Resampling = "bilinear-antialias",
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
) -> VitTeacher:
    """A teacher from a configuration and published weights, stored in `dtype`; its final norm has no scale and bias.

    Raises what `family.load` raises.
    """
    vit = family.load(config, weights, affine=False, prefix=prefix, dtype=dtype)
    return VitTeacher(vit, image_size, mean=family.mean, std=family.std, resampling=resampling)


def load_teacher(
    source: str | os.PathLike[str],
    *,
    image_size: int | None = None,
    resampling: Resampling = "bilinear-antialias",
    hidden_act: str | None = None,
    affine: bool = False,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
    on_host: bool = False,
    cache: Path | None = None,
) -> VitTeacher:
    """The frozen network of `source`: a known name, a file or folder, a hub repository, or `NAME=WHERE`.

        load_teacher("dinov2-b")                               known weights, fetched once and pinned
        load_teacher("checkpoints/dinov2")                     a folder with config.json and model.safetensors
        load_teacher("dinov2-b=checkpoints/model.safetensors") a file that must hold DINOv2-B with registers

    It sees images of `image_size` a side (None: the usual one of the network), resized by `resampling`.
    `hidden_act` runs it with another activation than it was trained with (None: the same). Only if `affine` its final
    norm keeps scale and bias. Weights are stored in `dtype`; `on_host` leaves them in NumPy arrays, for
    `parallel.sharding.place`.

    Raises:
        ValueError: another family or size than asked for, damaged weights, or a size of no whole patches.
        OSError: nothing of that name, or it cannot be fetched.
    """
    asked, where = split_name(os.fspath(source))
    config, weights = hub.load(where, cache=cache)
    one = identify(config, weights, where, asked=asked)
    if hidden_act is not None:
        one = replace(one, config={**one.config, "hidden_act": hidden_act})
    vit = one.load(weights, affine=affine, dtype=dtype, on_host=on_host)
    return _seeing(one, vit, image_size, resampling)


def teacher_shapes(
    source: str | os.PathLike[str],
    *,
    image_size: int | None = None,
    resampling: Resampling = "bilinear-antialias",
    affine: bool = False,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
    cache: Path | None = None,
) -> VitTeacher:
    """`load_teacher` without its numbers: a published name needs no file at all. Raises what `load_teacher` raises."""
    one = describe_teacher(source, cache=cache)
    vit = eqx.filter_eval_shape(
        lambda key: one.family.make(one.config, affine=affine, key=key), jax.random.key(0)
    )
    stored = jax.tree.map(
        lambda leaf: (
            jax.ShapeDtypeStruct(leaf.shape, dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
        ),
        vit,
    )
    return _seeing(one, stored, image_size, resampling)


def describe_teacher(source: str | os.PathLike[str], *, cache: Path | None = None) -> Published:
    """Family and sizes of what `source` names: published ones, or those of its `config.json`, else of its header.

    Raises what `load_teacher` raises for what can be seen without looking at the numbers.
    """
    asked, where = split_name(os.fspath(source))
    if asked is not None:
        return PUBLISHED[asked]
    files = hub.locate(where, cache=cache)
    return identify(hub.config_of(files), read(files), where)


def teacher_identity(source: str | os.PathLike[str], *, cache: Path | None = None) -> str:
    """The hash of all that decides what the network of `source` computes (`identify.identity`)."""
    asked, where = split_name(os.fspath(source))
    files = hub.locate(where, cache=cache)
    weights = read(files)
    return identity(identify(hub.config_of(files), weights, where, asked=asked), weights)


def _seeing(one: Published, vit: Vit, image_size: int | None, resampling: Resampling) -> VitTeacher:
    family = one.family
    size = one.image_size if image_size is None else image_size
    return VitTeacher(vit, size, mean=family.mean, std=family.std, resampling=resampling)
