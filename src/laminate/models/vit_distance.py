"""The distance of two images in the tokens of a vision transformer, over all of its layers."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from laminate.models.vit import Vit
from laminate.nn import Padding, resize
from laminate.types import Image, RandomKey, Scalar

Pixels = Bool[Array, "height width"]

_SHORTEST = 1e-6


class VitDistance(eqx.Module):
    """The perceptual distance of two images in [0, 1] (ViTok's, with a frozen DINO), a float32 scalar.

    All tokens that leave a layer (those of the last one normed) are divided by their lengths, which are at least 1e-6;
    the squared difference is averaged over tokens and features, then over the layers. It is `(2 - 2 cos) / dim` on
    average, so its weight has to be large. Images whose longer side is above `longest` pixels are made smaller first,
    with the sides rounded, bicubically and without antialiasing. Nothing is clipped.

    With a `mask` of pixels, patches that hold none of it are seen by no token and do not count: so images that are
    filled up to a common size are as far apart as they are.

    Raises ValueError for a `vit` of tokens, and for a mask of images that are made smaller.
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
    def __call__(
        self,
        image: Image,
        target: Image,
        *,
        mask: Pixels | None = None,
        key: RandomKey | None = None,
    ) -> Scalar:
        return jnp.mean(self.by_layer(image, target, mask=mask))

    def by_layer(self, image: Image, target: Image, *, mask: Pixels | None = None) -> Float[Array, " layers"]:
        """The distance in each layer."""
        sight = None if mask is None else Padding(self._patches(mask), self.vit.prefix)
        difference = _unit(self.features(image, sight)) - _unit(self.features(target, sight))
        each = jnp.mean(jnp.square(difference), axis=2)
        if sight is None:
            return jnp.mean(each, axis=1)
        counted = jnp.broadcast_to(sight.keys()[None], each.shape)
        total = jnp.sum(jnp.where(counted, each, jnp.zeros_like(each)), axis=1)
        return total / jnp.maximum(jnp.sum(counted.astype(jnp.float32), axis=1), 1.0)

    def features(self, image: Image, sight: Padding | None = None) -> Float[Array, "layers tokens dim"]:
        """The tokens that leave each layer, those of the last one normed."""
        depth = self.vit.stack.depth
        final, before = self.vit.taps(self.seen(image), tuple(range(depth - 1)), sight)
        return jnp.concatenate([before, final[None]])

    def _patches(self, mask: Pixels) -> Bool[Array, " patches"]:
        """Which patches hold a pixel of the mask."""
        assert self.vit.patch is not None
        if max(mask.shape) > self.longest:
            raise ValueError(
                f"A mask is of images as they are seen, and those of {mask.shape[0]} x {mask.shape[1]} pixels are made "
                f"smaller: {self.longest} is the longest side."
            )
        side = self.vit.patch.patch
        rows, columns = (n // side for n in mask.shape)
        cells = mask[: rows * side, : columns * side].reshape(rows, side, columns, side)
        return jnp.any(cells, axis=(1, 3)).reshape(-1)

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
