"""Rotary position embedding of interleaved pairs, over a sequence and over a grid."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.types import Buffer


class Rotary(eqx.Module):
    """Turns the pair `(x_2j, x_2j+1)` of token `n` by the angle `a[n, j]` (Su et al. 2021).

    Pairs are neighbours ("interleaved"), and the result is computed in float32 and has the dtype of `x`. The tables
    hold each angle twice, once for either member of its pair.
    """

    cos: Buffer
    sin: Buffer

    def __init__(self, angles: Float[np.ndarray, "tokens pairs"]):
        twice = np.repeat(np.asarray(angles, np.float64), 2, axis=1)
        self.cos = Buffer(jnp.asarray(np.cos(twice), jnp.float32))
        self.sin = Buffer(jnp.asarray(np.sin(twice), jnp.float32))

    @jax.named_scope("rotary")
    def __call__(self, x: Float[Array, "heads tokens head_dim"]) -> Float[Array, "heads tokens head_dim"]:
        """The turned queries or keys. Tokens beyond those of the tables stand in front and are not turned.

        Raises ValueError if there are fewer tokens than the tables have, or if the head's width is another one.
        """
        tokens, head_dim = self.cos.value.shape
        prefix = x.shape[1] - tokens
        if prefix < 0 or x.shape[2] != head_dim:
            raise ValueError(
                f"This rotation is for {tokens} tokens (and any in front of them) of head_dim {head_dim}, "
                f"and was given {x.shape[1]} tokens of head_dim {x.shape[2]}."
            )
        wide = x.astype(jnp.float32)
        cos = jnp.pad(self.cos.value, ((prefix, 0), (0, 0)), constant_values=1.0)[None]
        sin = jnp.pad(self.sin.value, ((prefix, 0), (0, 0)))[None]
        pairs = wide.reshape(*wide.shape[:-1], head_dim // 2, 2)
        quarter_turn = jnp.stack([-pairs[..., 1], pairs[..., 0]], axis=-1).reshape(wide.shape)
        return (wide * cos + quarter_turn * sin).astype(x.dtype)


def sequence_angles(
    head_dim: int, tokens: int, *, theta: float = 10000.0
) -> Float[np.ndarray, "tokens pairs"]:
    """`a[n, j] = n theta^(-2j / head_dim)`, in float64. Raises ValueError if `head_dim` is odd."""
    if head_dim % 2:
        raise ValueError(f"Rotation of pairs needs an even head_dim, got head_dim={head_dim}.")
    frequencies = theta ** (-2.0 * np.arange(head_dim // 2, dtype=np.float64) / head_dim)
    return np.arange(tokens, dtype=np.float64)[:, None] * frequencies[None, :]


def grid_angles(
    head_dim: int, rows: int, columns: int, *, theta: float = 10000.0
) -> Float[np.ndarray, "patches pairs"]:
    """Patch `(i, j)`, row-major, has the angles of row `i` in its first half and those of column `j` in its second.

    Each half is `sequence_angles` of `head_dim / 2`. Raises ValueError if `head_dim` is not a multiple of four.
    """
    if head_dim % 4:
        raise ValueError(f"Rotation on a grid needs head_dim divisible by 4, got head_dim={head_dim}.")
    by_row, by_column = (sequence_angles(head_dim // 2, n, theta=theta) for n in (rows, columns))
    row, column = (axis.reshape(-1) for axis in np.mgrid[0:rows, 0:columns])
    return np.concatenate([by_row[row], by_column[column]], axis=1)
