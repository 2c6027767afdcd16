"""Finite scalar quantisation (Mentzer et al. 2023): a fixed grid of codes, nothing to learn."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float, Float32, Int, Int32

from laminate.bottlenecks.base import Bottleneck
from laminate.types import Codes, Indices, Latents, RandomKey

_LARGEST_INT32 = 2**31 - 1


class Quantised(NamedTuple):
    """What a quantiser knows of one example beside its codes.

    `indices` int32 `[latents]`: position of each token's code in the codebook; of several codebooks
    `[latents, codebooks]`.
    `continuous` float32 `[latents, channels]`: the encoder's numbers before bounding and rounding.
    """

    indices: Indices
    continuous: Latents


def _checked_levels(levels: tuple[int, ...], eps: float) -> tuple[int, ...]:
    if not 0.0 < eps < 1.0:
        raise ValueError(f"Fsq: eps must lie between 0 and 1, got {eps}.")
    if not levels:
        raise ValueError("Fsq: levels is empty; name at least one channel, for example (8, 5, 5, 5).")
    if min(levels) < 2:
        raise ValueError(f"Fsq: every level must be at least 2, got {levels}.")
    if (max(levels) - 1) * eps >= 1.0:
        raise ValueError(
            f"Fsq: with eps={eps} the outermost codes of {max(levels)} levels are never reached; "
            f"levels must be below {1.0 / eps + 1.0:g}, got {levels}. Use more channels or a smaller eps."
        )
    if math.prod(levels) > _LARGEST_INT32:
        raise ValueError(
            f"Fsq: the codebook of levels {levels} has {math.prod(levels)} entries, more than an int32 index "
            f"counts ({_LARGEST_INT32}). Use fewer channels or smaller levels."
        )
    return levels


class Fsq(Bottleneck[Quantised]):
    """Bounds each channel, rounds it to one of `levels` values, and passes the gradient straight through.

    For a channel of `L` levels, `half_l = (L - 1) (1 - eps) / 2`, `offset = 1/2` for even `L` and 0 for odd,
    `bound(z) = tanh(z + shift) half_l - offset`, `code = round(bound(z)) / floor(L / 2)`, ties to even.
    Codes lie in [-1, 1] for odd `L` and in [-1, 1 - 2/L] for even `L`. The first channel is the least
    significant digit of the index.

    With several `codebooks`, the channels of a token are that many groups of `levels`, one after the other, and
    each group has an index of its own: a product code, for tokens of more bits than one int32 counts.

    `shift = arctan(offset / half_l)` is what the published FlatDINO models were trained with. The FSQ paper
    has `arctanh` there, which would send 0 to 0.

    Everything is float32 inside, whatever the dtype of the tokens. There is no auxiliary loss.
    """

    levels: tuple[int, ...] = eqx.field(static=True)
    codebooks: int = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    in_features: int = eqx.field(static=True)
    out_features: int = eqx.field(static=True)

    def __init__(self, levels: tuple[int, ...], *, codebooks: int = 1, eps: float = 1e-3):
        """Raises ValueError when a level is below 2 or unreachable, a codebook exceeds int32, or there is none."""
        if codebooks < 1:
            raise ValueError(f"Fsq: a token needs at least one codebook, got codebooks={codebooks}.")
        self.levels = _checked_levels(levels, eps)
        self.codebooks = codebooks
        self.eps = eps
        self.in_features = self.out_features = codebooks * len(levels)

    @property
    def codebook_size(self) -> int:
        """The number of distinct codes of a codebook, the product of the levels."""
        return math.prod(self.levels)

    @property
    def basis(self) -> Int32[np.ndarray, " channels"]:
        """The weight of each channel of a codebook in its index: 1, L0, L0 L1, ..."""
        return np.cumprod((1, *self.levels[:-1]), dtype=np.int32)

    @property
    def channel_levels(self) -> Int32[np.ndarray, " channels"]:
        """The levels of every channel of a token, codebook after codebook."""
        return np.tile(np.asarray(self.levels, np.int32), self.codebooks)

    @property
    def half_width(self) -> Int32[np.ndarray, " channels"]:
        """`floor(L / 2)`: the scale of the codes, and the integer offset of the digits."""
        return self.channel_levels // 2

    @property
    def half_l(self) -> Float32[np.ndarray, " channels"]:
        """`(L - 1) (1 - eps) / 2`: the amplitude of the bounded channel."""
        return ((self.channel_levels.astype(np.float64) - 1) * (1 - self.eps) / 2).astype(np.float32)

    @property
    def offset(self) -> Float32[np.ndarray, " channels"]:
        """One half for an even number of levels, zero for an odd one."""
        return np.where(self.channel_levels % 2 == 0, np.float32(0.5), np.float32(0.0))

    @property
    def shift(self) -> Float32[np.ndarray, " channels"]:
        """`arctan(offset / half_l)`, added before tanh."""
        return np.arctan(self.offset / self.half_l)

    def bound(
        self, z: Float[Array, "*shape {self.in_features}"]
    ) -> Float[Array, "*shape {self.in_features}"]:
        """`tanh(z + shift) * half_l - offset` in float32: a channel of `L` levels rounds to `L` integers."""
        shift, half_l, offset = (self._along_last(c, z.ndim) for c in (self.shift, self.half_l, self.offset))
        return jnp.tanh(z.astype(jnp.float32) + shift) * half_l - offset

    def codes(
        self, z: Float[Array, "*shape {self.in_features}"]
    ) -> Float[Array, "*shape {self.in_features}"]:
        """The code nearest to the bounded `z`; its gradient is that of `bound(z) / half_width`."""
        bounded = self.bound(z)
        held = jax.lax.stop_gradient(bounded)
        rounded = jnp.round(held) + (bounded - held)  # the bracket is exactly zero, its derivative one
        return rounded / self._along_last(self.half_width.astype(np.float32), z.ndim)

    def indices_from_codes(
        self, codes: Float[Array, "*shape {self.in_features}"]
    ) -> Int[Array, "*shape_codebooks"]:
        """The codebook position (int32) of each code; the inverse of `codes_from_indices`.

        `[...]` of codes `[..., channels]`, and `[..., codebooks]` where a token has several.
        """
        half_width = self._along_last(self.half_width, codes.ndim)
        scaled = jnp.round(codes.astype(jnp.float32) * half_width.astype(jnp.float32)).astype(jnp.int32)
        digits = rearrange(scaled + half_width, "... (books each) -> ... books each", books=self.codebooks)
        indices = jnp.sum(digits * self._along_last(self.basis, digits.ndim), axis=-1, dtype=jnp.int32)
        return indices[..., 0] if self.codebooks == 1 else indices

    def codes_from_indices(
        self, indices: Int[Array, "*shape_codebooks"]
    ) -> Float[Array, "*shape {self.in_features}"]:
        """The code (float32) at each codebook position. Positions outside the codebook wrap around."""
        indices = indices[..., None] if self.codebooks == 1 else indices
        columns = indices.astype(jnp.int32)[..., None]
        basis, levels = (
            self._along_last(c, columns.ndim) for c in (self.basis, np.asarray(self.levels, np.int32))
        )
        digits = rearrange((columns // basis) % levels, "... books each -> ... (books each)")
        half_width = self._along_last(self.half_width, digits.ndim)
        return (digits - half_width).astype(jnp.float32) / half_width.astype(jnp.float32)

    def __call__(
        self, tokens: Float[Array, "latents {self.in_features}"], *, key: RandomKey | None = None
    ) -> tuple[Codes, Quantised]:
        """The codes `[latents, channels]` in float32, and their indices. The key is not used."""
        codes = self.codes(tokens)
        indices = self.indices_from_codes(jax.lax.stop_gradient(codes))
        return codes, Quantised(indices, tokens.astype(jnp.float32))

    def _along_last(self, constant: np.ndarray, ndim: int) -> Array:
        return jnp.asarray(constant.reshape((1,) * (ndim - 1) + (-1,)))
