"""Convolutional encoders and decoders of levels that halve and double an image (Rombach et al. 2022)."""

from collections.abc import Iterator
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.conv_blocks import (
    Downsample,
    GridAttention,
    PreNorm,
    PreNormResBlock,
    Upsample,
    conv3,
)
from laminate.nn import Conv2d, GroupNorm, RMSNorm, WideConv2d, fan_in_uniform_conv
from laminate.types import Image, RandomKey

Grid = Float[Array, "rows columns channels"]
Resized = Float[Array, "new_rows new_columns new_channels"]

_KERNEL = 3


@dataclass(frozen=True)
class Pyramid:
    """What the two halves of an autoencoder have in common.

    `widths` are those of the levels from the finest to the coarsest; an encoder has `depth` residual blocks in each and
    a decoder one more. `attended` are the levels with an attention behind every block, and `middle_attention` says
    whether one stands between the two blocks behind (before) the coarsest. `stem` is the width of the encoder's first
    convolution, that of the finest level if None. With `halves` an up-sampling halves the width.

    Raises ValueError for no levels or blocks, and for an odd width that would be halved.
    """

    widths: tuple[int, ...]
    depth: int
    norm: PreNorm
    attended: tuple[int, ...] = ()
    middle_attention: bool = True
    stem: int | None = None
    halves: bool = False

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1 or self.depth < 1:
            raise ValueError(
                f"Levels need a width and blocks each, got widths {self.widths} and depth {self.depth}."
            )
        if self.halves and any(width % 2 for width in self.widths[1:]):
            raise ValueError(f"Up-samplings that halve the width need even ones, got {self.widths}.")

    @property
    def patch(self) -> int:
        """Pixels along a side of what becomes one place."""
        return 2 ** (len(self.widths) - 1)


class Level(eqx.Module):
    """Residual blocks, an attention behind each of them if there are any, and an image of another size."""

    blocks: tuple[PreNormResBlock, ...]
    attentions: tuple[GridAttention, ...]
    resample: Downsample | Upsample | None

    @jax.named_scope("level")
    def __call__(self, x: Grid, *, key: RandomKey | None = None) -> Resized:
        attentions = self.attentions or (None,) * len(self.blocks)
        for block, attention in zip(self.blocks, attentions, strict=True):
            x = block(x)
            x = x if attention is None else attention(x)
        return x if self.resample is None else self.resample(x)


class Middle(eqx.Module):
    """Two residual blocks, with an attention between them if there is one."""

    before: PreNormResBlock
    attention: GridAttention | None
    after: PreNormResBlock

    def __init__(self, pyramid: Pyramid, *, key: RandomKey):
        k_before, k_attention, k_after = jax.random.split(key, 3)
        dim, norm = pyramid.widths[-1], pyramid.norm
        self.before = PreNormResBlock(dim, dim, norm=norm, key=k_before)
        attended = pyramid.middle_attention
        self.attention = GridAttention(dim, norm=norm, key=k_attention) if attended else None
        self.after = PreNormResBlock(dim, dim, norm=norm, key=k_after)

    def __call__(self, x: Grid, *, key: RandomKey | None = None) -> Grid:
        x = self.before(x)
        return self.after(x if self.attention is None else self.attention(x))


class PyramidEncoder(eqx.Module):
    """An image to a grid of `out_dim` numbers, the levels from the finest to the coarsest."""

    first: Conv2d
    levels: tuple[Level, ...]
    middle: Middle
    norm: GroupNorm | RMSNorm
    last: Conv2d

    def __init__(self, pyramid: Pyramid, channels: int, out_dim: int, *, key: RandomKey):
        k_first, k_levels, k_middle, k_last = jax.random.split(key, 4)
        widths = pyramid.widths
        before = widths[0] if pyramid.stem is None else pyramid.stem
        self.first = conv3(channels, before, key=k_first)
        made: list[Level] = []
        for number, k_level in enumerate(jax.random.split(k_levels, len(widths))):
            k_blocks, k_down = jax.random.split(k_level)
            width, coarsest = widths[number], number == len(widths) - 1
            blocks, attentions = _blocks(pyramid, number, before, pyramid.depth, key=k_blocks)
            down = None if coarsest else Downsample(width, width, key=k_down)
            made.append(Level(blocks, attentions, down))
            before = width
        self.levels = tuple(made)
        self.middle = Middle(pyramid, key=k_middle)
        self.norm = pyramid.norm(before)
        self.last = conv3(before, out_dim, key=k_last)

    @jax.named_scope("pyramid_encoder")
    def __call__(self, image: Image, *, key: RandomKey | None = None) -> Resized:
        x = self.first(image)
        for level in self.levels:
            x = level(x)
        return self.last(jax.nn.silu(self.norm(self.middle(x))))


class PyramidDecoder(eqx.Module):
    """A grid of `in_dim` numbers to an image, the levels from the coarsest to the finest.

    The last convolution and the image are float32 whatever the dtype of the grid; the image is not clipped.
    """

    first: Conv2d
    middle: Middle
    levels: tuple[Level, ...]
    norm: GroupNorm | RMSNorm
    last: WideConv2d

    def __init__(self, pyramid: Pyramid, in_dim: int, channels: int, *, key: RandomKey):
        k_first, k_levels, k_middle, k_last = jax.random.split(key, 4)
        before = pyramid.widths[-1]
        self.first = conv3(in_dim, before, key=k_first)
        self.middle = Middle(pyramid, key=k_middle)
        made: list[Level] = []
        keys: Iterator[RandomKey] = iter(jax.random.split(k_levels, len(pyramid.widths)))
        for number, width in reversed(list(enumerate(pyramid.widths))):
            k_blocks, k_up = jax.random.split(next(keys))
            blocks, attentions = _blocks(pyramid, number, before, pyramid.depth + 1, key=k_blocks)
            before = width // 2 if pyramid.halves and number else width
            up = Upsample(width, before, shortcut="none", key=k_up) if number else None
            made.append(Level(blocks, attentions, up))
        self.levels = tuple(made)
        self.norm = pyramid.norm(before)
        self.last = WideConv2d(
            before, channels, _KERNEL, padding="same", init=fan_in_uniform_conv, key=k_last
        )

    @jax.named_scope("pyramid_decoder")
    def __call__(
        self, latents: Float[Array, "rows columns {self.first.in_channels}"], *, key: RandomKey | None = None
    ) -> Image:
        x = self.middle(self.first(latents))
        for level in self.levels:
            x = level(x)
        return self.last(jax.nn.silu(self.norm(x)).astype(jnp.float32))


def _blocks(
    pyramid: Pyramid, number: int, before: int, depth: int, *, key: RandomKey
) -> tuple[tuple[PreNormResBlock, ...], tuple[GridAttention, ...]]:
    """The blocks of a level that `before` channels enter, and the attentions behind them."""
    k_blocks, k_attentions = jax.random.split(key)
    width, norm = pyramid.widths[number], pyramid.norm
    blocks = tuple(
        PreNormResBlock(width if place else before, width, norm=norm, key=k_block)
        for place, k_block in enumerate(jax.random.split(k_blocks, depth))
    )
    if number not in pyramid.attended:
        return blocks, ()
    keys = jax.random.split(k_attentions, depth)
    return blocks, tuple(GridAttention(width, norm=norm, key=k_attention) for k_attention in keys)
