"""Weight initialisers: functions `(key, shape) -> float32 array`, for weights laid out `(out_dim, in_dim)`."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.types import RandomKey

Initializer = Callable[[RandomKey, tuple[int, ...]], Float[Array, "..."]]


def trunc_normal(std: float) -> Initializer:
    """N(0, 1) cut at two standard deviations, times `std`, without variance correction.

    The standard deviation of the result is about `0.88 * std`, as in the published ViT recipes.
    """

    def initialize(key: RandomKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
        return std * jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32)

    return initialize


def xavier_uniform(key: RandomKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Uniform with variance `2 / (in_dim + out_dim)` (Glorot & Bengio 2010)."""
    return jax.nn.initializers.xavier_uniform(in_axis=-1, out_axis=-2)(key, shape, jnp.float32)


def lecun_normal(key: RandomKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Truncated normal with variance `1 / in_dim` (LeCun et al. 1998)."""
    return jax.nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)(key, shape, jnp.float32)


def fan_in_uniform(key: RandomKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Uniform on `(-1, 1) / sqrt(in_dim)`, what PyTorch gives its linear maps."""
    bound = shape[-1] ** -0.5
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def lecun_normal_conv(key: RandomKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """`lecun_normal` for convolution weights laid out `(out_channels, in_channels, rows, columns)`."""
    init = jax.nn.initializers.lecun_normal(in_axis=range(1, len(shape)), out_axis=0)
    return init(key, shape, jnp.float32)


def fan_in_uniform_conv(key: RandomKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Uniform on `(-1, 1) / sqrt(fan_in)` for convolution weights, what PyTorch gives its convolutions."""
    bound = math.prod(shape[1:]) ** -0.5
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def zeros(key: RandomKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """All zeros: a layer that starts silent (adaLN-zero, final layers)."""
    return jnp.zeros(shape, jnp.float32)
