"""Peak signal-to-noise ratio."""

import jax.numpy as jnp

from laminate.types import Image, Scalar

_LEAST_ERROR = 1e-10


def psnr(image: Image, target: Image) -> Scalar:
    """`-10 log10(mean((x - y)^2))` in dB of two images clipped to [0, 1], a float32 scalar.

    The mean square is at least 1e-10, so equal images have 100 dB. Over a set it is the mean of this, not the ratio of
    the mean error.
    """
    x, y = (jnp.clip(a.astype(jnp.float32), 0.0, 1.0) for a in (image, target))
    return decibels(jnp.mean(jnp.square(x - y)))


def decibels(mean_square: Scalar) -> Scalar:
    """The same of a mean square that is known already."""
    return -10.0 * jnp.log10(jnp.maximum(mean_square, _LEAST_ERROR))
