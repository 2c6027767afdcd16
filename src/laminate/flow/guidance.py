"""Guidance: from velocities to a velocity."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from laminate.flow.path import State, Velocity
from laminate.types import RandomKey, Scalar

Conditional = Callable[[Any, Scalar, Int[Array, ""]], Any]
"""`(state, t, label) -> d state / d t`."""


class Interval(eqx.Module):
    """The times between `low` and `high` (Kynkäänniemi et al. 2024): without them, or with both if `closed`.

    The bounds are on the time that the network sees. FlatDINO's are open, so that noise itself is never guided
    even by (0, 1); RAE's and LightningDiT's are closed. Raises ValueError unless `0 <= low <= high <= 1`.
    """

    low: Float[Array, ""]
    high: Float[Array, ""]
    closed: bool = eqx.field(static=True)

    def __init__(self, low: float = 0.0, high: float = 1.0, *, closed: bool = False):
        if not 0.0 <= low <= high <= 1.0:
            raise ValueError(f"A guidance interval lies in [0, 1] from low to high, got ({low}, {high}).")
        self.low = jnp.asarray(low, jnp.float32)
        self.high = jnp.asarray(high, jnp.float32)
        self.closed = closed

    def contains(self, t: Scalar) -> Bool[Array, ""]:
        if self.closed:
            return (self.low <= t) & (t <= self.high)
        return (self.low < t) & (t < self.high)


def classifier_free_guidance(
    network: Conditional,
    label: Int[Array, ""],
    null_label: int | Int[Array, ""],
    *,
    scale: float | Scalar,
    interval: Interval | None = None,
    channels: int | None = None,
    rescale: float | Scalar = 0.0,
    everywhere: bool = False,
) -> Velocity:
    """`v_null + scale (v_label - v_null)` inside `interval`, `v_label` outside (Ho & Salimans 2022).

    `channels` guides only the first so many channels, as LightningDiT does with 3. Inside, both branches are one
    batched pass; outside, the second is not computed. `rescale` is the share of the guided velocity that is brought
    back to the standard deviation of `v_label`, which large scales exceed (Lin et al. 2024). `scale` and the bounds may
    be traced. The result is float32.
    `everywhere` compiles no choice: both branches at all times, whatever the interval.

    Raises ValueError for a negative scale.
    """
    _require_scale(scale)
    if isinstance(rescale, int | float) and not 0.0 <= rescale <= 1.0:
        raise ValueError(f"rescale is a share of the guided velocity, from 0 to 1, got {rescale}.")
    inside = Interval() if interval is None else interval
    labels = jnp.stack([jnp.asarray(label, jnp.int32), jnp.asarray(null_label, jnp.int32)])

    def velocity(x: State, t: Scalar) -> State:
        def both() -> State:
            pair = jax.vmap(lambda one: network(x, t, one))(labels)
            guided = jax.tree.map(lambda v: _extrapolated(v[1], v[0], scale, channels), pair)
            if isinstance(rescale, int | float) and rescale == 0:
                return guided
            return jax.tree.map(lambda v, g: _rescaled(g, v[0], rescale), pair, guided)

        if everywhere:
            return both()
        return jax.lax.cond(inside.contains(t), both, lambda: _wide(network(x, t, labels[0])))

    return velocity


def autoguidance(
    strong: Velocity, weak: Velocity, *, scale: float | Scalar, interval: Interval | None = None
) -> Velocity:
    """`v_weak + scale (v_strong - v_weak)` inside `interval`, `v_strong` outside (Karras et al. 2024).

    Outside, the weak network is not evaluated. The result is float32. Raises ValueError for a negative scale.
    """
    _require_scale(scale)
    inside = Interval(closed=True) if interval is None else interval

    def velocity(x: State, t: Scalar) -> State:
        of_strong = _wide(strong(x, t))
        return jax.lax.cond(
            inside.contains(t),
            lambda: jax.tree.map(lambda w, s: _extrapolated(w, s, scale, None), weak(x, t), of_strong),
            lambda: of_strong,
        )

    return velocity


def drop_label(
    label: Int[Array, ""], null_label: int, *, rate: float, key: RandomKey | None
) -> Int[Array, ""]:
    """`null_label` with probability `rate`, else `label`: what trains the unconditional branch of guidance."""
    if key is None or rate == 0.0:
        return label
    return jnp.where(jax.random.bernoulli(key, rate), jnp.asarray(null_label, label.dtype), label)


def _extrapolated(
    away: Float[Array, "..."], towards: Float[Array, "..."], scale: float | Scalar, channels: int | None
) -> Float[Array, "..."]:
    away, towards = away.astype(jnp.float32), towards.astype(jnp.float32)
    guided = away + jnp.asarray(scale, jnp.float32) * (towards - away)
    if channels is None:
        return guided
    return jnp.concatenate([guided[..., :channels], towards[..., channels:]], axis=-1)


def _rescaled(
    guided: Float[Array, "..."], towards: Float[Array, "..."], share: float | Scalar
) -> Float[Array, "..."]:
    """`guided` times `share std(towards) / std(guided) + 1 - share`."""
    wanted, found = jnp.std(towards.astype(jnp.float32)), jnp.std(guided)
    ratio = wanted / jnp.maximum(found, jnp.finfo(jnp.float32).tiny)
    return guided * (jnp.asarray(share, jnp.float32) * ratio + (1.0 - share))


def _wide(tree: State) -> State:
    return jax.tree.map(lambda a: a.astype(jnp.float32), tree)


def _require_scale(scale: float | Scalar) -> None:
    if isinstance(scale, int | float) and scale < 0:
        raise ValueError(f"A guidance scale must not be negative, got scale={scale}; 1 is no guidance.")
