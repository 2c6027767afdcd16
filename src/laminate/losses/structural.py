"""Structural similarity of two images."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from laminate.losses.filters import gaussian_blur
from laminate.types import Image, Scalar

_SIGMA = 1.5
_RADIUS = 5


def ssim(
    image: Image,
    target: Image,
    *,
    data_range: float = 1.0,
    mask: Bool[Array, "height width"] | None = None,
) -> Scalar:
    """The mean over pixels and channels of the structural similarity (Wang et al. 2004, eq. 13), at most one:

    `(2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2))`

    with local means, variances and covariance under an 11x11 Gaussian of standard deviation 1.5,
    `C1 = (0.01 L)^2`, `C2 = (0.03 L)^2`, and `L` the `data_range`: 1 for images in [0, 1], 2 for images in [-1, 1]
    (which is another number, because the means are). The border counts, with the image mirrored beyond it; no value
    is clipped. Images of any floating dtype; the result is a float32 scalar.

    Only pixels of the `mask` count in the mean, if there is one; without any pixel the images are alike, and it is one.
    """
    luminance, contrast = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    x, y = image.astype(jnp.float32), target.astype(jnp.float32)
    # Variances do not depend on where zero is, and near their mean numbers lose least when they are squared.
    zero = jax.lax.stop_gradient(jnp.mean(y, axis=(0, 1), keepdims=True))
    x, y = x - zero, y - zero
    # One pass of the window over all five maps.
    maps = jnp.concatenate([x, y, jnp.square(x), jnp.square(y), x * y], axis=-1)
    blurred = gaussian_blur(maps, sigma=_SIGMA, radius=_RADIUS)
    mean_x, mean_y, square_x, square_y, product = jnp.split(blurred, 5, axis=-1)
    # The difference of two close numbers may be a little below zero, a variance may not.
    variance_x = jnp.maximum(square_x - jnp.square(mean_x), 0.0)
    variance_y = jnp.maximum(square_y - jnp.square(mean_y), 0.0)
    covariance = product - mean_x * mean_y
    mean_x, mean_y = mean_x + zero, mean_y + zero
    above = (2.0 * mean_x * mean_y + luminance) * (2.0 * covariance + contrast)
    below = (jnp.square(mean_x) + jnp.square(mean_y) + luminance) * (variance_x + variance_y + contrast)
    if mask is None:
        return jnp.mean(above / below)
    each = jnp.mean(above / below, axis=-1)
    count = jnp.sum(mask.astype(jnp.float32))
    total = jnp.sum(jnp.where(mask, each, 0.0))
    return jnp.where(count > 0, total / jnp.maximum(count, 1.0), 1.0)


def ssim_loss(
    image: Image,
    target: Image,
    *,
    data_range: float = 1.0,
    mask: Bool[Array, "height width"] | None = None,
) -> Scalar:
    """`1 - ssim`, zero for equal images."""
    return 1.0 - ssim(image, target, data_range=data_range, mask=mask)
