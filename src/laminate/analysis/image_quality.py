"""How near an image is to its original, in all conventions that people report."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from laminate.evals.psnr import psnr
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
    "lpips": "sum over the stages (lpips 0.1)",
}
HIGHER = {"psnr", "ssim", "ssim-cropped", "ssim-uniform", "ms-ssim"}


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
