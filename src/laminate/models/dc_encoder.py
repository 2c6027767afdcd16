"""A convolutional encoder with linear attention at its coarse stages, as DC-AE has it (Chen et al. 2025)."""

from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import jax
from jaxtyping import Array, Float

from laminate.models.conv_blocks import Down, Downsample, ResBlock, conv3
from laminate.models.dc_stages import Blocks, require_width, stages_of
from laminate.nn import Conv2d, Remat, Stack, average_channels
from laminate.types import RandomKey

OutShortcut = Literal["average", "none"]


class EncoderStage(eqx.Module):
    """Blocks of one width, before a down-sampling if they are not of the coarsest stage."""

    blocks: Stack
    downsample: Downsample | None

    def __call__(
        self, x: Float[Array, "rows columns channels"], *, key: RandomKey | None = None
    ) -> Float[Array, "new_rows new_columns new_channels"]:
        x = self.blocks(x)
        return x if self.downsample is None else self.downsample(x)


class DcEncoder(eqx.Module):
    """An image to a grid of latents, `patch` pixels for each.

    `widths`, `depths` and `blocks` are those of the stages from the finest to the coarsest. `blocks` is what makes a
    block of a width, one for all or for each stage. Each halves the image, but for the coarsest, with a shortcut
    around that. One of no blocks is left out (None): of the finest its halving stays, in the first convolution, and
    any other must not change the width. It computes in the dtype of the image.

    Raises ValueError for lists of different lengths, no blocks at all, or widths that do not fit each other.
    """

    first: Conv2d | Downsample
    stages: tuple[EncoderStage | None, ...]
    last: Conv2d
    channels: int = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    out_shortcut: OutShortcut = eqx.field(static=True)

    def __init__(
        self,
        out_dim: int,
        widths: Sequence[int],
        depths: Sequence[int],
        blocks: Blocks = ResBlock,
        *,
        channels: int = 3,
        down: Down = "strided",
        out_shortcut: OutShortcut = "average",
        remat: Remat = "none",
        key: RandomKey,
    ):
        listed = stages_of(widths, depths, blocks)
        if out_shortcut == "average" and widths[-1] % out_dim:
            raise ValueError(
                f"The {widths[-1]} channels of the coarsest stage cannot be averaged to latents of {out_dim} numbers: "
                'take a multiple of them, or out_shortcut="none".'
            )
        k_first, k_last, *k_stages = jax.random.split(key, 2 + len(widths))
        whole = listed[0] is not None
        before = widths[0] if whole else widths[1]
        self.first = (
            conv3(channels, before, key=k_first)
            if whole
            else Downsample(channels, before, down=down, key=k_first)
        )
        made: list[EncoderStage | None] = []
        for place, stage in enumerate(listed):
            if stage is None:
                made.append(None)
                continue
            require_width(stage.width, before, place)
            k_blocks, k_down = jax.random.split(k_stages[place])
            downsample = None
            if place < len(widths) - 1:
                before = widths[place + 1]
                downsample = Downsample(stage.width, before, down=down, shortcut="average", key=k_down)
            made.append(EncoderStage(stage.blocks(remat, key=k_blocks), downsample))
        require_width(widths[-1], before, len(widths) - 1)
        self.stages = tuple(made)
        self.last = conv3(before, out_dim, key=k_last)
        self.channels = channels
        self.patch = 2 ** (
            sum(stage is not None and stage.downsample is not None for stage in made) + (not whole)
        )
        self.out_shortcut = out_shortcut

    @jax.named_scope("dc_encoder")
    def __call__(
        self, image: Float[Array, "height width {self.channels}"], *, key: RandomKey | None = None
    ) -> Float[Array, "rows columns {self.last.out_channels}"]:
        x = self.first(image)
        for stage in self.stages:
            x = x if stage is None else stage(x)
        y = self.last(x)
        return y if self.out_shortcut == "none" else y + average_channels(x, self.last.out_channels)
