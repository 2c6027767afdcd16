"""The backbone that needs no weights: the fine detail of an image, in which a blurred one differs from a sharp one."""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from laminate.losses.filters import high_half
from laminate.models.discriminator import Backbone
from laminate.types import RandomKey


class Details(Backbone):
    """`gain` times what an image of half the size cannot hold, in the dtype of the image.

    A discriminator behind it judges texture and edges alone, so what a decoder learns from it leaves colours and shapes
    to the other losses.
    """

    gain: float = eqx.field(static=True, default=4.0)

    @jax.named_scope("details")
    def __call__(
        self, image: Float[Array, "height width channels"], *, key: RandomKey | None = None
    ) -> Float[Array, "height width channels"]:
        return (self.gain * high_half(image)).astype(image.dtype)
