"""VGG-16 up to its last convolution, and the perceptual distance on its features or on those of AlexNet."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.alexnet import AlexNet
from laminate.nn import Conv2d, max_pool
from laminate.types import Float32Params, Image, RandomKey, Scalar, exact

WIDTHS = (64, 128, 256, 512, 512)
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)

LpipsNetwork = Literal["vgg", "alex"]

_CONVOLUTIONS = (2, 2, 3, 3, 3)
_EPS = 1e-10


class Vgg16(eqx.Module):
    """Five stages of 3x3 convolutions and ReLUs with 2x2 max pooling between them (Simonyan & Zisserman 2015).

    Gives the output of each stage (relu1_2, relu2_2, relu3_3, relu4_3, relu5_3), each half as large as the one before.
    """

    stages: tuple[tuple[Conv2d, ...], ...]

    def __init__(self, widths: tuple[int, ...] = WIDTHS, *, key: RandomKey):
        keys = iter(jax.random.split(key, sum(_CONVOLUTIONS)))
        stages: list[tuple[Conv2d, ...]] = []
        before = 3
        for width, count in zip(widths, _CONVOLUTIONS, strict=True):
            ins = (before, *(width,) * (count - 1))
            stages.append(tuple(Conv2d(i, width, 3, padding="same", key=next(keys)) for i in ins))
            before = width
        self.stages = tuple(stages)

    @jax.named_scope("vgg16")
    def __call__(
        self, x: Float[Array, "height width 3"], *, key: RandomKey | None = None
    ) -> tuple[Float[Array, "_ _ _"], ...]:
        features: list[Array] = []
        for stage, convolutions in enumerate(self.stages):
            x = max_pool(x, 2, stride=2) if stage else x
            for convolution in convolutions:
                x = jax.nn.relu(convolution(x))
            features.append(x)
        return tuple(features)


class Lpips(Float32Params):
    """The learned perceptual distance of two images in [0, 1] (Zhang et al. 2018), a float32 scalar.

    Features of every stage are divided by their length at each pixel; the squared difference is weighted channel by
    channel with `heads`, averaged over the pixels, and summed over the stages.

    Products of float32 images are float32 on every device: a distance is the difference of what is nearly equal. On a
    TPU that costs six passes in place of one, as a loss too; images in bfloat16 take one.
    """

    network: Vgg16 | AlexNet
    heads: tuple[Float[Array, " width"], ...]

    def __init__(self, widths: tuple[int, ...] = WIDTHS, *, network: LpipsNetwork = "vgg", key: RandomKey):
        self.network = (Vgg16 if network == "vgg" else AlexNet)(widths, key=key)
        self.heads = tuple(jnp.full(width, 1 / width, jnp.float32) for width in widths)

    def __call__(self, x: Image, y: Image, *, key: RandomKey | None = None) -> Scalar:
        return jnp.sum(self.by_stage(x, y))

    def by_stage(self, x: Image, y: Image) -> Float[Array, " stages"]:
        """The distance that each stage adds."""
        pairs = zip(self.features(x), self.features(y), self.heads, strict=True)
        return jnp.stack([_distance(a, b, head) for a, b, head in pairs])

    @exact
    def features(self, image: Image) -> tuple[Float[Array, "_ _ _"], ...]:
        """What leaves each stage, of an image in [0, 1]."""
        shift, scale = (jnp.broadcast_to(jnp.asarray(c, image.dtype), image.shape) for c in (SHIFT, SCALE))
        return self.network((2 * image - 1 - shift) / scale)


def _distance(
    a: Float[Array, "rows columns width"],
    b: Float[Array, "rows columns width"],
    head: Float[Array, " width"],
) -> Scalar:
    squared = jnp.square(_unit(a) - _unit(b))
    return jnp.mean(jnp.sum(squared * jnp.broadcast_to(head.astype(jnp.float32), squared.shape), axis=-1))


def _unit(x: Float[Array, "rows columns width"]) -> Float[Array, "rows columns width"]:
    wide = x.astype(jnp.float32)
    square = jnp.sum(jnp.square(wide), axis=-1, keepdims=True)
    # The root has no slope at zero, where all features of a pixel are off: the gradient there is taken as zero.
    length = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    return wide / jnp.broadcast_to(length + _EPS, wide.shape)
