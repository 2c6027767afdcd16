"""AlexNet up to its last convolution, as the perceptual distance uses it."""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from laminate.nn import Conv2d, max_pool
from laminate.types import RandomKey

ALEXNET_WIDTHS = (64, 192, 384, 256, 256)
_KERNELS = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))  # size, stride, padding
_POOLED = (1, 2)


class AlexNet(eqx.Module):
    """Five convolutions and ReLUs, with 3x3 max pooling of stride 2 before the second and the third (Krizhevsky 2014).

    Gives what leaves each ReLU.
    """

    stages: tuple[tuple[Conv2d, ...], ...]

    def __init__(self, widths: tuple[int, ...] = ALEXNET_WIDTHS, *, key: RandomKey):
        keys = jax.random.split(key, len(_KERNELS))
        ins = (3, *widths[:-1])
        self.stages = tuple(
            (Conv2d(before, width, size, stride=stride, padding=padding, key=k),)
            for before, width, (size, stride, padding), k in zip(ins, widths, _KERNELS, keys, strict=True)
        )

    @jax.named_scope("alexnet")
    def __call__(
        self, x: Float[Array, "height width 3"], *, key: RandomKey | None = None
    ) -> tuple[Float[Array, "_ _ _"], ...]:
        features: list[Array] = []
        for stage, (convolution,) in enumerate(self.stages):
            x = max_pool(x, 3, stride=2) if stage in _POOLED else x
            x = jax.nn.relu(convolution(x))
            features.append(x)
        return tuple(features)
