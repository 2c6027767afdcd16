"""Heads that judge the token maps of a frozen network, one head for each tap of it."""

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.discriminator import Discriminator
from laminate.nn import Average, Conv1d, GroupNorm, Initializer, SpectralNorm, iterated, unaveraged
from laminate.nn.init import lecun_normal_conv
from laminate.types import RandomKey, Tokens, exact

TokenNorm = Literal["bn", "gn"]

_SLOPE = 0.2
_GROUPS = 32


class HeadBlock(eqx.Module):
    """A circular convolution over the tokens with spectral norm, a norm, and a leaky ReLU of slope 0.2."""

    conv: SpectralNorm
    norm: GroupNorm

    def __call__(self, x: Tokens, *, key: RandomKey | None = None) -> Tokens:
        return jax.nn.leaky_relu(self.norm(self.conv(x)), _SLOPE)


class TokenHead(eqx.Module):
    """`[tokens, dim]` to one logit for each token: a block of kernel 1, a residual one, and a linear map.

    The residual block is `(f(x) + x) / sqrt(2)`. The map to the logit is computed in float32.
    """

    first: HeadBlock
    residual: HeadBlock
    output: SpectralNorm

    def __call__(self, x: Tokens, *, key: RandomKey | None = None) -> Float[Array, " tokens"]:
        x = self.first(x)
        x = (self.residual(x) + x) / math.sqrt(2)
        return self._logits(x)

    @exact
    def _logits(self, x: Tokens) -> Float[Array, " tokens"]:
        return self.output(x.astype(jnp.float32))[:, 0]


class DinoDiscriminator(Discriminator):
    """A head of its own for each of the token maps that a backbone gives (Sauer et al. 2023; RAE, FlatDINO).

    The maps are `[tokens, dim]`; the logits of all heads are joined, in their order. `norm="bn"` normalises every
    channel over the tokens of the example, `"gn"` groups of `dim / 32` channels, both with eps 1e-6: neither looks at
    other examples.

    Raises ValueError for no taps, an even kernel, a width that 32 groups do not divide, and at the call for another
    number of maps than heads.
    """

    heads: tuple[TokenHead, ...]

    def __init__(
        self,
        dim: int,
        taps: int = 5,
        *,
        kernel: int = 9,
        norm: TokenNorm = "bn",
        eps_under_root: bool = False,
        init: Initializer = lecun_normal_conv,
        key: RandomKey,
    ):
        if taps < 1:
            raise ValueError(f"A discriminator needs at least one map to judge, got taps={taps}.")
        if norm not in ("bn", "gn"):
            raise ValueError(f"norm={norm!r} is neither bn nor gn.")
        groups = dim if norm == "bn" else _GROUPS

        def conv(out: int, kernel: int, key: RandomKey) -> SpectralNorm:
            k_weight, k_vector = jax.random.split(key)
            made = Conv1d(dim, out, kernel, circular=True, init=init, key=k_weight)
            return SpectralNorm(made, eps_under_root=eps_under_root, key=k_vector)

        def head(key: RandomKey) -> TokenHead:
            k_first, k_residual, k_output = jax.random.split(key, 3)
            return TokenHead(
                HeadBlock(conv(dim, 1, k_first), GroupNorm(dim, groups)),
                HeadBlock(conv(dim, kernel, k_residual), GroupNorm(dim, groups)),
                conv(1, 1, k_output),
            )

        self.heads = tuple(head(k_head) for k_head in jax.random.split(key, taps))

    @jax.named_scope("dino_discriminator")
    def __call__(
        self, features: tuple[Tokens, ...], *, key: RandomKey | None = None
    ) -> Float[Array, " logits"]:
        if len(features) != len(self.heads):
            raise ValueError(f"{len(self.heads)} heads were given {len(features)} maps: one each is wanted.")
        return jnp.concatenate([head(x) for head, x in zip(self.heads, features, strict=True)])

    def training(
        self,
        features: tuple[Float[Array, "examples tokens dim"], ...],
        *,
        average: Average = unaveraged,
        parts: int = 1,
    ) -> "tuple[DinoDiscriminator, DinoDiscriminator]":
        further = iterated(self)
        return further, further
