"""Kernels between all features of two sets, in tiles: what is held of them at once does not grow with the sets."""

from collections.abc import Iterator
from functools import partial
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Num

SIDE = 512
"""Features on both sides of a tile of kernels."""
_FEW, _STEP = 256, 256


@runtime_checkable
class Kernel(Protocol):
    """`k(x, y)` from `x . y`, `|x|^2` and `|y|^2`, which broadcast; programs are kept by its values."""

    @property
    def wide(self) -> bool:
        """Whether it needs products in float64; else they have the precision of the features."""
        ...

    def __call__(self, product: Array, squares: Array, other_squares: Array) -> Array: ...


def parts(features: Float[np.ndarray, "features dim"], rows: int) -> Iterator[Float[np.ndarray, "_ dim"]]:
    """So many at a time."""
    return (features[start : start + rows] for start in range(0, len(features), rows))


def padded(rows: Num[np.ndarray, "rows ..."], value: float = 0.0) -> Num[np.ndarray, "more ..."]:
    """Filled up to one of a few sizes, for which programs are compiled."""
    count = len(rows)
    room = max(8, 1 << (count - 1).bit_length()) if count <= _FEW else -(-count // _STEP) * _STEP
    if room == count:
        return rows
    return np.concatenate([rows, np.full((room - count, *rows.shape[1:]), value, rows.dtype)])


def kernel_sum(
    x: Float[np.ndarray, "rows dim"],
    y: Float[np.ndarray, "columns dim"] | None,
    kernel: Kernel,
    centre: Float[np.ndarray, " dim"] | None = None,
) -> float:
    """`sum_ij k(x_i, y_j)` or, without `y`, `sum_{i != j} k(x_i, x_j)`; kernels and sums are float64.

    A kernel of differences may be given a `centre` near the features, so that a large mean costs no digits.
    """
    total = 0.0
    centre = np.zeros(x.shape[1]) if centre is None else centre
    with jax.enable_x64(True):
        for i, mine in enumerate(parts(x, SIDE)):
            for j, theirs in enumerate(parts(x if y is None else y, SIDE)):
                if y is None and j < i:  # a kernel is symmetric
                    continue
                twice = 2.0 if y is None and j > i else 1.0
                sizes = (len(mine), len(theirs), y is None and i == j)
                total += twice * float(_tile_sum(padded(mine), padded(theirs), *sizes, centre, kernel))
    return total


@partial(jax.jit, static_argnums=6)
def _tile_sum(
    x: Array, y: Array, rows: ArrayLike, columns: ArrayLike, same: ArrayLike, centre: Array, kernel: Kernel
) -> Float[Array, ""]:
    if kernel.wide:
        x, y = (each.astype(jnp.float64) - centre[None, :] for each in (x, y))
    dtype = jnp.float64 if kernel.wide else jnp.promote_types(x.dtype, y.dtype)
    product = jnp.dot(x.astype(dtype), y.astype(dtype).T, precision="highest").astype(jnp.float64)
    squares, other_squares = (jnp.square(each.astype(jnp.float64)).sum(axis=1) for each in (x, y))
    row, column = jnp.arange(len(x))[:, None], jnp.arange(len(y))[None, :]
    counted = (row < rows) & (column < columns) & ((row != column) | jnp.logical_not(same))
    return jnp.where(counted, kernel(product, squares[:, None], other_squares[None, :]), 0.0).sum()
