"""What a generator reads and writes: a sequence of tokens, or an image of features in patches."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Array, Float

from laminate.nn import (
    Initializer,
    Linear,
    PatchEmbed,
    Rotary,
    grid_angles,
    sequence_angles,
    sincos_1d,
    sincos_2d,
    unpatchify,
)
from laminate.nn.position import as_table
from laminate.types import Buffer, RandomKey

Positions = Literal["none", "learned", "sincos"]
Embedding = Linear | PatchEmbed
Table = Float[Array, "tokens dim"] | Buffer | None


class _TokensAsTheyAre:
    """A latent each of whose positions is one token of the network."""

    features: int

    @property
    def channels(self) -> int:
        """Numbers per position of the latent."""
        return self.features

    @property
    def token_dim(self) -> int:
        """Numbers that one token of the network stands for."""
        return self.features

    def embedding(self, dim: int, *, bias: bool, init: Initializer, key: RandomKey) -> Embedding:
        """The layer from latent to tokens of width `dim`."""
        return Linear(self.features, dim, bias=bias, init=init, key=key)

    def assemble(self, tokens: Float[Array, "tokens dim"]) -> Float[Array, "tokens dim"]:
        """The latent of output tokens: the tokens themselves."""
        return tokens


@dataclasses.dataclass(frozen=True)
class FlatLatent(_TokensAsTheyAre):
    """`tokens` tokens of `features` numbers; positions are those of a sequence."""

    tokens: int
    features: int

    def sincos(self, dim: int) -> Float[np.ndarray, "tokens dim"]:
        return sincos_1d(dim, np.arange(self.tokens, dtype=np.float64))

    def rotary(self, head_dim: int) -> Rotary:
        return Rotary(sequence_angles(head_dim, self.tokens))


@dataclasses.dataclass(frozen=True)
class ImageLatent:
    """`side` x `side` positions of `channels` numbers, channels last, in patches of `patch` x `patch` positions."""

    side: int
    channels: int
    patch: int = 1

    @property
    def grid(self) -> tuple[int, int]:
        return self.side // self.patch, self.side // self.patch

    @property
    def tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def token_dim(self) -> int:
        """Numbers that one token of the network stands for."""
        return self.patch**2 * self.channels

    def embedding(self, dim: int, *, bias: bool, init: Initializer, key: RandomKey) -> Embedding:
        """The layer from latent to tokens of width `dim`; it always has a bias."""
        return PatchEmbed(self.side, self.patch, dim, channels=self.channels, init=init, key=key)

    def sincos(self, dim: int) -> Float[np.ndarray, "tokens dim"]:
        return sincos_2d(dim, *self.grid)

    def rotary(self, head_dim: int) -> Rotary:
        return Rotary(grid_angles(head_dim, *self.grid))

    def assemble(self, tokens: Float[Array, "tokens dim"]) -> Float[Array, "height width channels"]:
        """The latent of output tokens, each `(row, column, channel)` of its patch."""
        return unpatchify(tokens, self.patch, self.grid)


@dataclasses.dataclass(frozen=True)
class GridLatent(_TokensAsTheyAre):
    """Tokens of `features` numbers on a grid of `rows` by `columns`, row by row (ViTok's latents)."""

    rows: int
    columns: int
    features: int

    @property
    def tokens(self) -> int:
        return self.rows * self.columns

    def sincos(self, dim: int) -> Float[np.ndarray, "tokens dim"]:
        return sincos_2d(dim, self.rows, self.columns)

    def rotary(self, head_dim: int) -> Rotary:
        return Rotary(grid_angles(head_dim, self.rows, self.columns))


LatentShape = FlatLatent | ImageLatent | GridLatent


def position_table(
    kind: Positions, shape: LatentShape, dim: int, *, init: Initializer, key: RandomKey
) -> Table:
    """None, a learned table, or the fixed sine-cosine one. Raises ValueError for another `kind`."""
    makers: dict[str, Callable[[], Table]] = {
        "none": lambda: None,
        "learned": lambda: init(key, (shape.tokens, dim)),
        "sincos": lambda: Buffer(as_table(shape.sincos(dim))),
    }
    if kind not in makers:
        raise ValueError(f"positions={kind!r} is none of {', '.join(makers)}.")
    return makers[kind]()


def add_positions(x: Float[Array, "tokens dim"], table: Table) -> Float[Array, "tokens dim"]:
    """`x` and the table, which must have as many rows."""
    if table is None:
        return x
    values = table.value if isinstance(table, Buffer) else table
    if values.shape[0] != x.shape[0]:
        raise ValueError(
            f"This network has positions for {values.shape[0]} tokens and was given {x.shape[0]}."
        )
    return x + values.astype(x.dtype)
