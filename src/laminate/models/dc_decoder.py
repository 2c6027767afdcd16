"""A convolutional decoder with linear attention at its coarse stages, as DC-AE has it (Chen et al. 2025)."""

from collections.abc import Callable, Sequence
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.conv_blocks import (
    Activation,
    LinearAttentionBlock,
    ResBlock,
    Up,
    Upsample,
    UpShortcut,
    conv3,
    convolve_up,
)
from laminate.nn import Conv2d, JointRMSNorm, Remat, Stack, WideConv2d, fan_in_uniform_conv, repeat_channels
from laminate.types import Image, RandomKey

BlockKind = Literal["residual", "attention"]
InShortcut = Literal["duplicate", "none"]
Norm = Callable[[int], JointRMSNorm]

_KERNEL = 3


class DecoderStage(eqx.Module):
    """Blocks of one width, behind an up-sampling if they are not of the coarsest stage."""

    upsample: Upsample | None
    blocks: Stack

    def __call__(
        self, x: Float[Array, "rows columns channels"], *, key: RandomKey | None = None
    ) -> Float[Array, "new_rows new_columns new_channels"]:
        return self.blocks(x if self.upsample is None else self.upsample(x))


class DcDecoder(eqx.Module):
    """A grid of latents to an image, `patch` pixels for each (DC-AE's decoder, with the norm of DINO-SAE).

    `widths`, `depths` and `blocks` are those of the stages from the finest to the coarsest, as their configurations
    have them; `stages` run the other way. Each doubles the image, but for the coarsest. One of no blocks is left out
    (None): of the finest its doubling stays, in the last convolution, and any other must not change the width.

    `decoder(latents) = image(hidden(latents))`: `last` is apart, since adversarial training compares gradients there.
    It is computed in float32 whatever the dtype of the latents. The image is neither clipped nor activated.

    Raises ValueError for lists of different lengths, no blocks at all, or widths that do not fit each other.
    """

    first: Conv2d
    stages: tuple[DecoderStage | None, ...]
    norm: JointRMSNorm | None
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
        blocks: BlockKind | Sequence[BlockKind] = "residual",
        *,
        channels: int = 3,
        head_dim: int = 32,
        up: Up = "nearest",
        up_shortcut: UpShortcut = "duplicate",
        match_channels: bool = True,
        in_shortcut: InShortcut = "duplicate",
        norm: Norm | None = JointRMSNorm,
        activation: Activation = jax.nn.silu,
        out_norm: Norm | None = JointRMSNorm,
        out_activation: Activation | None = jax.nn.relu,
        remat: Remat = "none",
        key: RandomKey,
    ):
        """`match_channels=False` has every up-sampling keep the width of the coarser stage (which blocks that cannot
        change it then have to share)."""
        kinds = (blocks,) * len(widths) if isinstance(blocks, str) else tuple(blocks)
        _require_stages(tuple(widths), tuple(depths), kinds)
        if in_shortcut == "duplicate" and widths[-1] % in_dim:
            raise ValueError(
                f"Latents of {in_dim} numbers cannot be repeated to the {widths[-1]} channels of the coarsest stage: "
                'take a multiple of them, or in_shortcut="none".'
            )
        k_first, k_last, *k_stages = jax.random.split(key, 2 + len(widths))
        self.first = conv3(in_dim, widths[-1], key=k_first)
        made: list[DecoderStage | None] = []
        before = widths[-1]
        for place, (width, depth, kind) in reversed(list(enumerate(zip(widths, depths, kinds, strict=True)))):
            if depth == 0:
                made.append(None)
                continue
            k_up, k_blocks = jax.random.split(k_stages[place])
            upsample = None
            if place < len(widths) - 1:
                coarser = widths[place + 1]
                _require_width(coarser, before, place)
                before = width if match_channels else coarser
                upsample = Upsample(coarser, before, up=up, shortcut=up_shortcut, key=k_up)
            _require_width(width, before, place)
            make = _block(kind, width, head_dim=head_dim, norm=norm, activation=activation)
            made.append(DecoderStage(upsample, Stack(make, depth, remat=remat, unroll=True, key=k_blocks)))
        self.stages = tuple(made)
        whole = depths[0] > 0
        if not whole:
            _require_width(widths[1], before, 0)
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
        x = x if self.norm is None else self.norm(x)
        return x if self.out_activation is None else self.out_activation(x)

    def image(self, hidden: Float[Array, "rows columns {self.last.in_channels}"]) -> Image:
        """The float32 image of what `hidden` gave."""
        hidden = hidden.astype(jnp.float32)
        return self.last(hidden) if self.last_up is None else convolve_up(self.last, hidden, self.last_up)


def _block(
    kind: BlockKind, width: int, *, head_dim: int, norm: Norm | None, activation: Activation
) -> Callable[[RandomKey], ResBlock | LinearAttentionBlock]:
    if kind == "residual":
        return lambda key: ResBlock(width, norm=norm, activation=activation, key=key)
    return lambda key: LinearAttentionBlock(width, head_dim=head_dim, activation=activation, key=key)


def _require_stages(widths: tuple[int, ...], depths: tuple[int, ...], kinds: tuple[str, ...]) -> None:
    if not len(widths) == len(depths) == len(kinds):
        raise ValueError(
            f"Stages have a width, a depth and a kind of block each, got {len(widths)} widths, {len(depths)} depths "
            f"and {len(kinds)} kinds."
        )
    if not any(depths) or min((*depths, 0)) < 0:
        raise ValueError(f"A decoder needs blocks in some stage, got depths {depths}.")
    wrong = [kind for kind in kinds if kind not in ("residual", "attention")]
    if wrong:
        raise ValueError(f"Blocks are residual or attention, got {wrong[0]!r}.")


def _require_width(wanted: int, got: int, stage: int) -> None:
    if wanted != got:
        raise ValueError(
            f"Stage {stage} (from the finest) begins with {got} channels and has {wanted}: stages around one that is "
            "left out, or behind an up-sampling that keeps the width, have to be equally wide."
        )
