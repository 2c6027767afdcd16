"""The backbone that needs no weights: the fine detail of an image, in which a blurred one differs from a sharp one."""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from laminate.losses.filters import gaussian_blur
from laminate.models.discriminator import Backbone
from laminate.types import RandomKey


class Details(Backbone):
    """`gain * (image - blur(image))`, with a Gaussian blur of `sigma` pixels.

    A discriminator behind it judges texture and edges alone, so what a decoder learns from it leaves colours and shapes
    to the other losses. In the dtype of the image.
    """

    sigma: float = eqx.field(static=True, default=1.0)
    gain: float = eqx.field(static=True, default=4.0)

    @jax.named_scope("details")
    def __call__(
        self, image: Float[Array, "height width channels"], *, key: RandomKey | None = None
    ) -> Float[Array, "height width channels"]:
        return (self.gain * (image - gaussian_blur(image, sigma=self.sigma).astype(image.dtype))).astype(
            image.dtype
        )
