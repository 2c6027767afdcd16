"""Softmax attention as two kernels for TPUs, whose logits and probabilities never leave a core's own memory.

The forward kernel is the attention of `nn.sight.attended` for a block of queries and all keys at once; the backward
kernel computes the probabilities again from queries and keys, and with them all three gradients (the idea of Dao et al.
2022). Between the two nothing is kept but queries, keys and values.

The kernels take `[heads, head_dim, tokens]`: tokens, of which there are hundreds, lie along the 128 lanes of a vector,
which a head of 64 would fill by half, in main memory too. Their logits are `[keys, queries]`, so that maxima and sums
over keys are taken from vector to vector. The kernels of JAX itself state no varying axes of what they make, so that no
`shard_map` which checks these can trace them, and keep a vector of lanes for every row.
"""

import math
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Bool, Float, Int32

MOST_TOKENS = 4096
"""With more of them a block of logits has no room in a core's memory."""
_LANES = 128
_BLOCK_LOGITS = 2**18
"""In one block of queries, at most: a dozen arrays of them take several MiB of a core's memory."""
_BLOCK_BYTES = 2**19
"""Of queries, and of keys, in one block of heads, at most."""
_HIDDEN = float(jnp.finfo(jnp.float32).min)
_Hidden = Int32[Array, "keys queries"] | None


def flash_attention(
    q: Float[Array, "heads tokens dim"],
    k: Float[Array, "heads tokens dim"],
    v: Float[Array, "heads tokens dim"],
    seen: Bool[Array, "queries tokens"] | None,
) -> Float[Array, "heads tokens dim"]:
    """Softmax attention in float32 inside. `seen` has one row where every query sees the same keys.

    Raises ValueError for more tokens than `MOST_TOKENS`.
    """
    tokens = q.shape[1]
    if tokens > MOST_TOKENS:
        raise ValueError(
            f"Attention of kernel='pallas' takes at most {MOST_TOKENS} tokens, got {tokens}: use kernel='xla'."
        )
    block = _query_block(tokens)
    missing = -tokens % block  # zeros are put in their places, whose own gradient is zero
    q, k, v = (jnp.swapaxes(a, 1, 2) for a in (q, k, v))
    q = jnp.pad(q, ((0, 0), (0, 0), (0, missing)))
    hidden = None if seen is None else (~seen.T).astype(jnp.int32)
    if hidden is not None and hidden.shape[1] > 1:
        hidden = jnp.pad(hidden, ((0, 0), (0, missing)))
    y = cast(Array, _flash(q, k, v, hidden, block))
    return jnp.swapaxes(y[..., :tokens], 1, 2)


def _query_block(tokens: int) -> int:
    """How many queries are looked at together: all of them, or a multiple of the lanes."""
    most = max(_LANES, _BLOCK_LOGITS // tokens // _LANES * _LANES)
    blocks = math.ceil(tokens / most)
    return tokens if blocks == 1 else math.ceil(tokens / blocks / _LANES) * _LANES


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _flash(q: Array, k: Array, v: Array, hidden: _Hidden, block: int) -> Array:
    (y,) = _run(_forward, [q], [k, v], hidden, block, products=2)
    return y


def _flash_forward(
    q: Array, k: Array, v: Array, hidden: _Hidden, block: int
) -> tuple[Array, tuple[Array, Array, Array, _Hidden]]:
    # Not by `_flash`, in which what a layer keeps or computes again (`nn.stack`) could see no kernel.
    (y,) = _run(_forward, [q], [k, v], hidden, block, products=2)
    return y, (q, k, v, hidden)


def _flash_backward(
    block: int, kept: tuple[Array, Array, Array, _Hidden], dy: Array
) -> tuple[Array, Array, Array, None]:
    q, k, v, hidden = kept
    dq, dk, dv = _run(_backward, [q, dy], [k, v], hidden, block, products=5, gradients=True)
    return dq, dk, dv, None


_flash.defvjp(_flash_forward, _flash_backward)


def _run(
    kernel: Any,
    of_queries: list[Array],
    of_keys: list[Array],
    hidden: _Hidden,
    block: int,
    *,
    products: int,
    gradients: bool = False,
) -> tuple[Array, ...]:
    """Run `kernel` on each block of heads and, within it, of queries.

    It makes an array like the first of `of_queries`, and with `gradients` such as all `of_keys`.
    """
    heads, dim, queries = of_queries[0].shape
    keys = of_keys[0].shape[2]
    largest = _BLOCK_BYTES // (dim * max(block, keys) * of_keys[0].dtype.itemsize)
    together = max(count for count in range(1, heads + 1) if heads % count == 0 and count <= max(1, largest))
    per_query = pl.BlockSpec((together, dim, block), lambda h, i: (h, 0, i))
    per_key = pl.BlockSpec((together, dim, keys), lambda h, i: (h, 0, 0))
    given, specs = [*of_queries, *of_keys], [per_query] * len(of_queries) + [per_key] * len(of_keys)
    if hidden is not None:
        each = hidden.shape[1] > 1
        given.append(hidden)
        specs.append(pl.BlockSpec((keys, block if each else 1), lambda h, i: (0, i if each else 0)))
    made = [of_queries[0], *(of_keys if gradients else [])]
    pairs = heads * queries * keys
    call = pl.pallas_call(
        partial(kernel, masked=hidden is not None),
        grid=(heads // together, queries // block),
        in_specs=specs,
        out_specs=[per_query, *([per_key] * len(of_keys) if gradients else [])],
        out_shape=[jax.ShapeDtypeStruct.like(one) for one in made],
        scratch_shapes=[pltpu.VMEM((together, dim, keys), jnp.float32)] * (len(of_keys) if gradients else 0),
        cost_estimate=pl.CostEstimate(
            flops=2 * products * pairs * dim,
            transcendentals=pairs,
            bytes_accessed=sum(one.nbytes for one in (*given, *made)),
        ),
        name=f"attention{kernel.__name__}",
    )
    return tuple(call(*given))


def _forward(q: Any, k: Any, v: Any, *rest: Any, masked: bool) -> None:
    hidden, y = (rest[0], rest[1]) if masked else (None, rest[0])

    def head(h: Array, _: None) -> None:
        e, share = _exponentials(q[h], k[h], hidden)
        y[h] = (_product(v[h], e.astype(v.dtype)) * share).astype(y.dtype)

    jax.lax.fori_loop(0, q.shape[0], head, None)


def _backward(q: Any, dy: Any, k: Any, v: Any, *rest: Any, masked: bool) -> None:
    hidden = rest[0] if masked else None
    dq, dk, dv, sum_dk, sum_dv = rest[masked:]
    scale = 1.0 / q.shape[1] ** 0.5

    @pl.when(pl.program_id(1) == 0)
    def _():
        sum_dk[...] = jnp.zeros_like(sum_dk)
        sum_dv[...] = jnp.zeros_like(sum_dv)

    def head(h: Array, _: None) -> None:
        e, share = _exponentials(q[h], k[h], hidden)
        dp = _product(v[h], dy[h], (0, 0))
        mean = jnp.sum(e * dp, axis=0, keepdims=True) * share
        ds = _unless(hidden, e * (dp - mean), 0.0).astype(k.dtype)
        dq[h] = (_product(k[h], ds) * (share * scale)).astype(dq.dtype)
        sum_dk[h] += _product((q[h].astype(jnp.float32) * (share * scale)).astype(q.dtype), ds, (1, 1))
        sum_dv[h] += _product((dy[h].astype(jnp.float32) * share).astype(v.dtype), e.astype(v.dtype), (1, 1))

    jax.lax.fori_loop(0, q.shape[0], head, None)

    @pl.when(pl.program_id(1) == pl.num_programs(1) - 1)
    def _():
        dk[...] = sum_dk[...].astype(dk.dtype)
        dv[...] = sum_dv[...].astype(dv.dtype)


def _exponentials(q: Array, k: Array, hidden: Any) -> tuple[Array, Array]:
    """Of one head, the probabilities before they are divided by their sum, `[keys, queries]`, and 1 / that sum."""
    logits = _product(k, q, (0, 0)) * (1.0 / q.shape[0] ** 0.5)
    logits = _unless(hidden, logits, _HIDDEN)
    e = jnp.exp(logits - jnp.max(logits, axis=0, keepdims=True))
    return e, 1.0 / jnp.sum(e, axis=0, keepdims=True)


def _unless(hidden: Any, x: Array, other: float) -> Array:
    """`x`, and `other` for keys that are hidden."""
    if hidden is None:
        return x
    return jnp.where(jnp.broadcast_to(hidden[...] > 0, x.shape), other, x)


def _product(a: Array, b: Array, contracted: tuple[int, int] = (1, 0)) -> Array:
    """In float32, over one axis of each."""
    left, right = contracted
    # A product of bfloat16 is exact as it is, and the compiler of kernels knows no finer one.
    precision = jax.lax.Precision.DEFAULT if a.dtype == jnp.bfloat16 else None
    return jax.lax.dot_general(
        a, b, (((left,), (right,)), ((), ())), precision=precision, preferred_element_type=jnp.float32
    )
