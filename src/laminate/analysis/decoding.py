"""How well an image decoder gives back images: measures of one example, and of a validation set."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from laminate.evals.psnr import psnr
from laminate.evals.sharpness import high_frequency_energy
from laminate.losses.perceptual import PerceptualDistance
from laminate.losses.reconstruction import l1_loss
from laminate.losses.structural import ssim
from laminate.types import Image

_DETAIL, _DETAIL_OF_ORIGINAL = "high_frequencies", "high_frequencies_of_original"


def decoding_measures(
    original: Image, rebuilt: Image, *, perceptual: Mapping[str, PerceptualDistance]
) -> dict[str, Array]:
    """Of an image in [0, 1] and what the decoder made of it, clipped to [0, 1]: float32 scalars to be summed.

    `l1`, `psnr`, `ssim`, each `perceptual` distance under its name (`{"lpips": ...}`), and the high-frequency energies
    of both images.
    """
    original, rebuilt = original.astype(jnp.float32), jnp.clip(rebuilt.astype(jnp.float32), 0.0, 1.0)
    return {
        "l1": l1_loss(rebuilt, original),
        "psnr": psnr(rebuilt, original),
        "ssim": ssim(rebuilt, original),
        **{name: distance(rebuilt, original) for name, distance in perceptual.items()},
        _DETAIL: high_frequency_energy(rebuilt),
        _DETAIL_OF_ORIGINAL: high_frequency_energy(original),
    }


def summarise_decoding(sums: Mapping[str, Any]) -> dict[str, float]:
    """The validation metrics from sums over the set, whose `count` is among them: means, and `val/sharpness`.

    That is the ratio of the high-frequency energies: one is as much detail as the originals have. NaN if these have
    none at all.
    """
    count, detail, of_original = (float(sums[name]) for name in ("count", _DETAIL, _DETAIL_OF_ORIGINAL))
    apart = {"count", _DETAIL, _DETAIL_OF_ORIGINAL}
    means = {f"val/{name}": float(value) / count for name, value in sums.items() if name not in apart}
    return {**means, "val/sharpness": detail / of_original if of_original else float("nan")}
