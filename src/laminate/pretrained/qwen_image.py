"""Qwen-Image's published autoencoder, that of Wan 2.1 for videos, on single frames."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from laminate.models.conv_pyramid import Pyramid
from laminate.models.kl_autoencoder import KlAutoencoder
from laminate.models.latent_scaling import LatentScaling
from laminate.nn import RMSNorm
from laminate.pretrained.config_fields import ConfigFields
from laminate.pretrained.keymaps.base import load_new
from laminate.pretrained.keymaps.kl_autoencoder import QWEN_IMAGE, autoencoder_slots
from laminate.pretrained.kl_autoencoder import Make

# fmt: off
_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)
_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)
# fmt: on
_EPS = 1e-24  # the published norm divides by the length of a vector, and by 1e-12 if it is less
_BETWEEN_FRAMES = ("*.time_conv.*",)


def autoencoder_qwen_image(config: Mapping[str, Any]) -> Make:
    """What makes the network of a `config.json` of diffusers' `AutoencoderKLQwenImage`, for single frames.

    Raises ValueError for a field that is not known, or a value that the network does not cover.
    """
    fields = ConfigFields("AutoencoderKLQwenImage", config)
    base, times = fields.count("base_dim", 96), fields.counts("dim_mult", (1, 2, 4, 4))
    latent_dim = fields.count("z_dim", 16)
    over_time = fields.flags("temperal_downsample", (False, True, True))
    if len(over_time) + 1 != len(times):
        raise ValueError(
            f"The configuration of AutoencoderKLQwenImage has {len(times)} levels in dim_mult and {len(over_time)} "
            "ways between them in temperal_downsample; it has to be one way less than levels."
        )
    mean, std = (fields.numbers(name, latent_dim) for name in ("latents_mean", "latents_std"))
    if (mean is None or std is None) and latent_dim != len(_MEAN):
        raise ValueError(
            f"The configuration of AutoencoderKLQwenImage lacks latents_mean or latents_std for z_dim={latent_dim}."
        )
    pyramid = Pyramid(
        tuple(base * one for one in times),
        fields.count("num_res_blocks", 2),
        partial(RMSNorm, eps=_EPS),
        stem=base,
        halves=True,
    )
    channels = fields.count("input_channels", 3)
    make = partial(
        KlAutoencoder,
        pyramid,
        pyramid,
        latent_dim,
        in_channels=channels,
        out_channels=channels,
        scaling=LatentScaling(mean or _MEAN, tuple(1.0 / one for one in std or _STD)),
        clip=True,
    )
    fields.only("attn_scales", [])
    fields.only("dropout", 0.0)
    fields.none_left()
    return lambda key: make(key=key)


def load_autoencoder_qwen_image(
    config: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    *,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
    on_host: bool = False,
) -> KlAutoencoder:
    """The network of `autoencoder_qwen_image` with published weights, stored in `dtype`.

    Of what a convolution does over time, its part for a first frame is taken. Raises ValueError for a configuration
    that is not covered, KeyMapError for weights that do not fit it.
    """
    return load_new(
        autoencoder_qwen_image(config),
        partial(autoencoder_slots, names=QWEN_IMAGE),
        weights,
        ignored=_BETWEEN_FRAMES,
        dtype=dtype,
        on_host=on_host,
    )
