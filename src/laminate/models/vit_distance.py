"""The distance of two images in the tokens of a vision transformer, over all of its layers."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.vit import Vit
from laminate.nn import resize
from laminate.types import Image, RandomKey, Scalar

_SHORTEST = 1e-6


class VitDistance(eqx.Module):
    """The perceptual distance of two images in [0, 1] (ViTok's, with a frozen DINO), a float32 scalar.

    All tokens that leave a layer (those of the last one normed) are divided by their lengths, which are at least 1e-6;
    the squared difference is averaged over tokens and features, then over the layers. It is `(2 - 2 cos) / dim` on
    average, so its weight has to be large. Images whose longer side is above `longest` pixels are made smaller first,
    with the sides rounded, bicubically and without antialiasing. Nothing is clipped.

    Raises ValueError for a `vit` of tokens.
    """

    vit: Vit
    longest: int = eqx.field(static=True)
    mean: tuple[float, ...] = eqx.field(static=True)
    std: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, vit: Vit, longest: int, *, mean: tuple[float, ...], std: tuple[float, ...]):
        if vit.patch is None or vit.output is not None:
            raise ValueError(
                "A VitDistance compares images: give it a Vit with `patch` and without `out_dim`."
            )
        self.vit = vit
        self.longest = longest
        self.mean = mean
        self.std = std

    @jax.named_scope("vit_distance")
    def __call__(self, image: Image, target: Image, *, key: RandomKey | None = None) -> Scalar:
        return jnp.mean(self.by_layer(image, target))

    def by_layer(self, image: Image, target: Image) -> Float[Array, " layers"]:
        """The distance in each layer."""
        difference = _unit(self.features(image)) - _unit(self.features(target))
        return jnp.mean(jnp.square(difference), axis=(1, 2))

    def features(self, image: Image) -> Float[Array, "layers tokens dim"]:
        """The tokens that leave each layer, those of the last one normed."""
        depth = self.vit.stack.depth
        final, before = self.vit.taps(self.seen(image), tuple(range(depth - 1)))
        return jnp.concatenate([before, final[None]])

    def seen(self, image: Image) -> Float[Array, "rows columns channels"]:
        """What enters the network."""
        height, width = image.shape[:2]
        shrink = min(1.0, self.longest / max(height, width))
        to = (round(height * shrink), round(width * shrink))
        sized = resize(image.astype(jnp.float32), to, "bicubic")
        mean, std = (
            jnp.broadcast_to(jnp.asarray(c, jnp.float32), sized.shape) for c in (self.mean, self.std)
        )
        return ((sized - mean) / std).astype(image.dtype)


def _unit(tokens: Float[Array, "layers tokens dim"]) -> Float[Array, "layers tokens dim"]:
    wide = tokens.astype(jnp.float32)
    square = jnp.sum(jnp.square(wide), axis=-1, keepdims=True)
    # Bounded before the root, whose slope at zero is infinite.
    return wide * jax.lax.rsqrt(jnp.maximum(square, _SHORTEST**2))
