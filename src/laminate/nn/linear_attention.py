"""Attention whose cost grows with the tokens and not with their square."""

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.nn.conv import Conv2d, DepthwiseConv2d
from laminate.nn.init import Initializer, lecun_normal
from laminate.nn.linear import Linear
from laminate.types import RandomKey

_EPS = 1e-15


class Surroundings(eqx.Module):
    """Every place of an image with those around it: each channel convolved alone, then linear maps of `width` channels.

    So the queries, keys and values of more heads are made of those of others (Cai et al. 2023, multi-scale tokens).
    Without biases. Raises ValueError for an even kernel.
    """

    depthwise: DepthwiseConv2d
    mix: Conv2d

    def __init__(self, channels: int, kernel: int, *, width: int, key: RandomKey):
        k_depthwise, k_mix = jax.random.split(key)
        self.depthwise = DepthwiseConv2d(channels, kernel, bias=False, key=k_depthwise)
        self.mix = Conv2d(channels, channels, 1, groups=channels // width, bias=False, key=k_mix)

    @jax.named_scope("surroundings")
    def __call__(
        self, x: Float[Array, "rows columns channels"], *, key: RandomKey | None = None
    ) -> Float[Array, "rows columns channels"]:
        return self.mix(self.depthwise(x))


class LinearAttention(eqx.Module):
    """Multi-head attention with `relu(q) . relu(k)` in the place of the softmax (Cai et al. 2023, EfficientViT).

    `o_i = sum_j (q_i . k_j) v_j / (sum_j q_i . k_j + 1e-15)`: the sums over `j` are taken once for all `i`, unless
    there are fewer tokens than numbers in a head. The fused map gives query, key and value head by head, without
    biases. Sums and division are float32, products have the dtype of `x`.

    The tokens may lie in any axes. With `kernels` they are the places of an image, and for each kernel there are as
    many heads again, that of `Surroundings` of what the fused map gave. `heads` is `dim / head_dim` if None.

    Raises ValueError if `head_dim` does not divide `dim` and `heads` is None, and for no heads.
    """

    qkv: Linear
    around: tuple[Surroundings, ...]
    out: Linear
    dim: int = eqx.field(static=True)
    head_dim: int = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        *,
        head_dim: int = 32,
        heads: int | None = None,
        kernels: Sequence[int] = (),
        init: Initializer = lecun_normal,
        key: RandomKey,
    ):
        if heads is None and (head_dim < 1 or dim % head_dim):
            raise ValueError(f"head_dim={head_dim} must divide the width {dim}: heads are equally wide.")
        heads = dim // head_dim if heads is None else heads
        if heads < 1:
            raise ValueError(f"Attention needs heads, got heads={heads} of {head_dim} numbers.")
        k_qkv, k_out, *k_around = jax.random.split(key, 2 + len(kernels))
        inner = heads * head_dim
        self.qkv = Linear(dim, 3 * inner, bias=False, init=init, key=k_qkv)
        self.around = tuple(
            Surroundings(3 * inner, kernel, width=head_dim, key=k)
            for kernel, k in zip(kernels, k_around, strict=True)
        )
        self.out = Linear((1 + len(kernels)) * inner, dim, bias=False, init=init, key=k_out)
        self.dim = dim
        self.head_dim = head_dim

    @jax.named_scope("linear_attention")
    def __call__(
        self, x: Float[Array, "*places {self.dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "*places {self.dim}"]:
        if self.around and x.ndim != 3:
            raise ValueError(
                f"Heads that look around a place need rows and columns of them, and the shape is {x.shape}."
            )
        places, qkv = x.shape[:-1], self.qkv(x)
        mapped = jnp.concatenate([qkv, *(around(qkv) for around in self.around)], axis=-1)
        tokens = math.prod(places)
        q, k, v = jnp.split(mapped.reshape(tokens, -1, 3 * self.head_dim), 3, axis=-1)
        attend = attend_by_pairs if tokens <= self.head_dim else attend_by_sums
        attended = attend(jax.nn.relu(q), jax.nn.relu(k), v)
        return self.out(attended.astype(x.dtype).reshape(*places, self.out.in_dim))


def attend_by_sums(
    q: Float[Array, "queries heads head_dim"],
    k: Float[Array, "keys heads head_dim"],
    v: Float[Array, "keys heads value_dim"],
) -> Float[Array, "queries heads value_dim"]:
    """`q` by the sum of `k v` over all keys: `tokens head_dim^2` products for a head; float32."""
    wide = jnp.float32
    values = jnp.einsum("khd,khe->hde", k, v, preferred_element_type=wide).astype(q.dtype)
    total = jnp.sum(k.astype(wide), axis=0)
    # Rounded already, and widened again: XLA's CPU backend has no such product of bfloat16 numbers into float32 ones.
    q = q.astype(wide)
    numerator = jnp.einsum("qhd,hde->qhe", q, values.astype(wide))
    return _divided(numerator, jnp.einsum("qhd,hd->qh", q, total))


def attend_by_pairs(
    q: Float[Array, "queries heads head_dim"],
    k: Float[Array, "keys heads head_dim"],
    v: Float[Array, "keys heads value_dim"],
) -> Float[Array, "queries heads value_dim"]:
    """The same from the products of all pairs: `tokens^2 head_dim` of them for a head; float32."""
    wide = jnp.float32
    weights = jnp.einsum("qhd,khd->hqk", q, k, preferred_element_type=wide)
    numerator = jnp.einsum("hqk,khe->qhe", weights.astype(v.dtype), v, preferred_element_type=wide)
    return _divided(numerator, jnp.sum(weights, axis=-1).T)


def _divided(numerator: Float[Array, "q h e"], denominator: Float[Array, "q h"]) -> Float[Array, "q h e"]:
    return numerator / jnp.broadcast_to(denominator[..., None] + _EPS, numerator.shape)
