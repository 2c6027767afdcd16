"""How much fine detail an image has, measured against its original."""

import jax.numpy as jnp

from laminate.losses.filters import high_half
from laminate.types import Image, Scalar


def high_frequency_energy(image: Image) -> Scalar:
    """The sum of squares of what an image of half the size cannot hold (`losses.filters.high_half`), float32."""
    return jnp.sum(jnp.square(high_half(image)))


def sharpness(image: Image, original: Image) -> Scalar:
    """The high-frequency energy of `image` over that of its original: below one for a blurred image, one for itself.

    Over a set it is the ratio of the sums, in which a flat original weighs nothing. Noise counts as detail: read it
    beside a measure of fidelity. An original without any detail gives infinity, or NaN for itself.
    """
    return high_frequency_energy(image) / high_frequency_energy(original)
