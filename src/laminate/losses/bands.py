"""A distance of images that lets fine detail be as strong as it should be where it cannot be foretold."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.losses.filters import low_half
from laminate.types import Image, Scalar

_FAINTEST = 1e-3  # a quarter of a grey level: below it, detail is not seen, and the root has a derivative


def two_band_loss(image: Image, target: Image, *, direction: float = 4.0, strength: float = 5.0) -> Scalar:
    """How differently two images look: coarse structure by its values, fine detail by its direction and its strength.

    `mean|l(x) - l(y)| + direction (s_y - <h_x, h_y> / s_x) + strength |s_x - s_y|`

    where `l` is what an image of half the size can hold (`filters.low_half`), `h` the rest, `<.,.>` the mean of the
    products over pixels and channels, and `s = sqrt(<h, h> + 0.001^2)`. The second term is `s_y` times one minus the
    cosine of the two details; the third is zero where they are equally strong. The detail of `image` is taken as it is
    shown, clipped to the range [0, 1] of images. Any floating dtype, computed in float32.

    The error of values is least for an image whose detail is as faint as it is uncertain: a blurred one. A cosine does
    not know how strong detail is, so what is sharpened first is what is known best, edges, and grain is sharpened last.
    0 for equal images in [0, 1].
    """
    low, low_target = low_half(image), low_half(target)
    shown = jnp.clip(image.astype(jnp.float32), 0.0, 1.0)
    fine, fine_target = shown - low_half(shown), target.astype(jnp.float32) - low_target
    own, wanted = _strength(fine), _strength(fine_target)
    # Round-off may bring equal images below zero.
    turned = jnp.maximum(wanted - (jnp.mean(fine * fine_target) + _FAINTEST**2) / own, 0.0)
    coarse = jnp.mean(jnp.abs(low - low_target))
    return coarse + direction * turned + strength * jnp.abs(own - wanted)


def _strength(fine: Float[Array, "_ _ _"]) -> Scalar:
    return jnp.sqrt(jnp.mean(jnp.square(fine)) + _FAINTEST**2)
