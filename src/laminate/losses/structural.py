"""Structural similarity of two images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from laminate.losses.filters import gaussian_blur, uniform_blur
from laminate.types import Image, Scalar


@dataclass(frozen=True)
class SsimConvention:
    """How local moments are taken, and which pixels count.

    `blur` is the window; a `radius` of pixels on each side is left out of the mean; (co)variances are multiplied by
    `correction`.
    """

    blur: Callable[[Image], Image]
    radius: int = 0
    correction: float = 1.0


_GAUSSIAN = partial(gaussian_blur, sigma=1.5, radius=5)
WHOLE = SsimConvention(_GAUSSIAN)
"""An 11x11 Gaussian of deviation 1.5, the whole map (torchmetrics, ViTok)."""
CROPPED = SsimConvention(_GAUSSIAN, radius=5)
"""The same without the outer five rows and columns (scikit-image with Gaussian weights; Wang's own program)."""
UNIFORM = SsimConvention(partial(uniform_blur, size=7), radius=3, correction=49 / 48)
"""A 7x7 mean, unbiased variances, without the outer three rows and columns (scikit-image's default)."""


def ssim(
    image: Image,
    target: Image,
    *,
    data_range: float = 1.0,
    mask: Bool[Array, "height width"] | None = None,
    convention: SsimConvention = WHOLE,
) -> Scalar:
    """The mean over pixels and channels of the structural similarity (Wang et al. 2004, eq. 13), at most one:

    `(2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2))`

    with local means, variances and covariance under the window of the `convention`,
    `C1 = (0.01 L)^2`, `C2 = (0.03 L)^2`, and `L` the `data_range`: 1 for images in [0, 1], 2 for images in [-1, 1]
    (which is another number, because the means are). The image is mirrored beyond its border; no value is clipped.
    Images of any floating dtype; the result is a float32 scalar.

    Only pixels of the `mask` count in the mean, if there is one; without any pixel the images are alike, and it is one.

    Raises ValueError for images that the convention leaves no pixel of.
    """
    light, contrast = _maps(image, target, data_range, convention)
    each = _within(light * contrast, convention.radius)
    if mask is None:
        return jnp.mean(each)
    each = jnp.mean(each, axis=-1)
    mask = _within(mask, convention.radius)
    count = jnp.sum(mask.astype(jnp.float32))
    total = jnp.sum(jnp.where(mask, each, 0.0))
    return jnp.where(count > 0, total / jnp.maximum(count, 1.0), 1.0)


MS_SSIM_BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The exponents of five scales, the finest first (Wang, Simoncelli & Bovik 2003)."""


def ms_ssim(
    image: Image, target: Image, *, betas: tuple[float, ...] = MS_SSIM_BETAS, data_range: float = 1.0
) -> Scalar:
    """The product over scales of `max(c, 0)^beta`, of the coarsest `max(s, 0)^beta`, as torchmetrics has it.

    `c` is the mean of the contrast and structure terms of `ssim` without the outer five rows and columns, `s` the
    `ssim` of the whole map. From scale to scale 2x2 pixels are averaged, and an odd last row or column is dropped.

    Raises ValueError for images too small for that many scales: the last but one has sides of at least 11 pixels.
    """
    least = (2 * CROPPED.radius + 1) * 2 ** (len(betas) - 2) if len(betas) > 1 else 1
    if not betas or min(image.shape[:2]) < least:
        raise ValueError(
            f"ms_ssim: {len(betas)} scales need sides of at least {least} pixels, got {image.shape[0]}x"
            f"{image.shape[1]}: give fewer betas."
        )
    x, y = image.astype(jnp.float32), target.astype(jnp.float32)
    product = jnp.ones((), jnp.float32)
    for beta in betas[:-1]:
        contrast = _within(_maps(x, y, data_range, CROPPED)[1], CROPPED.radius)
        product = product * jnp.maximum(jnp.mean(contrast), 0.0) ** beta
        x, y = _half(x), _half(y)
    return product * jnp.maximum(ssim(x, y, data_range=data_range), 0.0) ** betas[-1]


def ssim_loss(
    image: Image,
    target: Image,
    *,
    data_range: float = 1.0,
    mask: Bool[Array, "height width"] | None = None,
) -> Scalar:
    """`1 - ssim`, zero for equal images."""
    return 1.0 - ssim(image, target, data_range=data_range, mask=mask)


def _maps(
    image: Image, target: Image, data_range: float, convention: SsimConvention
) -> tuple[Float[Array, "height width channels"], Float[Array, "height width channels"]]:
    """The likeness of the means, and that of contrast and structure."""
    luminance, contrast = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    x, y = image.astype(jnp.float32), target.astype(jnp.float32)
    # Variances do not depend on where zero is, and near their mean numbers lose least when they are squared.
    zero = jax.lax.stop_gradient(jnp.mean(y, axis=(0, 1), keepdims=True))
    x, y = x - zero, y - zero
    # One pass of the window over all five maps.
    maps = jnp.concatenate([x, y, jnp.square(x), jnp.square(y), x * y], axis=-1)
    mean_x, mean_y, square_x, square_y, product = jnp.split(convention.blur(maps), 5, axis=-1)
    # The difference of two close numbers may be a little below zero, a variance may not.
    variance_x = jnp.maximum(square_x - jnp.square(mean_x), 0.0) * convention.correction
    variance_y = jnp.maximum(square_y - jnp.square(mean_y), 0.0) * convention.correction
    covariance = (product - mean_x * mean_y) * convention.correction
    mean_x, mean_y = mean_x + zero, mean_y + zero
    light = (2.0 * mean_x * mean_y + luminance) / (jnp.square(mean_x) + jnp.square(mean_y) + luminance)
    return light, (2.0 * covariance + contrast) / (variance_x + variance_y + contrast)


def _within(maps: Array, radius: int) -> Array:
    height, width = maps.shape[:2]
    if min(height, width) <= 2 * radius:
        raise ValueError(
            f"A window that leaves out {radius} pixels on each side needs images of more than {2 * radius}, got "
            f"{height}x{width}."
        )
    return maps[radius : height - radius, radius : width - radius]


def _half(image: Image) -> Float[Array, "rows columns channels"]:
    height, width = image.shape[0] // 2, image.shape[1] // 2
    return image[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1).mean(axis=(1, 3))
