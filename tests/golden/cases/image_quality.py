"""Measures of an image and its original: PSNR, SSIM in its conventions and on several scales, LPIPS with AlexNet."""

import jax
import jax.numpy as jnp
import numpy as np

from laminate.evals.psnr import psnr
from laminate.losses.structural import CROPPED, MS_SSIM_BETAS, UNIFORM, WHOLE, ms_ssim, ssim
from laminate.models.alexnet import ALEXNET_WIDTHS
from laminate.pretrained.lpips import load_lpips

from ..options import Options
from ..reader import Golden
from .adm import ABOUT_THE_FILE
from .vision import channels_last

_CONVENTIONS = {"torchmetrics": WHOLE, "skimage_gaussian": CROPPED, "skimage_uniform": UNIFORM}


def produce(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    widths = tuple(options.take("lpips_alex_widths", ALEXNET_WIDTHS))
    betas = tuple(options.take("ms_ssim_betas", MS_SSIM_BETAS))
    small_betas = tuple(options.take("ms_ssim_small_betas", ()))
    options.ignore(*ABOUT_THE_FILE)
    options.none_left()
    x, y = (channels_last(golden.input(name)) for name in "xy")
    lpips = load_lpips(golden.weights, widths=widths)
    each = jax.vmap(psnr)(x, y)
    by_stage = jax.jit(lambda lpips, x, y: jax.vmap(lpips.by_stage)(x, y))(lpips, x, y)
    produced = {
        "psnr_per_image": each,
        "psnr": jnp.mean(each),
        "psnr_identical": psnr(x[0], x[0]),
        "lpips_alex_per_layer": by_stage,
        "lpips_alex": jnp.sum(by_stage, axis=1),
    }
    for name, convention in _CONVENTIONS.items():
        run = jax.jit(jax.vmap(lambda x, y, convention=convention: ssim(x, y, convention=convention)))
        produced[f"ssim_{name}"] = run(x, y)
    scales = jax.jit(jax.vmap(lambda x, y: ms_ssim(x, y, betas=betas)))
    large = (channels_last(golden.input(f"ms_ssim/{name}")).astype(jnp.float32) / 255 for name in "xy")
    produced["ms_ssim"] = scales(*large)
    if small_betas:
        produced["ms_ssim_small"] = jax.jit(jax.vmap(lambda x, y: ms_ssim(x, y, betas=small_betas)))(x, y)
    return {name: np.asarray(value) for name, value in produced.items()}
