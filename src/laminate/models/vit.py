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
    AttentionKernel,
    Block,
    ImageEmbed,
    Initializer,
    LayerNorm,
    Linear,
    Mlp,
    ParallelBlock,
    PatchEmbed,
    Remat,
    Resampling,
    RMSNorm,
    Rotary,
    Sight,
    Stack,
    SwiGlu,
    centred_grid_angles,
    resize_grid,
    sincos_2d,
    trunc_normal,
)
from laminate.nn.position import as_table, square
from laminate.types import Buffer, RandomKey, Scalar

Positions = Literal["none", "learned", "sincos", "rotary"]
Maps = Literal["where-needed", "biased", "biased-input"]


@dataclasses.dataclass(frozen=True)
class Trunk:
    """The sizes of a transformer, and the layers that it is made of.

    `mlp` and `norm` are the layers themselves: `nn.SwiGlu`, `nn.Mlp` or `functools.partial(nn.Mlp, activation=...)`;
    `nn.LayerNorm` or `nn.RMSNorm`. `qk_norm` puts such a norm on queries and keys, or one that it makes for a given
    width. `head_dim=None` is `dim / heads`. `attention_bias` and `attention_out_bias` are those of `nn.Attention`.
    `layer_scale` is the initial weight of every channel of both branches, None for no such weights. `parallel` puts the
    branches side by side, behind one norm and with one layer scale (`nn.ParallelBlock`).
    `remat` is that of `nn.Stack`.
    """

    dim: int
    depth: int
    heads: int
    hidden: int
    head_dim: int | None = None
    mlp: type[Mlp] | type[SwiGlu] | partial[Mlp] | partial[SwiGlu] = SwiGlu
    norm: type[LayerNorm] | type[RMSNorm] = LayerNorm
    norm_eps: float = 1e-6
    qk_norm: bool | Callable[[int], LayerNorm | RMSNorm] = True
    attention_bias: bool | tuple[bool, bool, bool] = True
    attention_out_bias: bool | None = None
    mlp_bias: bool = True
    layer_scale: float | None = None
    parallel: bool = False
    attention_dropout_rate: float = 0.0
    mlp_dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    init: Initializer = trunc_normal(0.02)
    kernel: AttentionKernel = "xla"
    remat: Remat = "none"

    def branches(self, key: RandomKey) -> tuple[Attention, Mlp | SwiGlu]:
        """The two networks of one layer."""
        k_attention, k_mlp = jax.random.split(key)
        attention = Attention(
            self.dim,
            self.heads,
            head_dim=self.head_dim,
            bias=self.attention_bias,
            out_bias=self.attention_out_bias,
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
        return attention, mlp

    def scale(self) -> Float[Array, " dim"] | None:
        """The layer scale of one branch."""
        return None if self.layer_scale is None else jnp.full(self.dim, self.layer_scale, jnp.float32)

    def block(self, key: RandomKey) -> Block | ParallelBlock:
        """One layer."""
        attention, mlp = self.branches(key)
        norm = partial(self.norm, self.dim, eps=self.norm_eps, bias=self.norm is not RMSNorm)
        if self.parallel:
            return ParallelBlock(norm(), attention, mlp, self.scale())
        return Block(norm(), attention, norm(), mlp, self.scale(), self.scale())

    def stack(self, key: RandomKey, make_layer: Callable[[RandomKey], eqx.Module] | None = None) -> Stack:
        """All layers, each a `block` unless `make_layer` makes another."""
        return Stack(
            make_layer or self.block,
            self.depth,
            drop_path_rate=self.drop_path_rate,
            remat=self.remat,
            key=key,
        )


class Vit(eqx.Module):
    """Patches or tokens in, `[cls | registers | patches]` out (Dosovitskiy et al. 2021; Darcet et al. 2024).

    The input is an image if `patch` is given, else tokens of width `in_dim`. A linear map brings tokens to the
    trunk's width, and another one the normed output to `out_dim`: `maps="where-needed"` has bias-free ones where the
    widths differ, `maps="biased"` has both, with biases, and `maps="biased-input"` the first one only, with a bias:
    then the output has the trunk's width.

    Positions are added to the patches: a learned table, or the fixed two-dimensional sine-cosine one; the table of
    images of another size is resized by `resampling`. With `cls_position=True` the first row of a learned table
    is added to the cls token. `positions="rotary"` turns queries and keys of the patches by `nn.centred_grid_angles`
    of `rotary_base` instead. `norm` replaces the final LayerNorm. `init` draws the linear maps, `table_init` positions,
    cls and registers.
    """

    patch: ImageEmbed | None
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
    cls_position: bool = eqx.field(static=True)
    resampling: Resampling = eqx.field(static=True)
    rotary_base: float | None = eqx.field(static=True)
    table_grid: tuple[int, int] | None = eqx.field(static=True)

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
        cls_position: bool = False,
        resampling: Resampling = "bilinear-antialias",
        rotary_base: float = 100.0,
        norm: LayerNorm | None = None,
        maps: Maps = "where-needed",
        init: Initializer = trunc_normal(0.02),
        table_init: Initializer = trunc_normal(0.02),
        key: RandomKey,
    ):
        if (patch is None) == (tokens is None):
            raise ValueError(
                f"A Vit takes either patch (for images) or tokens (their number), got patch={patch}, tokens={tokens}."
            )
        if cls_position and not (cls_token and positions == "learned"):
            raise ValueError(f"cls_position needs cls_token and learned positions, not {positions!r}.")
        k_in, k_positions, k_cls, k_registers, k_stack, k_out = jax.random.split(key, 6)
        dim = trunk.dim
        self.patch = patch
        self.in_dim = dim if in_dim is None else in_dim
        self.out_dim = dim if out_dim is None else out_dim
        self.prefix = int(cls_token) + registers
        self.cls_position = cls_position
        self.resampling = resampling
        self.rotary_base = rotary_base if positions == "rotary" else None
        self.table_grid = None if patch is None else patch.grid
        if maps == "biased-input" and self.out_dim != dim:
            raise ValueError(
                f'maps="biased-input" has no map behind the trunk: its {dim} numbers are no out_dim={out_dim}.'
            )
        biased = maps != "where-needed"
        no_input = patch is not None or (self.in_dim == dim and not biased)
        self.input = None if no_input else Linear(self.in_dim, dim, bias=biased, init=init, key=k_in)
        self.positions = _positions(
            positions, patch, tokens, dim, ahead=int(cls_position), init=table_init, key=k_positions
        )
        self.cls = table_init(k_cls, (1, dim)) if cls_token else None
        self.registers = table_init(k_registers, (registers, dim)) if registers else None
        self.stack = trunk.stack(k_stack)
        self.norm = LayerNorm(dim) if norm is None else norm
        no_output = self.out_dim == dim and maps != "biased"
        self.output = None if no_output else Linear(dim, self.out_dim, bias=biased, init=init, key=k_out)

    @jax.named_scope("vit")
    def __call__(
        self,
        x: Float[Array, "tokens {self.in_dim}"] | Float[Array, "height width channels"],
        mask: Sight = None,
        *,
        registers: Float[Array, "registers dim"] | None = None,
        key: RandomKey | None = None,
    ) -> Float[Array, "all_tokens {self.out_dim}"]:
        """All output tokens; those of the input start at index `self.prefix`.

        `registers` replaces the learned ones for this call. A `mask` is over all tokens, True = may attend.
        """
        rotary = self._rotary(x)
        return self._end(self.stack(self.embed(x, registers=registers), mask, rotary, key=key))

    def taps(
        self, x: Float[Array, "..."], layers: tuple[int, ...], mask: Sight = None
    ) -> tuple[Float[Array, "all_tokens {self.out_dim}"], Float[Array, "layers all_tokens dim"]]:
        """All output tokens, and the stream as it leaves each of `layers` (counted from 0), not normed."""
        stream, tapped = self.stack.taps(self.embed(x), layers, mask, self._rotary(x))
        return self._end(stream), tapped

    def _end(self, x: Float[Array, "all_tokens dim"]) -> Float[Array, "all_tokens out_dim"]:
        x = self.norm(x)
        return x if self.output is None else self.output(x)

    def attention_weights(
        self, x: Float[Array, "..."], mask: Sight = None
    ) -> Float[Array, "depth heads all_tokens all_tokens"]:
        """The attention probabilities of every layer, in the deterministic mode."""

        rotary = self._rotary(x)

        def call(
            block: Block, x: Array, drop_rate: Scalar | None, k_layer: RandomKey | None
        ) -> tuple[Array, Array]:
            return block(x, mask, rotary), block.attention_weights(x, mask, rotary)

        return self.stack.scan(call, self.embed(x))[1]

    def embed(
        self, x: Float[Array, "..."], *, registers: Float[Array, "registers dim"] | None = None
    ) -> Float[Array, "all_tokens dim"]:
        """What enters the first block."""
        grid = self._grid(x)
        if self.patch is not None:
            x = self.patch(x)
        if self.input is not None:
            x = self.input(x)
        cls = self.cls
        if self.positions is not None:
            ahead, table = self._position_table(x.shape[0], grid)
            x = x + table.astype(x.dtype)
            if cls is not None and self.cls_position:
                cls = cls.astype(jnp.float32) + ahead.astype(jnp.float32)
        tables = (cls, self.registers if registers is None else registers)
        return jnp.concatenate([table.astype(x.dtype) for table in tables if table is not None] + [x])

    def _grid(self, x: Float[Array, "..."]) -> tuple[int, int] | None:
        if self.patch is None:
            return None
        return self.patch.grid_of(x.shape[0], x.shape[1])

    def _rotary(self, x: Float[Array, "..."]) -> Rotary | None:
        grid = self._grid(x)
        if grid is None or self.rotary_base is None:
            return None
        head_dim = self.stack.layers.attention.head_dim
        return Rotary(centred_grid_angles(head_dim, *grid, base=self.rotary_base), pairing="halves")

    def _position_table(
        self, tokens: int, grid: tuple[int, int] | None
    ) -> tuple[Float[Array, "ahead dim"], Float[Array, "tokens dim"]]:
        """The row of the cls token, if it has one, and those of the patches."""
        whole = self.positions.value if isinstance(self.positions, Buffer) else self.positions
        assert whole is not None
        ahead, table = whole[: int(self.cls_position)], whole[int(self.cls_position) :]
        if self.table_grid is not None and grid is not None:
            return ahead, resize_grid(table, self.table_grid, grid, self.resampling)
        if tokens > table.shape[0]:
            raise ValueError(f"This Vit has positions for {table.shape[0]} tokens and was given {tokens}.")
        return ahead, table[:tokens]


def _positions(
    kind: Positions,
    patch: PatchEmbed | None,
    tokens: int | None,
    dim: int,
    *,
    ahead: int,
    init: Initializer,
    key: RandomKey,
) -> Float[Array, "positions dim"] | Buffer | None:
    if kind == "rotary" and patch is None:
        raise ValueError("Rotary positions are those of a grid of patches: give the Vit a patch embedding.")
    count = patch.grid[0] * patch.grid[1] if patch is not None else tokens
    assert count is not None
    makers: dict[str, Callable[[], Float[Array, "positions dim"] | Buffer | None]] = {
        "none": lambda: None,
        "rotary": lambda: None,
        "learned": lambda: init(key, (ahead + count, dim)),
        "sincos": lambda: Buffer(as_table(sincos_2d(dim, *(square(count) if patch is None else patch.grid)))),
    }
    if kind not in makers:
        raise ValueError(f"positions={kind!r} is none of {', '.join(makers)}.")
    return makers[kind]()
