"""The U-Net of a deep image prior: noise in, an image out, trained for that one image (Ulyanov et al. 2018)."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.nn import Conv2d, GroupNorm, resize
from laminate.types import Image, RandomKey

SLOPE = 0.2


@dataclasses.dataclass(frozen=True)
class ImagePriorConfig:
    """Channels and kernels of the levels from the image inwards, those of the ways across, and of the noise.

    By default those with which FlatDINO inverts tokens. Raises ValueError unless each level has a kernel, and an odd
    one.
    """

    channels: tuple[int, ...] = (16, 32, 64, 128, 128, 128)
    kernels: tuple[int, ...] = (7, 7, 5, 5, 3, 3)
    skip: int = 4
    noise: int = 32

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.kernels) or not self.channels:
            raise ValueError(f"{len(self.channels)} levels have {len(self.kernels)} kernels: give each one.")
        if not all(kernel % 2 for kernel in self.kernels):
            raise ValueError(f"Kernels that keep the size are odd, got {self.kernels}.")


class _Normed(eqx.Module):
    """`leaky_relu(norm(conv(x)))`, what lies beyond the border mirrored; one image is its own batch to the norm."""

    conv: Conv2d
    norm: GroupNorm
    border: int = eqx.field(static=True)

    def __init__(self, in_dim: int, out_dim: int, kernel: int, *, stride: int = 1, key: RandomKey):
        self.conv = Conv2d(in_dim, out_dim, kernel, stride=stride, key=key)
        self.norm = GroupNorm(out_dim, out_dim, eps=1e-5)
        self.border = kernel // 2

    def __call__(self, x: Float[Array, "height width _"]) -> Float[Array, "new_height new_width _"]:
        # No image is mirrored beyond itself: the smallest levels repeat their border.
        mode = "reflect" if min(x.shape[:2]) > self.border else "edge"
        sides = ((self.border, self.border), (self.border, self.border), (0, 0))
        return jax.nn.leaky_relu(self.norm(self.conv(jnp.pad(x, sides, mode=mode))), SLOPE)


class _Level(eqx.Module):
    across: _Normed
    down: _Normed
    same: _Normed
    merged: GroupNorm
    up: _Normed
    mixed: _Normed

    def __init__(self, in_dim: int, dim: int, inner: int, kernel: int, skip: int, *, key: RandomKey):
        k_across, k_down, k_same, k_up, k_mixed = jax.random.split(key, 5)
        self.across = _Normed(in_dim, skip, 1, key=k_across)
        self.down = _Normed(in_dim, dim, kernel, stride=2, key=k_down)
        self.same = _Normed(dim, dim, kernel, key=k_same)
        self.merged = GroupNorm(skip + inner, skip + inner, eps=1e-5)
        self.up = _Normed(skip + inner, dim, kernel, key=k_up)
        self.mixed = _Normed(dim, dim, 1, key=k_mixed)


class ImagePrior(eqx.Module):
    """Noise `[height, width, noise]` to an image in (0, 1): each level halves the sides, and is joined to what went
    across it on the way back."""

    levels: tuple[_Level, ...]
    last: Conv2d
    config: ImagePriorConfig = eqx.field(static=True)

    def __init__(self, config: ImagePriorConfig, *, key: RandomKey):
        k_last, *keys = jax.random.split(key, 1 + len(config.channels))
        dims, made = config.channels, list[_Level]()
        for place, (dim, kernel) in enumerate(zip(dims, config.kernels, strict=True)):
            before = config.noise if place == 0 else dims[place - 1]
            inner = dims[min(place + 1, len(dims) - 1)]
            made.append(_Level(before, dim, inner, kernel, config.skip, key=keys[place]))
        self.levels = tuple(made)
        self.last = Conv2d(dims[0], 3, 1, key=k_last)
        self.config = config

    @jax.named_scope("image_prior")
    def __call__(self, noise: Float[Array, "height width {self.config.noise}"]) -> Image:
        x, across = noise, list[Array]()
        for level in self.levels:
            across.append(level.across(x))
            x = level.same(level.down(x))
        for level, beside in zip(reversed(self.levels), reversed(across), strict=True):
            grown = resize(x, (beside.shape[0], beside.shape[1]), "bilinear")
            x = level.mixed(level.up(level.merged(jnp.concatenate([beside, grown], axis=-1))))
        return jax.nn.sigmoid(self.last(x))


def prior_for(image_size: int) -> ImagePriorConfig:
    """FlatDINO's, without the levels that would be smaller than 4 pixels, and of small kernels where the image is."""
    whole = ImagePriorConfig()
    levels = max(1, min(len(whole.channels), (image_size - 1).bit_length() - 2))
    kernels = whole.kernels if image_size > 128 else (3,) * len(whole.kernels)
    return ImagePriorConfig(whole.channels[:levels], kernels[:levels])
