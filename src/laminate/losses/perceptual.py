"""Perceptual distances behind one signature: `perceptual(image, target)`, images in [0, 1], a float32 scalar.

Without the weights of a network, `losses.pyramid.pyramid_distance` has the same signature.
"""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from laminate.types import Image, Scalar


@runtime_checkable
class PerceptualDistance(Protocol):
    """How different two images in [0, 1] look."""

    def __call__(self, image: Image, target: Image, /) -> Scalar: ...


def lpips_loss(image: Image, target: Image, *, network: PerceptualDistance, clip: bool = True) -> Scalar:
    """The distance that `network` sees between two images in [0, 1]: `models.vgg.Lpips` (Zhang et al. 2018), or
    `models.vit_distance.VitDistance`.

    `clip` brings both into [0, 1] first, as FlatDINO does: a pixel beyond has no gradient then. RAE does not clip.
    No gradient reaches the target.
    """
    target = jax.lax.stop_gradient(target)
    if clip:
        image, target = jnp.clip(image, 0.0, 1.0), jnp.clip(target, 0.0, 1.0)
    return network(image, target)
