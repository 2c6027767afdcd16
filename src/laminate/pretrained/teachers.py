"""The frozen networks whose features a tokenizer compresses.

A teacher takes an image in [0, 1] of float32 or bfloat16, `[height, width, 3]`, and gives its patch tokens
`[tokens, dim]` in the dtype of the image, which is the compute dtype; norms and softmax are float32. It resizes and
normalises the image itself, in float32.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.models.vit import Vit
from laminate.nn import Resampling, resize
from laminate.pretrained.family import Family, Rgb
from laminate.pretrained.patches import Patches
from laminate.types import Image, RandomKey, Tokens


@runtime_checkable
class Teacher(Protocol):
    """What every teacher is: `tokens` tokens of `dim` numbers from one image."""

    @property
    def tokens(self) -> int: ...

    @property
    def dim(self) -> int: ...

    def __call__(self, image: Image, *, key: RandomKey | None = None) -> Tokens: ...


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
        self, image: Float[Array, "height width 3"], *, key: RandomKey | None = None
    ) -> Float[Array, "{self.tokens} {self.dim}"]:
        return self.vit(self.seen(image))[self.vit.prefix :]

    def taps(
        self, image: Float[Array, "height width 3"], layers: tuple[int, ...]
    ) -> tuple[Float[Array, "{self.tokens} {self.dim}"], Float[Array, "layers {self.tokens} _"]]:
        """The patch tokens, and those that leave each of `layers` (counted from 0), not normed."""
        tokens, tapped = self.vit.taps(self.seen(image), layers)
        return tokens[self.vit.prefix :], tapped[:, self.vit.prefix :]

    def seen(
        self, image: Float[Array, "height width 3"]
    ) -> Float[Array, "{self.image_size} {self.image_size} 3"]:
        """What enters the network: the resized, normalised image."""
        sized = resize(image.astype(jnp.float32), (self.image_size, self.image_size), self.resampling)
        mean, std = (
            jnp.broadcast_to(jnp.asarray(c, jnp.float32), sized.shape) for c in (self.mean, self.std)
        )
        return ((sized - mean) / std).astype(image.dtype)


def vision_teacher(
    family: Family,
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


def load_teacher(name: str, *, image_size: int, patch: int) -> Patches:
    """The teacher of that name: an image in [0, 1] in, patch features out.

    Raises ValueError for one whose weights this version cannot load.
    """
    if name != "patches":
        raise ValueError(
            f"The teacher {name!r} needs published weights, which this version cannot load yet: use "
            "--teacher patches-IMAGE-PATCH, which needs none."
        )
    return Patches(image_size, patch)
