"""Which tokens see which: an array of all pairs, padding alone, or windows that cost what windows cost."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Mask = Bool[Array, "queries keys"]

_BLOCKS = 16, 128
"""Fewest and most queries that are looked at together: small ones waste little, large ones keep a matrix unit busy."""


class Padding(eqx.Module):
    """Keys that are padding are seen by nobody. `prefix` tokens stand in front of the patches and are no padding.

    What a token of padding sees itself does not matter, since nobody sees it; it is finite.
    """

    valid: Bool[Array, " patches"]
    prefix: int = eqx.field(static=True, default=0)

    def keys(self) -> Bool[Array, " tokens"]:
        """Whether each token may be seen."""
        return jnp.pad(self.valid, (self.prefix, 0), constant_values=True)

    def pairs(self) -> Mask:
        keys = self.keys()
        return jnp.broadcast_to(keys[None], (keys.shape[0], keys.shape[0]))


class Band(eqx.Module):
    """A patch sees those whose `place` differs from its own by at most `window` along every axis, and no padding.

    The `prefix` tokens in front see everything and are seen by everyone. In the order of `order` two patches that see
    each other are at most `reach` apart; so blocks of queries look at a few blocks of keys around them, and no array of
    all pairs is ever made (Beltagy et al. 2020). Made by `raster_band` and `grid_band`.
    """

    place: Int[Array, "patches axes"]
    valid: Bool[Array, " patches"]
    order: Int[Array, " patches"]
    window: int = eqx.field(static=True)
    reach: int = eqx.field(static=True)
    prefix: int = eqx.field(static=True)

    def keys(self) -> Bool[Array, " tokens"]:
        """Whether each token may be seen by those who see everything."""
        return jnp.pad(self.valid, (self.prefix, 0), constant_values=True)

    def pairs(self) -> Mask:
        """The same as one array, for few tokens."""
        seen = self._seen(self.place, self.place, self.valid)
        seen = jnp.pad(seen, ((self.prefix, 0), (self.prefix, 0)), constant_values=True)
        return seen & self.keys()[None]

    @property
    def block(self) -> int:
        """How many queries look at the same keys."""
        fewest, most = _BLOCKS
        return max(fewest, min(most, self.reach))

    @property
    def seen_by_block(self) -> int:
        """How many keys, beside those in front, a block of queries looks at."""
        return (2 * math.ceil(self.reach / self.block) + 1) * self.block

    @jax.named_scope("band")
    def attend(
        self, q: Float[Array, "h tokens d"], k: Float[Array, "h tokens d"], v: Float[Array, "h tokens d"]
    ) -> Float[Array, "h tokens d"]:
        """The softmax attention of every head. An array of all pairs is made only if it is the smaller one."""
        count = self.order.shape[0]
        if self.seen_by_block >= count:
            return attended(q, k, v, self.pairs())
        front = self.prefix
        sorted_q, sorted_k, sorted_v = (a[:, front:][:, self.order] for a in (q, k, v))
        place, valid = self.place[self.order], self.valid[self.order]
        queries, keys = self._blocks, self._neighbours
        seen = jax.vmap(self._seen)(queries(place), keys(place), keys(valid))
        seen = jnp.pad(seen, ((0, 0), (0, 0), (front, 0)), constant_values=True)

        def head(q: Array, k: Array, v: Array, k_front: Array, v_front: Array) -> Array:
            k, v = (
                jnp.concatenate([jnp.broadcast_to(f[None], (a.shape[0], *f.shape)), a], axis=1)
                for f, a in ((k_front, keys(k)), (v_front, keys(v)))
            )
            return attended(queries(q), k, v, seen).reshape(-1, q.shape[-1])[:count]

        patches = jax.vmap(head)(sorted_q, sorted_k, sorted_v, k[:, :front], v[:, :front])
        back = jnp.zeros_like(self.order).at[self.order].set(jnp.arange(count, dtype=self.order.dtype))
        patches = patches[:, back]
        if not front:
            return patches
        everyone = jnp.broadcast_to(self.keys()[None], (front, k.shape[1]))
        return jnp.concatenate([attended(q[:, :front], k, v, everyone), patches], axis=1)

    def _seen(
        self, queries: Int[Array, "q axes"], keys: Int[Array, "k axes"], valid: Bool[Array, " k"]
    ) -> Bool[Array, "q k"]:
        apart = jnp.abs(queries[:, None] - keys[None])
        return jnp.all(apart <= self.window, axis=-1) & valid[None]

    def _blocks(self, x: Array) -> Array:
        """`[tokens, ...]` as `[blocks, block, ...]`, the last one filled up with zeros."""
        count = math.ceil(x.shape[0] / self.block)
        filled = jnp.pad(x, [(0, count * self.block - x.shape[0]), *[(0, 0)] * (x.ndim - 1)])
        return filled.reshape(count, self.block, *x.shape[1:])

    def _neighbours(self, x: Array) -> Array:
        """Of every block, itself and those around it that `reach` touches, as `[blocks, keys, ...]`."""
        blocks, around = self._blocks(x), math.ceil(self.reach / self.block)
        wide = jnp.pad(blocks, [(around, around), *[(0, 0)] * (blocks.ndim - 1)])
        shifted = [wide[i : i + len(blocks)] for i in range(2 * around + 1)]
        return jnp.concatenate(shifted, axis=1)


Sight = Mask | Padding | Band | None
"""What `Attention` takes for a mask."""


def raster_band(valid: Bool[Array, " patches"], window: int, *, prefix: int = 0) -> Band:
    """Windows along the sequence: patch `i` sees `i - window` to `i + window`. Raises ValueError for no window."""
    _require_window(window)
    number = jnp.arange(valid.shape[0], dtype=jnp.int32)
    return Band(number[:, None], valid, number, window, window, prefix)


def grid_band(
    row: Int[Array, " patches"],
    col: Int[Array, " patches"],
    valid: Bool[Array, " patches"],
    window: int,
    *,
    prefix: int = 0,
) -> Band:
    """Windows on the grid: a patch sees those at most `window` rows and `window` columns away.

    The patches are those of one grid of any shape, each once. Sorted with its shorter side as the fast axis, which has
    at most the root of their number, a window spans `window` such lines; so the cost grows with `window` times
    that root. Raises ValueError for no window.
    """
    _require_window(window)
    tall = jnp.max(jnp.where(valid, row, 0)) >= jnp.max(jnp.where(valid, col, 0))
    slow, fast = jnp.where(tall, row, col), jnp.where(tall, col, row)
    order = jnp.lexsort((fast, slow, ~valid)).astype(jnp.int32)
    place = jnp.stack([row, col], axis=-1).astype(jnp.int32)
    shorter = math.isqrt(valid.shape[0])
    return Band(place, valid, order, window, window * (shorter + 1), prefix)


def attended(
    q: Float[Array, "... q d"],
    k: Float[Array, "... k d"],
    v: Float[Array, "... k d"],
    seen: Mask | Array | None,
) -> Float[Array, "... q d"]:
    """Softmax attention: float32 probabilities, cast to the dtype of `v`."""
    return jnp.einsum("...qk,...kd->...qd", probabilities(q, k, seen).astype(v.dtype), v)


def probabilities(
    q: Float[Array, "... q d"], k: Float[Array, "... k d"], seen: Bool[Array, "... q k"] | None
) -> Float[Array, "... q k"]:
    """`softmax(q k^T / sqrt(d))` in float32 over the keys that are seen; over all of them where none is."""
    logits = jnp.einsum("...qd,...kd->...qk", q, k, preferred_element_type=jnp.float32) / (q.shape[-1] ** 0.5)
    if seen is not None:
        logits = jnp.where(jnp.broadcast_to(seen, logits.shape), logits, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(logits, axis=-1)


def _require_window(window: int) -> None:
    if window < 1:
        raise ValueError(
            f"A window reaches at least one token to each side, got window={window}; leave it out."
        )
