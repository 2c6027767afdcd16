"""How near an image is to its original, in all conventions that people report."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Int

from laminate.evals.psnr import decibels, psnr
from laminate.losses.structural import CROPPED, MS_SSIM_BETAS, UNIFORM, ms_ssim, ssim
from laminate.types import Image

LEAST = 11 * 2 ** (len(MS_SSIM_BETAS) - 2)
"""Side from which on an image has the scales of MS-SSIM."""
CONVENTIONS = {
    "psnr": "dB, of floats clipped to [0, 1], mean over the images",
    "ssim": "Gaussian 11 x 11, whole map (torchmetrics)",
    "ssim-cropped": "Gaussian 11 x 11, without the outer five pixels (scikit-image, gaussian_weights)",
    "ssim-uniform": "mean of 7 x 7, unbiased, without the outer three pixels (scikit-image's default)",
    "ms-ssim": "five scales (torchmetrics)",
    "ssim-vitok": "Gaussian 11 x 11, whole map, of values in [-1, 1] that are not clipped (ViTok)",
    "lpips": "sum over the stages (lpips 0.1)",
}
HIGHER = {"psnr", "ssim", "ssim-vitok", "ssim-cropped", "ssim-uniform", "ms-ssim"}


def sized_quality(image: Image, original: Image, size: Int[Array, "2"]) -> dict[str, Array]:
    """`psnr` and `ssim` of `quality`, and ViTok's `ssim-vitok`, of images of any size on a canvas of a fixed one.

    Both are in [-1, 1] and not clipped; the first `size` rows and columns count. The canvas has five more at least on
    each side, which may hold anything. float32 scalars.
    """
    rows, columns = (_mirrored(length, end) for length, end in zip(image.shape[:2], size, strict=True))
    whole = [canvas.astype(jnp.float32)[rows][:, columns] for canvas in (image, original)]
    inside = [jnp.arange(length) < end for length, end in zip(image.shape[:2], size, strict=True)]
    mask = inside[0][:, None] & inside[1][None, :]
    x, y = (jnp.clip(0.5 * one + 0.5, 0.0, 1.0) for one in whole)
    mean_error = jnp.mean(jnp.mean(jnp.square(x - y), axis=-1), where=mask)
    return {
        "psnr": decibels(mean_error),
        "ssim": ssim(x, y, mask=mask),
        "ssim-vitok": ssim(*whole, data_range=2.0, mask=mask),
    }


def _mirrored(length: int, size: Int[Array, ""]) -> Int[Array, " length"]:
    """Which of the first `size` places of an axis stands at each, if what lies beyond is mirrored at the last."""
    period = jnp.maximum(2 * (size - 1), 1)
    at = jnp.arange(length, dtype=size.dtype) % period
    return jnp.minimum(at, period - at)


def quality(image: Image, original: Image, lpips: Any = None) -> dict[str, Array]:
    """The measures of `CONVENTIONS` that images of this size have, float32 scalars; LPIPS if there is its network."""
    x, y = jnp.clip(image.astype(jnp.float32), 0.0, 1.0), original.astype(jnp.float32)
    found = {"psnr": psnr(x, y), "ssim": ssim(x, y)}
    if min(y.shape[:2]) > 2 * CROPPED.radius:
        found["ssim-cropped"] = ssim(x, y, convention=CROPPED)
        found["ssim-uniform"] = ssim(x, y, convention=UNIFORM)
    if min(y.shape[:2]) >= LEAST:
        found["ms-ssim"] = ms_ssim(x, y)
    if lpips is not None:
        found["lpips"] = lpips(x, y)
    return found
