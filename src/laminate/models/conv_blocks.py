"""The blocks of convolutional autoencoders: residual ones, those with attention, and sampling up and down."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.nn import (
    Attention,
    BatchNorm,
    Conv2d,
    DepthwiseConv2d,
    GroupNorm,
    JointRMSNorm,
    Linear,
    LinearAttention,
    RMSNorm,
    average_down,
    duplicate_up,
    fan_in_uniform,
    fan_in_uniform_conv,
    nearest_double,
    pixel_shuffle,
    pixel_unshuffle,
)
from laminate.types import RandomKey

Activation = Callable[[Array], Array]
Grid = Float[Array, "rows columns channels"]
Doubled = Float[Array, "new_rows new_columns new_channels"]
Halved = Float[Array, "new_rows new_columns new_channels"]
Up = Literal["nearest", "shuffle"]
"""How a convolution doubles an image: after every place was made four (`nearest`), or by giving four times the
channels, which become places (`shuffle`)."""
UpShortcut = Literal["duplicate", "nearest", "none"]
"""What is added around it: repeated channels (`nn.duplicate_up`), a second convolution of nearest places, nothing."""

Down = Literal["trailing", "strided", "unshuffle"]
"""How a convolution halves an image: at stride 2, behind a row and a column of zeros at its end (`trailing`) or behind
zeros all around (`strided`), or by giving a quarter of the channels, of which four places become one (`unshuffle`)."""
DownShortcut = Literal["average", "none"]
"""What is added around it: means of channels (`nn.average_down`), or nothing."""

PreNorm = Callable[[int], GroupNorm | RMSNorm]
"""What makes the norm before a convolution, of its width."""
PostNorm = Callable[[int], JointRMSNorm | RMSNorm | BatchNorm]
"""What makes the norm behind a branch, of its width."""

_KERNEL = 3
_EXPANSION = 4


class ResBlock(eqx.Module):
    """`x + norm(second(activation(first(x))))` with two 3x3 convolutions, of which the first has a bias (DC-AE).

    `norm=None` leaves the norm out.
    """

    first: Conv2d
    second: Conv2d
    norm: JointRMSNorm | RMSNorm | BatchNorm | None
    activation: Activation = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        *,
        norm: PostNorm | None = JointRMSNorm,
        activation: Activation = jax.nn.silu,
        key: RandomKey,
    ):
        k_first, k_second = jax.random.split(key)
        self.first = conv3(dim, dim, key=k_first)
        self.second = conv3(dim, dim, bias=False, key=k_second)
        self.norm = None if norm is None else norm(dim)
        self.activation = activation

    @jax.named_scope("res_block")
    def __call__(self, x: Grid, *, key: RandomKey | None = None) -> Grid:
        branch = self.second(self.activation(self.first(x)))
        return x + (branch if self.norm is None else self.norm(branch))


class PreNormResBlock(eqx.Module):
    """`shortcut(x) + second(silu(norm(first(silu(norm(x))))))` with two 3x3 convolutions (Rombach et al. 2022).

    The shortcut is a linear map of each place where the width changes, and `x` itself where it does not.
    """

    first_norm: GroupNorm | RMSNorm
    first: Conv2d
    second_norm: GroupNorm | RMSNorm
    second: Conv2d
    shortcut: Linear | None

    def __init__(self, in_dim: int, out_dim: int, *, norm: PreNorm, key: RandomKey):
        k_first, k_second, k_shortcut = jax.random.split(key, 3)
        self.first_norm = norm(in_dim)
        self.first = conv3(in_dim, out_dim, key=k_first)
        self.second_norm = norm(out_dim)
        self.second = conv3(out_dim, out_dim, key=k_second)
        changed = in_dim != out_dim
        self.shortcut = Linear(in_dim, out_dim, init=fan_in_uniform, key=k_shortcut) if changed else None

    @jax.named_scope("pre_norm_res_block")
    def __call__(self, x: Grid, *, key: RandomKey | None = None) -> Float[Array, "rows columns new_channels"]:
        y = self.first(jax.nn.silu(self.first_norm(x)))
        y = self.second(jax.nn.silu(self.second_norm(y)))
        return y + (x if self.shortcut is None else self.shortcut(x))


class GridAttention(eqx.Module):
    """`x + attention(norm(x))` over all places, with one head as wide as `x` (Rombach et al. 2022)."""

    norm: GroupNorm | RMSNorm
    attention: Attention

    def __init__(self, dim: int, *, norm: PreNorm, key: RandomKey):
        self.norm = norm(dim)
        self.attention = Attention(dim, 1, init=fan_in_uniform, key=key)

    @jax.named_scope("grid_attention")
    def __call__(self, x: Grid, *, key: RandomKey | None = None) -> Grid:
        return x + self.attention(self.norm(x).reshape(-1, x.shape[2])).reshape(x.shape)


class GatedConv(eqx.Module):
    """`down(value * activation(gate))`, place by place but for a depthwise 3x3 convolution (DC-AE's GLUMBConv).

    `expand` gives eight times the channels, which are activated and convolved, each alone; the first half is the value
    and the second the gate.
    """

    expand: Linear
    depthwise: DepthwiseConv2d
    down: Linear
    activation: Activation = eqx.field(static=True)

    def __init__(self, dim: int, *, activation: Activation = jax.nn.silu, key: RandomKey):
        k_expand, k_depthwise, k_down = jax.random.split(key, 3)
        wide = 2 * _EXPANSION * dim
        self.expand = Linear(dim, wide, init=fan_in_uniform, key=k_expand)
        self.depthwise = DepthwiseConv2d(wide, _KERNEL, init=fan_in_uniform_conv, key=k_depthwise)
        self.down = Linear(_EXPANSION * dim, dim, bias=False, init=fan_in_uniform, key=k_down)
        self.activation = activation

    @jax.named_scope("gated_conv")
    def __call__(self, x: Grid, *, key: RandomKey | None = None) -> Grid:
        wide = self.depthwise(self.activation(self.expand(x)))
        value, gate = wide[..., : self.down.in_dim], wide[..., self.down.in_dim :]
        return self.down(value * self.activation(gate))


class LinearAttentionBlock(eqx.Module):
    """`x + norm(attention(x))` over all places, then `x + local_norm(local(x))` (EViT-GLU of DC-AE).

    Without norms, if none are given; `heads` and `kernels` are those of `LinearAttention`.
    """

    attention: LinearAttention
    norm: JointRMSNorm | RMSNorm | BatchNorm | None
    local: GatedConv
    local_norm: JointRMSNorm | RMSNorm | BatchNorm | None

    def __init__(
        self,
        dim: int,
        *,
        head_dim: int = 32,
        heads: int | None = None,
        kernels: Sequence[int] = (),
        norm: PostNorm | None = None,
        local_norm: PostNorm | None = None,
        activation: Activation = jax.nn.silu,
        key: RandomKey,
    ):
        k_attention, k_local = jax.random.split(key)
        self.attention = LinearAttention(
            dim, head_dim=head_dim, heads=heads, kernels=kernels, init=fan_in_uniform, key=k_attention
        )
        self.norm = None if norm is None else norm(dim)
        self.local = GatedConv(dim, activation=activation, key=k_local)
        self.local_norm = None if local_norm is None else local_norm(dim)

    @jax.named_scope("linear_attention_block")
    def __call__(self, x: Grid, *, key: RandomKey | None = None) -> Grid:
        attended = self.attention(x)
        x = x + (attended if self.norm is None else self.norm(attended))
        local = self.local(x)
        return x + (local if self.local_norm is None else self.local_norm(local))


@runtime_checkable
class MakeBlock(Protocol):
    """What makes a block that keeps the width, of that width: a block's class, or that with options."""

    def __call__(self, dim: int, *, key: RandomKey) -> ResBlock | LinearAttentionBlock: ...


class Downsample(eqx.Module):
    """An image of half the size, a convolution and a shortcut around it, without an activation."""

    conv: Conv2d
    down: Down = eqx.field(static=True)
    shortcut: DownShortcut = eqx.field(static=True)
    out_dim: int = eqx.field(static=True)

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        down: Down = "trailing",
        shortcut: DownShortcut = "none",
        key: RandomKey,
    ):
        """Raises ValueError for an unknown kind, and for channels that cannot be cut or averaged."""
        _require_known("down", down, Down)
        _require_known("shortcut", shortcut, DownShortcut)
        if down == "unshuffle" and out_dim % 4:
            raise ValueError(
                f"Squares of four places cannot become {out_dim} channels: that is no multiple of four."
            )
        if shortcut == "average" and 4 * in_dim % out_dim:
            raise ValueError(
                f"Four times {in_dim} channels cannot be averaged to the {out_dim} of an image of half the size: "
                'take widths of which one divides the other, or shortcut="none".'
            )
        if down == "unshuffle":
            self.conv = conv3(in_dim, out_dim // 4, key=key)
        else:
            around = 1 if down == "strided" else 0
            self.conv = Conv2d(
                in_dim, out_dim, _KERNEL, stride=2, padding=around, init=fan_in_uniform_conv, key=key
            )
        self.down = down
        self.shortcut = shortcut
        self.out_dim = out_dim

    @jax.named_scope("downsample")
    def __call__(self, x: Grid, *, key: RandomKey | None = None) -> Halved:
        y = self.conv(jnp.pad(x, ((0, 1), (0, 1), (0, 0))) if self.down == "trailing" else x)
        y = pixel_unshuffle(y) if self.down == "unshuffle" else y
        return y + average_down(x, self.out_dim) if self.shortcut == "average" else y


class Upsample(eqx.Module):
    """An image of twice the size, a convolution and a shortcut around it, without an activation."""

    conv: Conv2d
    beside: Conv2d | None
    up: Up = eqx.field(static=True)
    shortcut: UpShortcut = eqx.field(static=True)
    out_dim: int = eqx.field(static=True)

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        up: Up = "nearest",
        shortcut: UpShortcut = "duplicate",
        key: RandomKey,
    ):
        """Raises ValueError for an unknown kind, and for channels that cannot be repeated."""
        _require_known("up", up, Up)
        _require_known("shortcut", shortcut, UpShortcut)
        if shortcut == "duplicate" and 4 * out_dim % in_dim:
            raise ValueError(
                f"{in_dim} channels cannot be repeated to the four times {out_dim} of an image of twice the size: "
                'take widths of which one divides the other, or shortcut="none".'
            )
        k_conv, k_beside = jax.random.split(key)
        self.conv = up_conv(in_dim, out_dim, up, key=k_conv)
        self.beside = conv3(in_dim, out_dim, key=k_beside) if shortcut == "nearest" else None
        self.up = up
        self.shortcut = shortcut
        self.out_dim = out_dim

    @jax.named_scope("upsample")
    def __call__(self, x: Grid, *, key: RandomKey | None = None) -> Doubled:
        y = convolve_up(self.conv, x, self.up)
        if self.beside is not None:
            return y + self.beside(nearest_double(x))
        return y + duplicate_up(x, self.out_dim) if self.shortcut == "duplicate" else y


def up_conv(in_dim: int, out_dim: int, up: Up, *, key: RandomKey) -> Conv2d:
    """The convolution of `convolve_up`."""
    return conv3(in_dim, out_dim if up == "nearest" else 4 * out_dim, key=key)


def convolve_up(conv: Conv2d, x: Grid, up: Up) -> Doubled:
    """`x` at twice the size through `conv`."""
    return conv(nearest_double(x)) if up == "nearest" else pixel_shuffle(conv(x))


def conv3(in_dim: int, out_dim: int, *, bias: bool = True, key: RandomKey) -> Conv2d:
    """A 3x3 convolution that keeps the size."""
    return Conv2d(in_dim, out_dim, _KERNEL, padding="same", bias=bias, init=fan_in_uniform_conv, key=key)


def require_whole_latents(image: Float[Array, "height width channels"], patch: int) -> None:
    """Raises ValueError for sides that are no multiples of `patch`."""
    if image.shape[0] % patch or image.shape[1] % patch:
        raise ValueError(
            f"An image of {image.shape[0]}x{image.shape[1]} pixels has no whole number of latents: its sides have to "
            f"be multiples of {patch}."
        )


def _require_known(name: str, value: str, kinds: Any) -> None:
    if value not in get_args(kinds):
        raise ValueError(f"{name}={value!r} is none of {', '.join(get_args(kinds))}.")
