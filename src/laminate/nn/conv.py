"""Convolution of one sequence or image, and pooling of one image, channels last."""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.nn.init import Initializer, lecun_normal_conv
from laminate.types import Float32Params, RandomKey, exact

Padding = int | tuple[int, int] | Literal["same"]
"""Zeros added on both sides of rows and columns: one number for both, (rows, columns), or `"same"`, which keeps
the size of an image at stride 1."""


class Conv2d(eqx.Module):
    """Cross-correlation with `weight`, plus `bias` (LeCun et al. 1989).

    `[height, width, in_channels]` becomes `[new_height, new_width, out_channels]` with
    `new = (old + 2 padding - kernel) // stride + 1`. The parameters are cast to `x.dtype` when used. `groups` splits
    the channels into as many independent convolutions.

    Raises ValueError if `groups` does not divide both channel counts, or for `"same"` with an even kernel.
    """

    weight: Float[Array, "out_channels in_channels_per_group rows columns"]
    bias: Float[Array, " out_channels"] | None
    in_channels: int = eqx.field(static=True)
    out_channels: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    padding: tuple[int, int] = eqx.field(static=True)
    groups: int = eqx.field(static=True)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: Padding = 0,
        groups: int = 1,
        bias: bool = True,
        init: Initializer = lecun_normal_conv,
        key: RandomKey,
    ):
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}."
            )
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.weight = init(key, (out_channels, in_channels // groups, *size))
        self.bias = jnp.zeros(out_channels, jnp.float32) if bias else None
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride
        self.padding = _padding(padding, size)
        self.groups = groups

    @jax.named_scope("conv2d")
    def __call__(
        self, x: Float[Array, "height width {self.in_channels}"], *, key: RandomKey | None = None
    ) -> Float[Array, "new_height new_width {self.out_channels}"]:
        y = jax.lax.conv_general_dilated(
            x[None],
            self.weight.astype(x.dtype),
            (self.stride, self.stride),
            [(p, p) for p in self.padding],
            dimension_numbers=("NHWC", "OIHW", "NHWC"),
            feature_group_count=self.groups,
        )[0]
        if self.bias is None:
            return y
        return y + jnp.broadcast_to(self.bias.astype(x.dtype), y.shape)


class WideConv2d(Conv2d, Float32Params):
    """A `Conv2d` that computes in float32 on every device, and is held so on every mesh."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: Padding = 0,
        init: Initializer = lecun_normal_conv,
        key: RandomKey,
    ):
        super().__init__(
            in_channels, out_channels, kernel, stride=stride, padding=padding, init=init, key=key
        )

    @exact
    def __call__(
        self, x: Float[Array, "height width {self.in_channels}"], *, key: RandomKey | None = None
    ) -> Float[Array, "new_height new_width {self.out_channels}"]:
        return super().__call__(x.astype(jnp.float32), key=key)


class DepthwiseConv2d(Conv2d):
    """A `Conv2d` of each channel alone, at stride 1 and with the size kept.

    Computed as a sum of shifted images, one for each number of the kernel: a CPU takes the derivative of a grouped
    convolution as that of all channels together, which costs many times as much.
    """

    def __init__(
        self,
        channels: int,
        kernel: int,
        *,
        bias: bool = True,
        init: Initializer = lecun_normal_conv,
        key: RandomKey,
    ):
        super().__init__(
            channels, channels, kernel, padding="same", groups=channels, bias=bias, init=init, key=key
        )

    @jax.named_scope("depthwise_conv2d")
    def __call__(
        self, x: Float[Array, "height width {self.in_channels}"], *, key: RandomKey | None = None
    ) -> Float[Array, "height width {self.out_channels}"]:
        (height, width, _), kernel = x.shape, self.weight.astype(x.dtype)
        padded = jnp.pad(x, (*((p, p) for p in self.padding), (0, 0)))
        y = jnp.zeros_like(x)
        for row, column in np.ndindex(*kernel.shape[2:]):
            taps = jnp.broadcast_to(kernel[:, 0, row, column], x.shape)
            y = y + padded[row : row + height, column : column + width] * taps
        return y if self.bias is None else y + jnp.broadcast_to(self.bias.astype(x.dtype), y.shape)


class Conv1d(eqx.Module):
    """Cross-correlation along a sequence with `weight`, plus `bias`; the length stays what it is.

    `[tokens, in_channels]` becomes `[tokens, out_channels]`. Beyond its ends the sequence is taken as zero, or, with
    `circular=True`, as beginning anew. The parameters are cast to `x.dtype` when used.

    Raises ValueError for an even kernel.
    """

    weight: Float[Array, "out_channels in_channels taps"]
    bias: Float[Array, " out_channels"] | None
    in_channels: int = eqx.field(static=True)
    out_channels: int = eqx.field(static=True)
    circular: bool = eqx.field(static=True)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        circular: bool = False,
        bias: bool = True,
        init: Initializer = lecun_normal_conv,
        key: RandomKey,
    ):
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"A convolution that keeps the length needs an odd kernel, got kernel={kernel}.")
        self.weight = init(key, (out_channels, in_channels, kernel))
        self.bias = jnp.zeros(out_channels, jnp.float32) if bias else None
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.circular = circular

    @jax.named_scope("conv1d")
    def __call__(
        self, x: Float[Array, "tokens {self.in_channels}"], *, key: RandomKey | None = None
    ) -> Float[Array, "tokens {self.out_channels}"]:
        sides = self.weight.shape[-1] // 2
        if self.circular:
            x, sides = jnp.pad(x, ((sides, sides), (0, 0)), mode="wrap"), 0
        y = jax.lax.conv_general_dilated(
            x[None],
            self.weight.astype(x.dtype),
            (1,),
            [(sides, sides)],
            dimension_numbers=("NWC", "OIW", "NWC"),
        )[0]
        if self.bias is None:
            return y
        return y + jnp.broadcast_to(self.bias.astype(x.dtype), y.shape)


def max_pool(
    x: Float[Array, "height width channels"], window: int, *, stride: int, padding: int = 0
) -> Float[Array, "new_height new_width channels"]:
    """The largest value of each window; padding never wins."""
    return _pool(x, -jnp.inf, jax.lax.max, window, stride, padding)


def average_pool(
    x: Float[Array, "height width channels"], window: int, *, stride: int, padding: int = 0
) -> Float[Array, "new_height new_width channels"]:
    """The mean of each window over the pixels of the image in it: padding is not counted."""
    total = _pool(x, 0.0, jax.lax.add, window, stride, padding)
    count = _pool(jnp.ones((*x.shape[:2], 1), x.dtype), 0.0, jax.lax.add, window, stride, padding)
    return total / jnp.broadcast_to(count, total.shape)


def _pool(
    x: Array, start: float, fold: Callable[..., Array], window: int, stride: int, padding: int
) -> Array:
    sides = [(padding, padding), (padding, padding), (0, 0)]
    # The start has to be a constant that JAX can see, or it does not recognise the pooling and cannot differentiate it.
    return jax.lax.reduce_window(
        x, np.asarray(start, x.dtype), fold, (window, window, 1), (stride, stride, 1), sides
    )


def _padding(padding: Padding, kernel: tuple[int, int]) -> tuple[int, int]:
    if padding == "same":
        if not all(size % 2 for size in kernel):
            raise ValueError(f'padding="same" needs a kernel of odd sizes, got {kernel[0]}x{kernel[1]}.')
        return kernel[0] // 2, kernel[1] // 2
    return (padding, padding) if isinstance(padding, int) else padding
