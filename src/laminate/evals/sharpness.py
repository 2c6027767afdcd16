"""How much fine detail an image has, measured against its original."""

import jax.numpy as jnp

from laminate.losses.filters import gaussian_blur
from laminate.types import Image, Scalar

SIGMA = 1.0
"""Standard deviation in pixels of the blur that is taken away: what is left are mostly edges and texture finer than
about six pixels."""


def high_frequency_energy(image: Image, *, sigma: float = SIGMA) -> Scalar:
    """`sum((x - blur(x))^2)` over pixels and channels, a float32 scalar, with a Gaussian blur of `sigma` pixels."""
    return jnp.sum(jnp.square(image.astype(jnp.float32) - gaussian_blur(image, sigma=sigma)))


def sharpness(image: Image, original: Image, *, sigma: float = SIGMA) -> Scalar:
    """The high-frequency energy of `image` over that of its original: below one for a blurred image, one for itself.

    Over a set it is the ratio of the sums, in which a flat original weighs nothing. Noise counts as detail: read it
    beside a measure of fidelity. An original without any detail gives infinity, or NaN for itself.
    """
    return high_frequency_energy(image, sigma=sigma) / high_frequency_energy(original, sigma=sigma)
