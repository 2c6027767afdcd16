"""The teacher that needs no weights: raw pixel patches, normalised."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.nn import patchify, unpatchify
from laminate.types import Image, RandomKey, Tokens

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Patches(eqx.Module):
    """Pixels of each patch, minus the ImageNet mean, over the ImageNet standard deviation, channel by channel.

    Turns an image in [0, 1] of `image_size` into `(image_size / patch)^2` tokens of `3 * patch^2` numbers, and back
    exactly.
    """

    image_size: int = eqx.field(static=True)
    patch: int = eqx.field(static=True)

    @property
    def tokens(self) -> int:
        return (self.image_size // self.patch) ** 2

    @property
    def dim(self) -> int:
        return 3 * self.patch**2

    def __call__(
        self,
        image: Float[Array, "{self.image_size} {self.image_size} 3"],
        *,
        dtype: jnp.dtype | None = None,
        key: RandomKey | None = None,
    ) -> Tokens:
        """The features, in the dtype of the image: nothing is computed that `dtype` could make cheaper."""
        mean, std = _channels(image)
        return patchify((image - mean) / std, self.patch)

    def pixels(self, features: Float[Array, "{self.tokens} {self.dim}"]) -> Image:
        """The image of these features, clipped to [0, 1]."""
        side = self.image_size // self.patch
        image = unpatchify(features, self.patch, (side, side))
        mean, std = _channels(image)
        return jnp.clip(image * std + mean, 0.0, 1.0)


def _channels(image: Image) -> tuple[Image, Image]:
    mean, std = (jnp.asarray(c, image.dtype) for c in (IMAGENET_MEAN, IMAGENET_STD))
    return jnp.broadcast_to(mean, image.shape), jnp.broadcast_to(std, image.shape)
