"""A few strided convolutions in the place of a vision transformer's patch embedding."""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from laminate.models.vit import Vit
from laminate.nn import Conv2d, ImageEmbed, JointRMSNorm, fan_in_uniform_conv
from laminate.types import RandomKey

STEM_WIDTHS = (64, 128, 256)
"""Channels after the first, second and third convolution of DINO-SAE's stem, whose tokens are 16 pixels wide."""

_FIRST_KERNEL, _KERNEL = 7, 3


class StemStage(eqx.Module):
    """A convolution of stride 2 without a bias, a norm over all of the image, and SiLU."""

    conv: Conv2d
    norm: JointRMSNorm

    def __call__(
        self, x: Float[Array, "height width channels"], *, key: RandomKey | None = None
    ) -> Float[Array, "new_height new_width new_channels"]:
        return jax.nn.silu(self.norm(self.conv(x)))


class ConvStem(ImageEmbed):
    """The hierarchical convolutional patch embedding of DINO-SAE (2026): every convolution halves the image.

    The first has a kernel of 7, the others of 3, `widths` are their channels, and one more, without a norm, gives
    tokens of `dim` numbers, `patch = 2^(len(widths) + 1)` pixels apart. Zeros are added alike on both sides, so a side
    of `n` pixels has `ceil(n / patch)` tokens.

    Raises ValueError for no widths.
    """

    stages: tuple[StemStage, ...]
    last: Conv2d
    patch: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        widths: tuple[int, ...] = STEM_WIDTHS,
        *,
        channels: int = 3,
        key: RandomKey,
    ):
        if not widths:
            raise ValueError(
                "A stem has a norm between two convolutions at least: give it the width of the first."
            )
        ins, keys = (channels, *widths), jax.random.split(key, len(widths) + 1)
        convs = [
            Conv2d(
                before,
                after,
                _KERNEL if i else _FIRST_KERNEL,
                stride=2,
                padding="same",
                bias=False,
                init=fan_in_uniform_conv,
                key=keys[i],
            )
            for i, (before, after) in enumerate(zip(ins, (*widths, dim), strict=True))
        ]
        self.stages = tuple(
            StemStage(conv, JointRMSNorm(width)) for conv, width in zip(convs[:-1], widths, strict=True)
        )
        self.last = convs[-1]
        self.patch = 2 ** len(convs)
        self.channels = channels

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        return -(-height // self.patch), -(-width // self.patch)

    @jax.named_scope("conv_stem")
    def __call__(
        self, image: Float[Array, "height width {self.channels}"], *, key: RandomKey | None = None
    ) -> Float[Array, "patches dim"]:
        x = image
        for stage in self.stages:
            x = stage(x)
        return self.last(x).reshape(-1, self.last.out_channels)


def with_stem(vit: Vit, stem: ConvStem) -> Vit:
    """`vit` with `stem` in the place of its patch embedding; all else is shared.

    Raises ValueError if the tokens of the stem are of another width, or of other patches, than those of `vit`.
    """
    if vit.patch is None or vit.patch.patch != stem.patch:
        has = "no patches" if vit.patch is None else f"patches of {vit.patch.patch} pixels"
        raise ValueError(
            f"A stem whose tokens are {stem.patch} pixels apart cannot stand before a network with {has}: give it "
            "another number of widths, since each halves the image."
        )
    if stem.last.out_channels != vit.norm.dim:
        raise ValueError(
            f"The stem gives tokens of {stem.last.out_channels} numbers, and the network behind it takes "
            f"{vit.norm.dim}: use the stem that was trained before this network."
        )
    return eqx.tree_at(lambda v: v.patch, vit, stem)
