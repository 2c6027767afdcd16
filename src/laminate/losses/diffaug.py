"""Differentiable augmentation of what a discriminator sees (Zhao et al. 2020).

The same kind of change is made to true and generated images, so that the discriminator cannot learn the true ones by
heart, and gradients flow through it to the generator.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.types import Image, RandomKey, Scalar


class AugmentDraws(NamedTuple):
    """Uniform numbers in [0, 1) for one image.

    `switches`: translation, colour, cutout. `amounts`: row and column shift, brightness, saturation, contrast, row
    and column of the cutout.
    """

    switches: Float[Array, "3"]
    amounts: Float[Array, "7"]


def draw_augmentation(key: RandomKey) -> AugmentDraws:
    """The draws of one image.

    The published implementations throw the three switches once for a whole batch; here every image has its own, so that
    what happens to it does not depend on the images beside it. At `probability=1` there is no difference.
    """
    numbers = jax.random.uniform(key, (10,), jnp.float32)
    return AugmentDraws(numbers[:3], numbers[3:])


def diffaug(
    image: Image,
    draws: AugmentDraws,
    *,
    probability: float = 1.0,
    translation: float = 0.125,
    cutout: float = 0.0,
) -> Image:
    """An image in [-1, 1] translated, recoloured, and with a square cut out, in this order.

    Each of the three is done if its switch is at most `probability`. A shift is a whole number of pixels up to
    `translation` times the side either way; what comes in is 0. Colour adds up to a half to all channels, then scales
    the distance of each channel from their mean by up to 2, then that of each pixel from the mean of the image by 0.5
    to 1.5. The square is `cutout` times as wide as the image and becomes 0; its centre lies anywhere in the image.

    Amounts of 0.5 leave shift and colour as they are. Computed in float32, with the result in the dtype of `image`;
    values may leave [-1, 1].

    Raises ValueError for a fraction outside [0, 1].
    """
    for name, value in (("probability", probability), ("translation", translation), ("cutout", cutout)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value} must lie between 0 and 1.")
    x = image.astype(jnp.float32)
    if probability == 0:
        return image
    on = draws.switches <= probability
    x = jnp.where(on[0], _translated(x, draws.amounts[:2], translation), x)
    x = jnp.where(on[1], _recoloured(x, draws.amounts[2:5]), x)
    if cutout > 0:
        x = jnp.where(on[2], _cut(x, draws.amounts[5:7], cutout), x)
    return x.astype(image.dtype)


def _translated(x: Image, amounts: Float[Array, "2"], fraction: float) -> Image:
    """`out[i, j] = x[i + rows, j + columns]`, zeros beyond the image."""
    reach = [round(fraction * side) for side in x.shape[:2]]
    padded = jnp.pad(x, ((reach[0], reach[0]), (reach[1], reach[1]), (0, 0)))
    starts = [
        jnp.floor(amount * (2 * r + 1)).astype(jnp.int32)
        for amount, r in zip((amounts[0], amounts[1]), reach, strict=True)
    ]
    return jax.lax.dynamic_slice(padded, (starts[0], starts[1], jnp.zeros((), jnp.int32)), x.shape)


def _recoloured(x: Image, amounts: Float[Array, "3"]) -> Image:
    x = x + (amounts[0] - 0.5)
    x = _stretched(x, jnp.mean(x, axis=-1, keepdims=True), 2 * amounts[1])
    return _stretched(x, jnp.mean(x, keepdims=True), amounts[2] + 0.5)


def _stretched(x: Image, mean: Float[Array, "_ _ _"], factor: Scalar) -> Image:
    mean = jnp.broadcast_to(mean, x.shape)
    return (x - mean) * factor + mean


def _cut(x: Image, amounts: Float[Array, "2"], fraction: float) -> Image:
    rows, columns = (_inside(side, amounts[i], fraction) for i, side in enumerate(x.shape[:2]))
    hole = (rows[:, None] & columns[None, :])[..., None]
    return jnp.where(jnp.broadcast_to(hole, x.shape), 0.0, x)


def _inside(side: int, amount: Scalar, fraction: float) -> Array:
    """Which places of a side lie in the hole."""
    size = round(fraction * side)
    centre = jnp.floor(amount * (side + (1 - size % 2))).astype(jnp.int32)
    places = jnp.arange(side, dtype=jnp.int32) - (centre - size // 2)
    return (0 <= places) & (places < size)
