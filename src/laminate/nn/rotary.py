"""Rotary position embedding: queries and keys turned by angles that grow with their position (Su et al. 2021)."""

from functools import partial
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from laminate.types import Buffer

Pairing = Literal["neighbours", "halves"]


class Rotary(eqx.Module):
    """Turns pair `j` of token `n` by the angle `a[n, j]`.

    Pair `j` is `(x_2j, x_2j+1)` with `pairing="neighbours"` ("interleaved"), and number `j` of either half of the
    head with `pairing="halves"`. The result is computed in float32 and has the dtype of `x`. The tables hold each
    angle twice, once for either member of its pair.
    """

    cos: Buffer
    sin: Buffer
    pairing: Pairing = eqx.field(static=True)

    def __init__(
        self,
        angles: Float[np.ndarray, "tokens pairs"] | Float[Array, "tokens pairs"],
        *,
        pairing: Pairing = "neighbours",
    ):
        """Angles that are known beforehand are taken in float64, those of a compiled step as they are."""
        if isinstance(angles, np.ndarray):
            wide = np.asarray(angles, np.float64)
            cos, sin = (jnp.asarray(f(wide), jnp.float32) for f in (np.cos, np.sin))
        else:
            cos, sin = jnp.cos(angles), jnp.sin(angles)
        twice = (
            (lambda a: jnp.repeat(a, 2, axis=1))
            if pairing == "neighbours"
            else (lambda a: jnp.tile(a, (1, 2)))
        )
        self.cos = Buffer(twice(cos))
        self.sin = Buffer(twice(sin))
        self.pairing = pairing

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
        cos = jnp.pad(self.cos.value, ((prefix, 0), (0, 0)), constant_values=1.0)[None]
        sin = jnp.pad(self.sin.value, ((prefix, 0), (0, 0)))[None]
        if x.dtype == jnp.bfloat16:
            return _turned(x, cos, sin, self.pairing)
        wide = x.astype(jnp.float32)
        return (wide * cos + _quarter_turn(wide, self.pairing) * sin).astype(x.dtype)


def _quarter_turn(
    x: Float[Array, "heads tokens head_dim"], pairing: Pairing
) -> Float[Array, "heads tokens head_dim"]:
    if pairing == "halves":
        first, second = jnp.split(x, 2, axis=-1)
        return jnp.concatenate([-second, first], axis=-1)
    pairs = x.reshape(*x.shape[:-1], x.shape[-1] // 2, 2)
    return jnp.stack([-pairs[..., 1], pairs[..., 0]], axis=-1).reshape(x.shape)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _turned(
    x: Float[Array, "heads tokens head_dim"],
    cos: Float[Array, "1 tokens head_dim"],
    sin: Float[Array, "1 tokens head_dim"],
    pairing: Pairing,
) -> Float[Array, "heads tokens head_dim"]:
    """The same for bfloat16, where the quarter turn is a product with a matrix of 0, 1 and -1.

    A TPU moves single numbers within a row slowly. The product of bfloat16 with such a matrix is exact, and so is its
    gradient, the rotation back; there is no forward-mode derivative.
    """
    unit = jnp.eye(x.shape[-1], dtype=x.dtype)[None]
    turn = _quarter_turn(unit, pairing)[0]
    turned = jnp.einsum("htd,de->hte", x, turn, preferred_element_type=jnp.float32)
    return (x.astype(jnp.float32) * cos + turned * sin).astype(x.dtype)


def _turned_forward(x: Array, cos: Array, sin: Array, pairing: Pairing) -> tuple[Array, tuple[Array, Array]]:
    return _turned(x, cos, sin, pairing), (cos, sin)


def _turned_backward(pairing: Pairing, tables: tuple[Array, Array], back: Array) -> tuple[Array, None, None]:
    cos, sin = tables
    return _turned(back, cos, -sin, pairing), None, None


_turned.defvjp(_turned_forward, _turned_backward)


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
    _require_quarters(head_dim)
    by_row, by_column = (sequence_angles(head_dim // 2, n, theta=theta) for n in (rows, columns))
    row, column = (axis.reshape(-1) for axis in np.mgrid[0:rows, 0:columns])
    return np.concatenate([by_row[row], by_column[column]], axis=1)


def place_angles(
    row: Int[Array, " tokens"], col: Int[Array, " tokens"], head_dim: int, *, theta: float = 10000.0
) -> Float[Array, "tokens pairs"]:
    """`grid_angles` of tokens that stand anywhere, inside a compiled step and in float32.

    Raises ValueError if `head_dim` is not a multiple of four.
    """
    _require_quarters(head_dim)
    frequencies = theta ** (-4.0 * np.arange(head_dim // 4, dtype=np.float64) / head_dim)
    places = jnp.stack([row, col], axis=-1).astype(jnp.float32)[:, :, None]
    return (places * jnp.asarray(frequencies, jnp.float32)[None, None]).reshape(row.shape[0], -1)


def centred_grid_angles(
    head_dim: int, rows: int, columns: int, *, base: float = 100.0
) -> Float[np.ndarray, "patches pairs"]:
    """The angles of a grid whose size does not matter, row-major, as in DINOv3 (Siméoni et al. 2025), in float64.

    A patch at row `i` of `h` has the coordinate `2 (i + 0.5) / h - 1`, and so has a column. Angle `k` of a
    coordinate is `2 pi coordinate / base^(4 k / head_dim)` for `k < head_dim / 4`; the row's come before the column's.

    Raises ValueError if `head_dim` is not a multiple of four.
    """
    _require_quarters(head_dim)
    row, column = (2 * (np.arange(side) + 0.5) / side - 1 for side in (rows, columns))
    place = np.stack(np.meshgrid(row, column, indexing="ij"), axis=-1).reshape(-1, 2, 1)
    return (2 * np.pi * place / rotation_periods(head_dim, base=base)).reshape(len(place), -1)


def rotation_periods(head_dim: int, *, base: float = 100.0) -> Float[np.ndarray, " quarter"]:
    """The periods of `centred_grid_angles`, float64."""
    return base ** (np.arange(head_dim // 4) / (head_dim / 4))


def _require_quarters(head_dim: int) -> None:
    if head_dim % 4:
        raise ValueError(f"Rotation on a grid needs head_dim divisible by 4, got head_dim={head_dim}.")
