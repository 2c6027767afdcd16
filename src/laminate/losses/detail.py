"""A distance of images that lets fine detail be as strong as it should be where it cannot be foretold."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.losses.filters import high_half
from laminate.losses.reconstruction import l1_loss
from laminate.types import Image, Scalar

_FAINTEST = 1e-3  # a quarter of a grey level: below it, detail is not seen, and the root has a derivative


def detail_loss(image: Image, target: Image, *, direction: float = 3.0, strength: float = 6.0) -> Scalar:
    """How differently two images look: pixels by their values, fine detail by its direction and its strength as well.

    `mean|x - y| + direction (s_y - <h_x, h_y> / s_x) + strength |s_x - s_y|`

    where `h` is what an image of half the size cannot hold (`filters.high_half`), `<., .>` the mean product over
    pixels and channels, and `s = sqrt(<h, h> + 0.001^2)`. The second term is `s_y` times one minus the cosine of the
    two details; the third is zero where they are equally strong. The detail of `image` is taken as it is shown, clipped
    to the range [0, 1] of images. Any floating dtype, computed in float32.

    An error of values alone is least for an image whose detail is as faint as it is uncertain: a blurred one. A cosine
    does not know how strong detail is, so what is sharpened first is what is known best, edges; the first term asks of
    flat places that they are flat. 0 for equal images in [0, 1].
    """
    fine, fine_target = high_half(jnp.clip(image.astype(jnp.float32), 0.0, 1.0)), high_half(target)
    own, wanted = _strength(fine), _strength(fine_target)
    # Round-off may bring equal images below zero.
    turned = jnp.maximum(wanted - (jnp.mean(fine * fine_target) + _FAINTEST**2) / own, 0.0)
    return l1_loss(image, target) + direction * turned + strength * jnp.abs(own - wanted)


def _strength(fine: Float[Array, "_ _ _"]) -> Scalar:
    return jnp.sqrt(jnp.mean(jnp.square(fine)) + _FAINTEST**2)
