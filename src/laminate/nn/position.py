"""Fixed position tables, and the resizing of learned ones."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.nn.resize import Resampling, resize


def sincos_1d(dim: int, positions: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n dim"]:
    """`[sin(p w) | cos(p w)]` with `w_j = 10000^(-2j / dim)` (Vaswani et al. 2017), in float64.

    Raises ValueError if `dim` is odd.
    """
    if dim % 2:
        raise ValueError(f"A sine-cosine table needs an even dim, got dim={dim}.")
    frequencies = 10000.0 ** (-np.arange(dim // 2, dtype=np.float64) / (dim / 2))
    angles = np.asarray(positions, np.float64)[:, None] * frequencies[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def sincos_2d(dim: int, rows: int, columns: int) -> Float[np.ndarray, "patches dim"]:
    """Patch `(i, j)`, row-major, gets `[sincos_1d(j) | sincos_1d(i)]`: the column's half comes first (MAE, ViT).

    Raises ValueError if `dim` is not a multiple of four.
    """
    if dim % 4:
        raise ValueError(f"A two-dimensional sine-cosine table needs dim divisible by 4, got dim={dim}.")
    row, column = (axis.reshape(-1) for axis in np.mgrid[0:rows, 0:columns].astype(np.float64))
    return np.concatenate([sincos_1d(dim // 2, column), sincos_1d(dim // 2, row)], axis=1)


def resize_grid(
    table: Float[Array, "patches dim"],
    grid: tuple[int, int],
    to: tuple[int, int],
    resampling: Resampling = "bilinear-antialias",
) -> Float[Array, "new_patches dim"]:
    """A row-major table of a `grid`, resized to another grid."""
    if grid == to:
        return table
    image = table.reshape(*grid, table.shape[-1])
    return resize(image, to, resampling).reshape(-1, table.shape[-1])


def square(count: int) -> tuple[int, int]:
    """The square grid of `count` patches. Raises ValueError if `count` is not a square."""
    side = int(np.sqrt(count) + 0.5)
    if side * side != count:
        raise ValueError(
            f"{count} patches do not form a square grid; the nearest squares are {_squares(side)}."
        )
    return side, side


def _squares(side: int) -> str:
    return f"{(side - 1) ** 2}, {side**2} and {(side + 1) ** 2}"


def as_table(table: Float[np.ndarray, "patches dim"]) -> Float[Array, "patches dim"]:
    """A float64 host table as a float32 array."""
    return jnp.asarray(table, jnp.float32)
