"""The vision transformer with registers, over images or over tokens."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.nn import (
    Attention,
    Block,
    Initializer,
    Kernel,
    LayerNorm,
    Linear,
    Mask,
    Mlp,
    PatchEmbed,
    Remat,
    RMSNorm,
    Stack,
    SwiGlu,
    resize_grid,
    sincos_2d,
    trunc_normal,
)
from laminate.nn.position import as_table, square
from laminate.types import Buffer, RandomKey, Scalar

Positions = Literal["none", "learned", "sincos"]


@dataclasses.dataclass(frozen=True)
class Trunk:
    """The sizes of a transformer, and the layers that it is made of.

    `mlp` and `norm` are the layers themselves: `nn.SwiGlu`, `nn.Mlp` or `functools.partial(nn.Mlp, activation=...)`;
    `nn.LayerNorm` or `nn.RMSNorm`. `qk_norm` puts such a norm on queries and keys, or one that it makes for a given
    width. `head_dim=None` is `dim / heads`.
    `remat="attention"` recomputes the attention probabilities in the backward pass, the other values are those of
    `nn.Stack`.
    """

    dim: int
    depth: int
    heads: int
    hidden: int
    head_dim: int | None = None
    mlp: type[Mlp] | type[SwiGlu] | partial[Mlp] = SwiGlu
    norm: type[LayerNorm] | type[RMSNorm] = LayerNorm
    norm_eps: float = 1e-6
    qk_norm: bool | Callable[[int], LayerNorm | RMSNorm] = True
    attention_bias: bool = True
    mlp_bias: bool = True
    attention_dropout_rate: float = 0.0
    mlp_dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    init: Initializer = trunc_normal(0.02)
    kernel: Kernel = "xla"
    remat: Remat | Literal["attention"] = "none"

    def block(self, key: RandomKey) -> Block:
        """One layer."""
        k_attention, k_mlp = jax.random.split(key)
        rms = self.norm is RMSNorm
        norm = partial(self.norm, self.dim, eps=self.norm_eps, bias=not rms)
        attention = Attention(
            self.dim,
            self.heads,
            head_dim=self.head_dim,
            bias=self.attention_bias,
            qk_norm=self.norm if self.qk_norm is True else self.qk_norm or None,
            dropout_rate=self.attention_dropout_rate,
            init=self.init,
            kernel=self.kernel,
            remat=self.remat == "attention",
            key=k_attention,
        )
        mlp = self.mlp(
            self.dim,
            self.hidden,
            bias=self.mlp_bias,
            dropout_rate=self.mlp_dropout_rate,
            init=self.init,
            key=k_mlp,
        )
        return Block(norm(), attention, norm(), mlp)

    def stack(self, key: RandomKey) -> Stack:
        """All layers."""
        remat = "none" if self.remat == "attention" else self.remat
        return Stack(self.block, self.depth, drop_path_rate=self.drop_path_rate, remat=remat, key=key)


class Vit(eqx.Module):
    """Patches or tokens in, `[cls | registers | patches]` out (Dosovitskiy et al. 2021; Darcet et al. 2024).

    The input is an image if `patch` is given, else tokens of width `in_dim`, which a bias-free linear map brings to
    the trunk's width unless they have it already. Positions are added to the patches only: a learned table, or the
    fixed two-dimensional sine-cosine one. After the blocks come a LayerNorm and, if `out_dim` differs from the
    trunk's width, a bias-free linear map. `init` draws the two linear maps, `table_init` positions, cls and
    registers.
    """

    patch: PatchEmbed | None
    input: Linear | None
    positions: Float[Array, "positions dim"] | Buffer | None
    cls: Float[Array, "1 dim"] | None
    registers: Float[Array, "registers dim"] | None
    stack: Stack
    norm: LayerNorm
    output: Linear | None
    in_dim: int = eqx.field(static=True)
    out_dim: int = eqx.field(static=True)
    prefix: int = eqx.field(static=True)

    def __init__(
        self,
        trunk: Trunk,
        *,
        tokens: int | None = None,
        in_dim: int | None = None,
        patch: PatchEmbed | None = None,
        out_dim: int | None = None,
        registers: int = 0,
        cls_token: bool = False,
        positions: Positions = "learned",
        init: Initializer = trunc_normal(0.02),
        table_init: Initializer = trunc_normal(0.02),
        key: RandomKey,
    ):
        if (patch is None) == (tokens is None):
            raise ValueError(
                f"A Vit takes either patch (for images) or tokens (their number), got patch={patch}, tokens={tokens}."
            )
        k_in, k_positions, k_cls, k_registers, k_stack, k_out = jax.random.split(key, 6)
        dim = trunk.dim
        self.patch = patch
        self.in_dim = dim if in_dim is None else in_dim
        self.out_dim = dim if out_dim is None else out_dim
        self.prefix = int(cls_token) + registers
        self.input = None if self.in_dim == dim else Linear(self.in_dim, dim, bias=False, init=init, key=k_in)
        self.positions = _positions(positions, patch, tokens, dim, init=table_init, key=k_positions)
        self.cls = table_init(k_cls, (1, dim)) if cls_token else None
        self.registers = table_init(k_registers, (registers, dim)) if registers else None
        self.stack = trunk.stack(k_stack)
        self.norm = LayerNorm(dim)
        self.output = (
            None if self.out_dim == dim else Linear(dim, self.out_dim, bias=False, init=init, key=k_out)
        )

    @jax.named_scope("vit")
    def __call__(
        self,
        x: Float[Array, "tokens {self.in_dim}"] | Float[Array, "height width channels"],
        mask: Mask | None = None,
        *,
        registers: Float[Array, "registers dim"] | None = None,
        key: RandomKey | None = None,
    ) -> Float[Array, "all_tokens {self.out_dim}"]:
        """All output tokens; those of the input start at index `self.prefix`.

        `registers` replaces the learned ones for this call. A `mask` is over all tokens, True = may attend.
        """
        x = self.stack(self.embed(x, registers=registers), mask, key=key)
        x = self.norm(x)
        return x if self.output is None else self.output(x)

    def attention_weights(
        self, x: Float[Array, "..."], mask: Mask | None = None
    ) -> Float[Array, "depth heads all_tokens all_tokens"]:
        """The attention probabilities of every layer, in the deterministic mode."""

        def call(
            block: Block, x: Array, drop_rate: Scalar | None, k_layer: RandomKey | None
        ) -> tuple[Array, Array]:
            return block(x, mask), block.attention_weights(x, mask)

        return self.stack.scan(call, self.embed(x))[1]

    def embed(
        self, x: Float[Array, "..."], *, registers: Float[Array, "registers dim"] | None = None
    ) -> Float[Array, "all_tokens dim"]:
        """What enters the first block."""
        grid = None
        if self.patch is not None:
            grid = (x.shape[0] // self.patch.patch, x.shape[1] // self.patch.patch)
            x = self.patch(x)
        if self.input is not None:
            x = self.input(x)
        if self.positions is not None:
            x = x + self._position_table(x.shape[0], grid).astype(x.dtype)
        tables = (self.cls, self.registers if registers is None else registers)
        return jnp.concatenate([table.astype(x.dtype) for table in tables if table is not None] + [x])

    def _position_table(self, tokens: int, grid: tuple[int, int] | None) -> Float[Array, "tokens dim"]:
        table = self.positions.value if isinstance(self.positions, Buffer) else self.positions
        assert table is not None
        if self.patch is not None and grid is not None:
            return resize_grid(table, self.patch.grid, grid)
        if tokens > table.shape[0]:
            raise ValueError(f"This Vit has positions for {table.shape[0]} tokens and was given {tokens}.")
        return table[:tokens]


def _positions(
    kind: Positions,
    patch: PatchEmbed | None,
    tokens: int | None,
    dim: int,
    *,
    init: Initializer,
    key: RandomKey,
) -> Float[Array, "positions dim"] | Buffer | None:
    count = patch.grid[0] * patch.grid[1] if patch is not None else tokens
    assert count is not None
    makers: dict[str, Callable[[], Float[Array, "positions dim"] | Buffer | None]] = {
        "none": lambda: None,
        "learned": lambda: init(key, (count, dim)),
        "sincos": lambda: Buffer(as_table(sincos_2d(dim, *(square(count) if patch is None else patch.grid)))),
    }
    if kind not in makers:
        raise ValueError(f"positions={kind!r} is none of {', '.join(makers)}.")
    return makers[kind]()
