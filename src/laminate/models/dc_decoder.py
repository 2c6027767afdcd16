"""A convolutional decoder with linear attention at its coarse stages, as DC-AE has it (Chen et al. 2025)."""

from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.conv_blocks import (
    Activation,
    PostNorm,
    ResBlock,
    Up,
    Upsample,
    UpShortcut,
    conv3,
    convolve_up,
)
from laminate.models.dc_stages import Blocks, require_width, stages_of
from laminate.nn import (
    BatchNorm,
    Conv2d,
    JointRMSNorm,
    Remat,
    RMSNorm,
    Stack,
    WideConv2d,
    fan_in_uniform_conv,
    recomputed,
    repeat_channels,
)
from laminate.types import Image, RandomKey

InShortcut = Literal["duplicate", "none"]

_KERNEL = 3


class DecoderStage(eqx.Module):
    """Blocks of one width, behind an up-sampling if they are not of the coarsest stage."""

    upsample: Upsample | None
    blocks: Stack

    def __call__(
        self, x: Float[Array, "rows columns channels"], *, key: RandomKey | None = None
    ) -> Float[Array, "new_rows new_columns new_channels"]:
        return self.blocks(x if self.upsample is None else recomputed(self.upsample, self.blocks.remat)(x))


class DcDecoder(eqx.Module):
    """A grid of latents to an image, `patch` pixels for each (the decoder of DC-AE, and of DINO-SAE).

    `widths`, `depths` and `blocks` are those of the stages from the finest to the coarsest, as their configurations
    have them; `stages` run the other way. `blocks` is what makes a block of a width, one for all or for each stage.
    Each doubles the image, but for the coarsest. One of no blocks is left out (None): of the finest its doubling
    stays, in the last convolution, and any other must not change the width.

    `decoder(latents) = image(hidden(latents))`: `last` is apart, since adversarial training compares gradients there.
    It is computed in float32 whatever the dtype of the latents. The image is neither clipped nor activated.
    `remat` says what of the blocks the backward pass computes again; all that stands between and behind them is, too.

    Raises ValueError for lists of different lengths, no blocks at all, or widths that do not fit each other.
    """

    first: Conv2d
    stages: tuple[DecoderStage | None, ...]
    norm: JointRMSNorm | RMSNorm | BatchNorm | None
    last: WideConv2d
    in_dim: int = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    in_shortcut: InShortcut = eqx.field(static=True)
    last_up: Up | None = eqx.field(static=True)
    out_activation: Activation | None = eqx.field(static=True)

    def __init__(
        self,
        in_dim: int,
        widths: Sequence[int],
        depths: Sequence[int],
        blocks: Blocks = ResBlock,
        *,
        channels: int = 3,
        up: Up = "nearest",
        up_shortcut: UpShortcut = "duplicate",
        match_channels: bool = True,
        in_shortcut: InShortcut = "duplicate",
        out_norm: PostNorm | None = JointRMSNorm,
        out_activation: Activation | None = jax.nn.relu,
        remat: Remat = "none",
        key: RandomKey,
    ):
        """`match_channels=False` has every up-sampling keep the width of the coarser stage (which blocks that cannot
        change it then have to share)."""
        listed = stages_of(widths, depths, blocks)
        if in_shortcut == "duplicate" and widths[-1] % in_dim:
            raise ValueError(
                f"Latents of {in_dim} numbers cannot be repeated to the {widths[-1]} channels of the coarsest stage: "
                'take a multiple of them, or in_shortcut="none".'
            )
        k_first, k_last, *k_stages = jax.random.split(key, 2 + len(widths))
        self.first = conv3(in_dim, widths[-1], key=k_first)
        made: list[DecoderStage | None] = []
        before = widths[-1]
        for place, stage in reversed(list(enumerate(listed))):
            if stage is None:
                made.append(None)
                continue
            k_up, k_blocks = jax.random.split(k_stages[place])
            upsample = None
            if place < len(widths) - 1:
                coarser = widths[place + 1]
                require_width(coarser, before, place)
                before = stage.width if match_channels else coarser
                upsample = Upsample(coarser, before, up=up, shortcut=up_shortcut, key=k_up)
            require_width(stage.width, before, place)
            made.append(DecoderStage(upsample, stage.blocks(remat, key=k_blocks)))
        self.stages = tuple(made)
        whole = listed[0] is not None
        if not whole:
            require_width(widths[1], before, 0)
        wide = 4 * channels if not whole and up == "shuffle" else channels
        self.norm = None if out_norm is None else out_norm(before)
        self.last = WideConv2d(before, wide, _KERNEL, padding="same", init=fan_in_uniform_conv, key=k_last)
        self.in_dim = in_dim
        self.patch = 2 ** (
            sum(stage is not None and stage.upsample is not None for stage in made) + (not whole)
        )
        self.in_shortcut = in_shortcut
        self.last_up = None if whole else up
        self.out_activation = out_activation

    @property
    def remat(self) -> Remat:
        """What of its blocks the backward pass computes again: the same in all stages."""
        return next(stage.blocks.remat for stage in self.stages if stage is not None)

    @jax.named_scope("dc_decoder")
    def __call__(
        self, latents: Float[Array, "rows columns {self.in_dim}"], *, key: RandomKey | None = None
    ) -> Image:
        return self.image(self.hidden(latents))

    def begin(
        self, latents: Float[Array, "rows columns {self.in_dim}"]
    ) -> Float[Array, "rows columns {self.first.out_channels}"]:
        """What enters the coarsest stage."""
        x = self.first(latents)
        return x if self.in_shortcut == "none" else x + repeat_channels(latents, self.first.out_channels)

    def hidden(
        self, latents: Float[Array, "rows columns {self.in_dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "height width {self.last.in_channels}"]:
        """What enters the last convolution, in the dtype of `latents`; half as large if that doubles it."""
        x = self.begin(latents)
        for stage in self.stages:
            x = x if stage is None else stage(x)
        return recomputed(self._end, self.remat)(x)

    def _end(self, x: Float[Array, "rows columns channels"]) -> Float[Array, "rows columns channels"]:
        x = x if self.norm is None else self.norm(x)
        return x if self.out_activation is None else self.out_activation(x)

    def image(self, hidden: Float[Array, "rows columns {self.last.in_channels}"]) -> Image:
        """The float32 image of what `hidden` gave."""
        return recomputed(self._image, self.remat)(hidden)

    def _image(self, hidden: Float[Array, "rows columns {self.last.in_channels}"]) -> Image:
        hidden = hidden.astype(jnp.float32)
        return self.last(hidden) if self.last_up is None else convolve_up(self.last, hidden, self.last_up)
