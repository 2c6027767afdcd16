"""One vector from many tokens, by attention from a learned query."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.nn import LayerNorm, Linear, Mlp, gelu_tanh, trunc_normal
from laminate.types import RandomKey


class AttentionPool(eqx.Module):
    """`y + mlp(norm(y))` with `y` the attention of a learned probe over the tokens (Zhai et al. 2022).

    `tokens dim` becomes `dim`. Logits and softmax are float32. Raises ValueError if `heads` does not divide `dim`.
    """

    probe: Float[Array, "1 dim"]
    qkv: Linear
    out: Linear
    norm: LayerNorm
    mlp: Mlp
    dim: int = eqx.field(static=True)
    heads: int = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        activation: Callable[[Array], Array] = gelu_tanh,
        eps: float = 1e-6,
        key: RandomKey,
    ):
        if dim % heads:
            raise ValueError(f"dim={dim} cannot be split over heads={heads}: choose heads that divide dim.")
        k_probe, k_qkv, k_out, k_mlp = jax.random.split(key, 4)
        init = trunc_normal(0.02)
        self.probe = init(k_probe, (1, dim))
        self.qkv = Linear(dim, 3 * dim, init=init, key=k_qkv)
        self.out = Linear(dim, dim, init=init, key=k_out)
        self.norm = LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, hidden, activation=activation, key=k_mlp)
        self.dim = dim
        self.heads = heads

    @jax.named_scope("attention_pool")
    def __call__(
        self, tokens: Float[Array, "tokens {self.dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, " {self.dim}"]:
        split = (-1, 3, self.heads, self.dim // self.heads)
        q = self.qkv(self.probe.astype(tokens.dtype)).reshape(split)[0, 0]
        projected = self.qkv(tokens).reshape(split)
        k, v = projected[:, 1], projected[:, 2]
        logits = jnp.einsum("hd,thd->ht", q, k, preferred_element_type=jnp.float32) / (q.shape[-1] ** 0.5)
        weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
        y = self.out(jnp.einsum("ht,thd->hd", weights, v).reshape(1, self.dim))
        return (y + self.mlp(self.norm(y)))[0]
