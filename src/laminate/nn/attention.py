"""Multi-head self-attention."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from laminate.nn.dropout import dropout
from laminate.nn.flash import flash_attention
from laminate.nn.init import Initializer, trunc_normal
from laminate.nn.linear import Linear
from laminate.nn.norm import LayerNorm, RMSNorm
from laminate.nn.sight import Band, Padding, Sight, attended, probabilities
from laminate.types import RandomKey

AttentionKernel = Literal["xla", "cudnn", "pallas"]
Rotation = Callable[[Float[Array, "heads tokens head_dim"]], Float[Array, "heads tokens head_dim"]]
QkNorm = type[LayerNorm] | type[RMSNorm] | Callable[[int], LayerNorm | RMSNorm]


class Attention(eqx.Module):
    """Softmax attention with one fused query-key-value projection (Vaswani et al. 2017).

    `softmax(norm(q) norm(k)^T / sqrt(head_dim)) v` for each head. `qk_norm`, a norm over `head_dim` with a scale
    and no bias, keeps the logits bounded (Dehghani et al. 2023); `None` leaves it out, and a function of `head_dim`
    makes another one. Logits and softmax are float32, the probabilities are cast back to `x.dtype`. In a mask, True
    lets a query attend to a key; a `Padding` or a `Band` says the same without an array of all pairs, and the latter
    costs no more than its windows. A `rotate` (such as `Rotary`) turns queries and keys after their norm.

    `bias` is one answer for the three projections or one each for query, key and value (DINOv3 has none for keys);
    those that have one, if not all do, are the rows of `partial_bias`. `out_bias=None` follows the queries.

    `kernel="cudnn"` uses flash attention on NVIDIA GPUs, `kernel="pallas"` that of `nn.flash` on TPUs; JAX raises where
    it cannot. Neither takes a `Band`. `remat=True` recomputes the
    attention probabilities in the backward pass instead of keeping them.
    """

    qkv: Linear
    partial_bias: Float[Array, "biased inner"] | None
    out: Linear
    q_norm: LayerNorm | RMSNorm | None
    k_norm: LayerNorm | RMSNorm | None
    dim: int = eqx.field(static=True)
    heads: int = eqx.field(static=True)
    head_dim: int = eqx.field(static=True)
    biased: tuple[bool, bool, bool] = eqx.field(static=True)
    dropout_rate: float = eqx.field(static=True)
    kernel: AttentionKernel = eqx.field(static=True)
    remat: bool = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        head_dim: int | None = None,
        bias: bool | tuple[bool, bool, bool] = True,
        out_bias: bool | None = None,
        qk_norm: QkNorm | None = None,
        dropout_rate: float = 0.0,
        init: Initializer = trunc_normal(0.02),
        kernel: AttentionKernel = "xla",
        remat: bool = False,
        key: RandomKey,
    ):
        if head_dim is None and dim % heads:
            raise ValueError(
                f"dim={dim} cannot be split over heads={heads}: choose heads that divide dim, or pass head_dim."
            )
        k_qkv, k_out = jax.random.split(key)
        self.head_dim = dim // heads if head_dim is None else head_dim
        inner = heads * self.head_dim
        self.biased = (bias, bias, bias) if isinstance(bias, bool) else bias
        some = any(self.biased) and not all(self.biased)
        self.qkv = Linear(dim, 3 * inner, bias=all(self.biased), init=init, key=k_qkv)
        self.partial_bias = jnp.zeros((sum(self.biased), inner), jnp.float32) if some else None
        self.out = Linear(
            inner, dim, bias=self.biased[0] if out_bias is None else out_bias, init=init, key=k_out
        )
        make_norm = partial(qk_norm, eps=1e-6, bias=False) if isinstance(qk_norm, type) else qk_norm
        self.q_norm = None if make_norm is None else make_norm(self.head_dim)
        self.k_norm = None if make_norm is None else make_norm(self.head_dim)
        self.dim = dim
        self.heads = heads
        self.dropout_rate = dropout_rate
        self.kernel = kernel
        self.remat = remat

    @jax.named_scope("attention")
    def __call__(
        self,
        x: Float[Array, "tokens {self.dim}"],
        mask: Sight = None,
        rotate: Rotation | None = None,
        *,
        key: RandomKey | None = None,
    ) -> Float[Array, "tokens {self.dim}"]:
        q, k, v = self._project(x, rotate)
        attend = partial(_attend, kernel=self.kernel)
        attend = jax.checkpoint(attend) if self.remat else attend
        return dropout(self.out(attend(q, k, v, mask)), self.dropout_rate, key=key)

    def weights(
        self, x: Float[Array, "tokens {self.dim}"], mask: Sight = None, rotate: Rotation | None = None
    ) -> Float[Array, "{self.heads} tokens tokens"]:
        """The float32 attention probabilities of every head; rows are queries and sum to one."""
        q, k, _ = self._project(x, rotate)
        return probabilities(q, k, mask.pairs() if isinstance(mask, Padding | Band) else mask)

    def _project(self, x: Float[Array, "tokens dim"], rotate: Rotation | None) -> tuple[Array, Array, Array]:
        if x.dtype == jnp.float32:
            fused = self.qkv(x)
            if self.partial_bias is not None:
                fused = fused + jnp.broadcast_to(self._whole_bias(self.partial_bias), fused.shape)
            q, k, v = rearrange(fused, "t (three h d) -> three h t d", three=3, h=self.heads)
        else:  # with a bias on all thirds at once, a TPU would copy what a layer keeps, forward and backward
            thirds = zip(jnp.split(self.qkv.product(x), 3, axis=-1), self._biases(), strict=True)
            q, k, v = (self._heads(part, bias, x.dtype) for part, bias in thirds)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if rotate is not None:
            q, k = rotate(q), rotate(k)
        return q, k, v

    def _whole_bias(self, rows: Float[Array, "biased inner"]) -> Float[Array, " three_inner"]:
        given = iter(rows)
        return jnp.concatenate([next(given) if has else jnp.zeros_like(rows[0]) for has in self.biased])

    def _biases(self) -> list[Float[Array, " inner"] | None]:
        """Those of query, key and value."""
        if self.qkv.bias is not None:
            return list(jnp.split(self.qkv.bias, 3))
        given = iter(() if self.partial_bias is None else self.partial_bias)
        return [next(given) if has else None for has in self.biased]

    def _heads(
        self, part: Float[Array, "tokens inner"], bias: Float[Array, " inner"] | None, dtype: jnp.dtype
    ) -> Float[Array, "heads tokens head_dim"]:
        if bias is not None:
            part = part + jnp.broadcast_to(bias.astype(part.dtype), part.shape)
        return rearrange(part.astype(dtype), "t (h d) -> h t d", h=self.heads)


def _attend(
    q: Float[Array, "h t d"],
    k: Float[Array, "h t d"],
    v: Float[Array, "h t d"],
    mask: Sight,
    *,
    kernel: AttentionKernel,
) -> Float[Array, "t inner"]:
    if isinstance(mask, Band):
        if kernel != "xla":
            raise ValueError(f"Windows are attended to by kernel='xla', got kernel={kernel!r}.")
        return rearrange(mask.attend(q, k, v), "h t d -> t (h d)")
    if kernel == "pallas":
        seen = mask.keys()[None] if isinstance(mask, Padding) else mask
        return rearrange(flash_attention(q, k, v, seen), "h t d -> t (h d)")
    if isinstance(mask, Padding):
        mask = mask.pairs()
    if kernel == "xla":
        return rearrange(attended(q, k, v, mask), "h t d -> t (h d)")
    q, k, v = (rearrange(a, "h t d -> t h d") for a in (q, k, v))
    whole = None if mask is None else mask[None]
    y = jax.nn.dot_product_attention(q, k, v, mask=whole, implementation="cudnn")
    return rearrange(y, "t h d -> t (h d)")
