"""Rotary position embedding: queries and keys turned by angles that grow with their position."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Rotation(NamedTuple):
    """Cosines and sines of the angles by which each token's head is turned, float32; angle zero turns nothing."""

    cos: Float[Array, "tokens head_dim"]
    sin: Float[Array, "tokens head_dim"]


def rotate_halves(
    x: Float[Array, "heads tokens head_dim"], rotation: Rotation
) -> Float[Array, "heads tokens head_dim"]:
    """Number `j` of the first half of a head is paired with number `j` of the second, and the pair is turned.

    `x cos + [-second | first] sin` (Su et al. 2021), computed in float32, in the dtype of `x`.
    """
    wide = x.astype(jnp.float32)
    first, second = jnp.split(wide, 2, axis=-1)
    turned = jnp.concatenate([-second, first], axis=-1)
    cos, sin = (jnp.broadcast_to(table[None], wide.shape) for table in rotation)
    return (wide * cos + turned * sin).astype(x.dtype)


def grid_rotation(
    head_dim: int, grid: tuple[int, int], *, base: float = 100.0, unturned: int = 0
) -> Rotation:
    """The angles of a grid of patches, row by row, as in DINOv3 (Siméoni et al. 2025).

    A patch at row `i` of `h` has the coordinate `2 (i + 0.5) / h - 1`, and so has a column. Angle `k` is
    `2 pi coordinate / base^(4 k / head_dim)` for `k < head_dim / 4`; a head's angles are
    `[rows | columns | rows | columns]`. `unturned` tokens stand before the patches (cls, registers).

    Raises ValueError if `head_dim` is not a multiple of four.
    """
    if head_dim % 4:
        raise ValueError(f"A grid rotation needs head_dim divisible by 4, got head_dim={head_dim}.")
    rows, columns = (2 * (np.arange(side) + 0.5) / side - 1 for side in grid)
    place = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2, 1)
    angles = (2 * np.pi * place / rotation_periods(head_dim, base=base)).reshape(len(place), -1)
    angles = np.pad(np.tile(angles, (1, 2)), ((unturned, 0), (0, 0)))
    return Rotation(jnp.asarray(np.cos(angles), jnp.float32), jnp.asarray(np.sin(angles), jnp.float32))


def rotation_periods(head_dim: int, *, base: float = 100.0) -> Float[np.ndarray, " quarter"]:
    """The periods of `grid_rotation`, float64."""
    return base ** (np.arange(head_dim // 4) / (head_dim / 4))
