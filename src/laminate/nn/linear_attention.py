"""Attention whose cost grows with the tokens and not with their square."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.nn.init import Initializer, lecun_normal
from laminate.nn.linear import Linear
from laminate.types import RandomKey

_EPS = 1e-15


class LinearAttention(eqx.Module):
    """Multi-head attention with `relu(q) . relu(k)` in the place of the softmax (Cai et al. 2023, EfficientViT).

    `o_i = sum_j (q_i . k_j) v_j / (sum_j q_i . k_j + 1e-15)`: the sums over `j` are taken once for all `i`, unless
    there are fewer tokens than numbers in a head. The fused map gives query, key and value head by head, without
    biases. Sums and division are float32, products have the dtype of `x`.

    Raises ValueError if `head_dim` does not divide `dim`.
    """

    qkv: Linear
    out: Linear
    dim: int = eqx.field(static=True)
    head_dim: int = eqx.field(static=True)

    def __init__(self, dim: int, *, head_dim: int = 32, init: Initializer = lecun_normal, key: RandomKey):
        if head_dim < 1 or dim % head_dim:
            raise ValueError(f"head_dim={head_dim} must divide the width {dim}: heads are equally wide.")
        k_qkv, k_out = jax.random.split(key)
        self.qkv = Linear(dim, 3 * dim, bias=False, init=init, key=k_qkv)
        self.out = Linear(dim, dim, bias=False, init=init, key=k_out)
        self.dim = dim
        self.head_dim = head_dim

    @jax.named_scope("linear_attention")
    def __call__(
        self, x: Float[Array, "tokens {self.dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "tokens {self.dim}"]:
        tokens = x.shape[0]
        q, k, v = jnp.split(self.qkv(x).reshape(tokens, -1, 3 * self.head_dim), 3, axis=-1)
        attend = attend_by_pairs if tokens <= self.head_dim else attend_by_sums
        attended = attend(jax.nn.relu(q), jax.nn.relu(k), v)
        return self.out(attended.astype(x.dtype).reshape(tokens, self.dim))


def attend_by_sums(
    q: Float[Array, "queries heads head_dim"],
    k: Float[Array, "keys heads head_dim"],
    v: Float[Array, "keys heads value_dim"],
) -> Float[Array, "queries heads value_dim"]:
    """`q` by the sum of `k v` over all keys: `tokens head_dim^2` products for a head; float32."""
    wide = jnp.float32
    values = jnp.einsum("khd,khe->hde", k, v, preferred_element_type=wide).astype(q.dtype)
    total = jnp.sum(k.astype(wide), axis=0)
    numerator = jnp.einsum("qhd,hde->qhe", q, values, preferred_element_type=wide)
    return _divided(numerator, jnp.einsum("qhd,hd->qh", q.astype(wide), total))


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
