"""Embeddings of the diffusion time and of the class label."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from laminate.nn.init import Initializer, trunc_normal
from laminate.nn.linear import Linear
from laminate.types import Buffer, Float32Params, RandomKey, Scalar, exact


class FourierFeatures(eqx.Module):
    """`[sin(2 pi t w) | cos(2 pi t w)]` with fixed `w ~ N(0, 1)` (Tancik et al. 2020). `w` is never trained."""

    frequencies: Buffer
    dim: int = eqx.field(static=True)

    def __init__(self, frequencies: int = 256, *, key: RandomKey):
        self.frequencies = Buffer(jax.random.normal(key, (frequencies,), jnp.float32))
        self.dim = 2 * frequencies

    def __call__(self, t: Scalar) -> Float[Array, " {self.dim}"]:
        angles = 2.0 * np.pi * t * self.frequencies.value
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])


class SinusoidalFeatures(eqx.Module):
    """`[cos(t f) | sin(t f)]` with `f_i = 10000^(-2i / dim)` (Vaswani et al. 2017), of the unscaled time.

    Raises ValueError if `dim` is odd.
    """

    frequencies: Buffer
    dim: int = eqx.field(static=True)

    def __init__(self, dim: int = 256):
        if dim % 2:
            raise ValueError(f"Sinusoidal features come in pairs, got dim={dim}: choose an even one.")
        powers = 10000.0 ** (-2.0 * np.arange(dim // 2, dtype=np.float64) / dim)
        self.frequencies = Buffer(jnp.asarray(powers, jnp.float32))
        self.dim = dim

    def __call__(self, t: Scalar) -> Float[Array, " {self.dim}"]:
        angles = t * self.frequencies.value
        return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)])


class TimeEmbed(Float32Params):
    """`second(silu(first(features(t))))`, in float32 whatever the compute dtype and the device.

    `t` runs from 0 (noise) to 1 (data). `backwards` says that the weights know it the other way round, as those of
    the RAE project do: they are then given `1 - t`, times `scale` (ViTok's count from 0 to 1000).
    """

    features: FourierFeatures | SinusoidalFeatures
    first: Linear
    second: Linear
    dim: int = eqx.field(static=True)
    backwards: bool = eqx.field(static=True)
    scale: float = eqx.field(static=True)

    def __init__(
        self,
        features: FourierFeatures | SinusoidalFeatures,
        dim: int,
        *,
        backwards: bool = False,
        scale: float = 1.0,
        init: Initializer = trunc_normal(0.02),
        key: RandomKey,
    ):
        k_first, k_second = jax.random.split(key)
        self.features = features
        self.first = Linear(features.dim, dim, init=init, key=k_first)
        self.second = Linear(dim, dim, init=init, key=k_second)
        self.dim = dim
        self.backwards = backwards
        self.scale = scale

    def __call__(self, t: Scalar) -> Float[Array, " {self.dim}"]:
        t = t.astype(jnp.float32)
        own = 1.0 - t if self.backwards else t
        return self.at(own if self.scale == 1.0 else self.scale * own)

    @exact
    @jax.named_scope("time_embed")
    def at(self, own: Scalar) -> Float[Array, " {self.dim}"]:
        """The embedding of a time as the weights count it."""
        return self.second(jax.nn.silu(self.first(self.features(own.astype(jnp.float32)))))


class LabelEmbed(Float32Params):
    """A float32 row per class, and one for "no class" behind them, whose label is `classes` (Ho & Salimans 2022).

    `classes=0` is the unconditional model. Without `null_class` there is no such row, and no guidance.
    """

    table: Float[Array, "labels {self.dim}"]
    classes: int = eqx.field(static=True)
    dim: int = eqx.field(static=True)
    null_class: bool = eqx.field(static=True)

    def __init__(
        self,
        classes: int,
        dim: int,
        *,
        null_class: bool = True,
        init: Initializer = trunc_normal(0.02),
        key: RandomKey,
    ):
        if classes + null_class < 1:
            raise ValueError(f"A label embedding needs a class or the null class, got classes={classes}.")
        self.table = init(key, (classes + null_class, dim))
        self.classes = classes
        self.dim = dim
        self.null_class = null_class

    @property
    def null(self) -> int:
        """The label of "no class". Raises ValueError if this embedding has none."""
        if not self.null_class:
            raise ValueError(
                "This network has no null class, so it can be neither unconditional nor guided: build it with "
                "null_class=True and train it with class dropout."
            )
        return self.classes

    @jax.named_scope("label_embed")
    def __call__(self, label: Int[Array, ""] | None) -> Float[Array, " {self.dim}"]:
        """The row of `label`; of the null class for None; zeros for a label that has no row."""
        if label is None:
            return self.table[self.null]
        rows = self.table.shape[0]
        row = self.table[jnp.clip(label, 0, rows - 1)]
        return jnp.where((label >= 0) & (label < rows), row, jnp.zeros_like(row))
