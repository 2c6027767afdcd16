"""The mean of many vectors and the sum of squares about it, combined without the squares of large numbers."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from laminate.parallel.collectives import mesh_sum


class Moments(eqx.Module):
    """Of `count` vectors: their mean, and the sum over them of the squared distance from it, feature by feature."""

    count: Float[Array | np.ndarray, "*examples"]
    mean: Float[Array | np.ndarray, "*examples dim"]
    squares: Float[Array | np.ndarray, "*examples dim"]

    @staticmethod
    def of(vectors: Float[Array, "vectors dim"]) -> "Moments":
        """Those of some vectors, in float32."""
        wide = vectors.astype(jnp.float32)
        mean = jnp.mean(wide, axis=0)
        squares = jnp.sum(jnp.square(wide - jnp.broadcast_to(mean, wide.shape)), axis=0)
        return Moments(jnp.asarray(len(wide), jnp.float32), mean, squares)

    def pooled(self, valid: Bool[Array, " examples"]) -> "Moments":
        """Inside a sharded evaluation: of the vectors of all valid examples of the batch, each with its own moments."""
        count = jnp.where(valid, self.count, jnp.zeros_like(self.count))
        counts = jnp.broadcast_to(count[:, None], self.mean.shape)
        mean = jnp.where(counts > 0, self.mean, jnp.zeros_like(self.mean))
        squares = jnp.where(counts > 0, self.squares, jnp.zeros_like(self.squares))
        total = mesh_sum(jnp.sum(count))
        whole = mesh_sum(jnp.sum(counts * mean, axis=0)) / jnp.maximum(total, 1.0)
        apart = jnp.square(mean - jnp.broadcast_to(whole, mean.shape))
        return Moments(total, whole, mesh_sum(jnp.sum(squares + counts * apart, axis=0)))

    def __add__(self, other: "Moments | float") -> "Moments":
        """On the host, in float64: those of the vectors of both (Chan, Golub & LeVeque 1983). 0 has no vectors."""
        mine = jax.tree.map(lambda x: np.asarray(x, np.float64), self)
        if not isinstance(other, Moments):
            return mine
        theirs: Any = jax.tree.map(lambda x: np.asarray(x, np.float64), other)
        total = mine.count + theirs.count
        share = theirs.count / np.maximum(total, 1.0)
        apart = theirs.mean - mine.mean
        squares = mine.squares + theirs.squares + np.square(apart) * mine.count * share
        return Moments(np.asarray(total), mine.mean + apart * share, squares)

    __radd__ = __add__
