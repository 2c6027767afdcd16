"""PatchGAN: a convolutional network that judges overlapping patches."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.discriminator import Discriminator
from laminate.nn import (
    ActNorm,
    Average,
    BatchNorm,
    Conv2d,
    GroupNorm,
    SpectralNorm,
    WideConv2d,
    iterated,
    unaveraged,
)
from laminate.types import RandomKey, exact

PatchNorm = Literal["batch", "act", "spectral", "group", "none"]

_KERNEL = 4
_SLOPE = 0.2
_STD = 0.02
_WIDEST = 8  # times the width of the first layer
_GROUPS = 32


class ConvStage(eqx.Module):
    """A convolution, a norm if there is one, and a leaky ReLU of slope 0.2."""

    conv: Conv2d | SpectralNorm
    norm: BatchNorm | ActNorm | GroupNorm | None

    def __call__(
        self, x: Float[Array, "height width channels"], *, key: RandomKey | None = None
    ) -> Float[Array, "new_height new_width new_channels"]:
        x = self.conv(x)
        return jax.nn.leaky_relu(x if self.norm is None else self.norm(x), _SLOPE)

    def training(
        self, x: Float[Array, "examples height width channels"], *, average: Average, parts: int
    ) -> "tuple[ConvStage, ConvStage]":
        """This stage with the statistics of a batch, and the one that is kept."""
        if not isinstance(self.norm, BatchNorm):
            return self, self
        now, kept = self.norm.training(jax.vmap(self.conv)(x), average=average, parts=parts)
        return ConvStage(self.conv, now), ConvStage(self.conv, kept)


class PatchGan(Discriminator):
    """One logit for each of many overlapping patches (Isola et al. 2017), row by row; takes the image itself.

    A 4x4 convolution of stride 2 to `width` channels; `layers - 1` more that double them, up to eight times `width`;
    one of stride 1; and one to the logit, in float32. All but the first and the last are normalised by `norm`: batch
    norm, over the global batch on all devices, which then cannot be gone through in parts; trained numbers (`"act"`);
    groups of channels of the example itself; or nothing. `"spectral"` divides the weight of every convolution by its
    largest singular value instead. A patch is 70 pixels wide at three layers.

    Raises ValueError for no layers, an unknown `norm`, and at the call for an image that is too small.
    """

    stages: tuple[ConvStage, ...]
    output: WideConv2d | SpectralNorm
    channels: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        layers: int = 3,
        width: int = 64,
        norm: PatchNorm = "batch",
        channels: int = 3,
        key: RandomKey,
    ):
        if layers < 1:
            raise ValueError(f"A PatchGan needs layers >= 1, got layers={layers}.")
        if norm not in ("batch", "act", "spectral", "group", "none"):
            raise ValueError(f"norm={norm!r} is none of batch, act, spectral, group, none.")
        keys = jax.random.split(key, layers + 2)
        widths = [width * min(2**i, _WIDEST) for i in range(layers + 1)]
        before = channels
        stages: list[ConvStage] = []
        for i, wide in enumerate(widths):
            normed = 0 < i and norm in ("batch", "act", "group")
            conv = _conv(
                before,
                wide,
                stride=2 if i < layers else 1,
                bias=not (normed and norm == "batch"),
                spectral=norm == "spectral",
                key=keys[i],
            )
            stages.append(ConvStage(conv, _norm(norm, wide, keys[i]) if normed else None))
            before = wide
        self.stages = tuple(stages)
        self.output = _output(before, spectral=norm == "spectral", key=keys[-1])
        self.channels = channels

    @jax.named_scope("patchgan")
    def __call__(
        self, features: Float[Array, "height width {self.channels}"], *, key: RandomKey | None = None
    ) -> Float[Array, " logits"]:
        self._require_large(features.shape[0], features.shape[1])
        x = features
        for stage in self.stages:
            x = stage(x)
        return self._logits(x)

    @exact
    def _logits(self, x: Float[Array, "rows columns dim"]) -> Float[Array, " logits"]:
        return self.output(x.astype(jnp.float32)).reshape(-1)

    def training(
        self,
        features: Float[Array, "examples height width {self.channels}"],
        *,
        average: Average = unaveraged,
        parts: int = 1,
    ) -> "tuple[PatchGan, PatchGan]":
        batch_normed = [i for i, stage in enumerate(self.stages) if isinstance(stage.norm, BatchNorm)]
        if not batch_normed:
            further = iterated(self)
            return further, further
        self._require_large(features.shape[1], features.shape[2])
        now, kept, x = list(self.stages), list(self.stages), features
        for i, stage in enumerate(self.stages):
            now[i], kept[i] = stage.training(x, average=average, parts=parts)
            if i < batch_normed[-1]:
                x = jax.vmap(now[i])(x)
        return self._with(now), self._with(kept)

    def _with(self, stages: list[ConvStage]) -> "PatchGan":
        return eqx.tree_at(lambda m: m.stages, self, tuple(stages))

    def _require_large(self, height: int, width: int) -> None:
        least = 3 * 2 ** (len(self.stages) - 1)
        if min(height, width) < least:
            raise ValueError(
                f"An image of {height}x{width} is too small for a PatchGan of layers={len(self.stages) - 1}: take "
                f"images whose shorter side has at least {least} pixels, or fewer layers."
            )


def _init(key: RandomKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    return _STD * jax.random.normal(key, shape, jnp.float32)


def _output(before: int, *, spectral: bool, key: RandomKey) -> WideConv2d | SpectralNorm:
    k_weight, k_vector = jax.random.split(key)
    conv = WideConv2d(before, 1, _KERNEL, padding=1, init=_init, key=k_weight)
    return SpectralNorm(conv, key=k_vector) if spectral else conv


def _conv(
    before: int, after: int, *, stride: int, bias: bool, spectral: bool, key: RandomKey
) -> Conv2d | SpectralNorm:
    k_weight, k_vector = jax.random.split(key)
    conv = Conv2d(before, after, _KERNEL, stride=stride, padding=1, bias=bias, init=_init, key=k_weight)
    return SpectralNorm(conv, key=k_vector) if spectral else conv


def _norm(norm: PatchNorm, width: int, key: RandomKey) -> BatchNorm | ActNorm | GroupNorm:
    if norm == "act":
        return ActNorm(width)
    if norm == "group":
        return GroupNorm(width, _GROUPS if width % _GROUPS == 0 else 1, eps=1e-5)
    made = BatchNorm(width)
    scale = 1 + _STD * jax.random.normal(jax.random.fold_in(key, 1), (width,), jnp.float32)
    return eqx.tree_at(lambda m: m.scale, made, scale)
