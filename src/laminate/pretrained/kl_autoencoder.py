"""Published autoencoders with a Gaussian posterior: Stable Diffusion's, FLUX's and VA-VAE."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from laminate.models.conv_pyramid import Pyramid
from laminate.models.kl_autoencoder import KlAutoencoder
from laminate.models.latent_scaling import LatentScaling, PatchedScaling
from laminate.nn import GroupNorm
from laminate.pretrained.config_fields import ConfigFields
from laminate.pretrained.keymaps.base import load_new
from laminate.pretrained.keymaps.kl_autoencoder import (
    DIFFUSERS,
    LATENT_DIFFUSION,
    OLD_DIFFUSERS,
    KlNames,
    autoencoder_slots,
)
from laminate.types import RandomKey

Make = Callable[[RandomKey], KlAutoencoder]

INERT = ("sample_size", "force_upcast")
_FLOAT32 = jnp.dtype(jnp.float32)
_OLD_ATTENTION = re.compile(r"(^|\.)attentions\.\d+\.query\.weight$")
_BESIDE_VAVAE = ("linear_proj.*", "foundation_model.*", "loss.*")


def autoencoder_kl(config: Mapping[str, Any]) -> Make:
    """What makes the network of a `config.json` of diffusers' `AutoencoderKL`.

    Raises ValueError for a field that is not known, or a value that the network does not cover.
    """
    fields = ConfigFields("AutoencoderKL", config)
    widths = fields.counts("block_out_channels")
    norm = group_norm(fields, widths)
    latent_dim = fields.count("latent_channels", 4)
    pyramid = Pyramid(
        widths,
        fields.count("layers_per_block", 1),
        norm,
        middle_attention=fields.flag("mid_block_add_attention", True),
    )
    make = partial(
        KlAutoencoder,
        pyramid,
        pyramid,
        latent_dim,
        in_channels=fields.count("in_channels", 3),
        out_channels=fields.count("out_channels", 3),
        maps_moments=fields.flag("use_quant_conv", True),
        maps_latents=fields.flag("use_post_quant_conv", True),
        scaling=_scaling(fields, latent_dim),
    )
    close(fields)
    return lambda key: make(key=key)


def load_autoencoder_kl(
    config: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    *,
    dtype: jnp.dtype = _FLOAT32,
    on_host: bool = False,
) -> KlAutoencoder:
    """The network of `autoencoder_kl` with published weights, stored in `dtype`; names of older files are taken too.

    Raises ValueError for a configuration that is not covered, KeyMapError for weights that do not fit it.
    """
    slots = partial(autoencoder_slots, names=names_of(weights))
    return load_new(autoencoder_kl(config), slots, weights, dtype=dtype, on_host=on_host)


def autoencoder_kl_flux2(config: Mapping[str, Any]) -> Make:
    """What makes the network of a `config.json` of diffusers' `AutoencoderKLFlux2`.

    Its latents are scaled as its pipelines do. Raises as `autoencoder_kl` does.
    """
    fields = ConfigFields("AutoencoderKLFlux2", config)
    widths = fields.counts("block_out_channels")
    decoder_widths = fields.counts("decoder_block_out_channels", widths)
    encoder = Pyramid(
        widths,
        fields.count("layers_per_block", 2),
        group_norm(fields, widths + decoder_widths),
        middle_attention=fields.flag("mid_block_add_attention", True),
    )
    latent_dim = fields.count("latent_channels", 32)
    make = partial(
        KlAutoencoder,
        encoder,
        replace(encoder, widths=decoder_widths),
        latent_dim,
        in_channels=fields.count("in_channels", 3),
        out_channels=fields.count("out_channels", 3),
        maps_moments=fields.flag("use_quant_conv", True),
        maps_latents=fields.flag("use_post_quant_conv", True),
        scaling=PatchedScaling(latent_dim, eps=fields.number("batch_norm_eps", 1e-4)),
    )
    fields.only("patch_size", [2, 2])
    fields.ignore("batch_norm_momentum")
    close(fields)
    return lambda key: make(key=key)


def load_autoencoder_kl_flux2(
    config: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    *,
    dtype: jnp.dtype = _FLOAT32,
    on_host: bool = False,
) -> KlAutoencoder:
    """The network of `autoencoder_kl_flux2` with published weights. Raises as `load_autoencoder_kl` does."""
    slots = partial(autoencoder_slots, names=names_of(weights))
    made = autoencoder_kl_flux2(config)
    return load_new(made, slots, weights, ignored=("bn.num_batches_tracked",), dtype=dtype, on_host=on_host)


def va_vae(
    *,
    width: int = 128,
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4),
    depth: int = 2,
    attended: tuple[int, ...] = (4,),
    latent_dim: int = 32,
    channels: int = 3,
) -> Make:
    """What makes the network of latent diffusion's own code, by default VA-VAE's f16d32 (Yao et al. 2025).

    `attended` are the levels, from the finest, with an attention behind every block.
    """
    pyramid = Pyramid(
        tuple(width * times for times in multipliers),
        depth,
        partial(GroupNorm, groups=32),
        attended=attended,
        stem=width,
    )
    make = partial(KlAutoencoder, pyramid, pyramid, latent_dim, in_channels=channels, out_channels=channels)
    return lambda key: make(key=key)


def load_va_vae(
    weights: Mapping[str, np.ndarray],
    make: Make | None = None,
    *,
    dtype: jnp.dtype = _FLOAT32,
    on_host: bool = False,
) -> KlAutoencoder:
    """The network of `make`, of `va_vae()` if None, with published weights; what was only trained beside it is left.

    Raises KeyMapError for weights that do not fit it.
    """
    return load_new(
        va_vae() if make is None else make,
        partial(autoencoder_slots, names=LATENT_DIFFUSION),
        weights,
        ignored=_BESIDE_VAVAE,
        dtype=dtype,
        on_host=on_host,
    )


def names_of(weights: Mapping[str, np.ndarray]) -> KlNames:
    """The words that a file of diffusers has for its attention."""
    return OLD_DIFFUSERS if any(_OLD_ATTENTION.search(name) for name in weights) else DIFFUSERS


def group_norm(fields: ConfigFields, widths: tuple[int, ...]) -> "partial[GroupNorm]":
    """The norm before every convolution of these widths."""
    groups = fields.count("norm_num_groups", 32)
    odd = [width for width in widths if width % groups]
    if odd:
        fields.refuse(
            "norm_num_groups", groups, f"what divides all widths of block_out_channels, and one is {odd[0]}"
        )
    return partial(GroupNorm, groups=groups)


def close(fields: ConfigFields) -> None:
    """The fields that diffusers' two-dimensional autoencoders have beside those that were read, and no others."""
    fields.only("act_fn", "silu")
    fields.only("down_block_types", "DownEncoderBlock2D")
    fields.only("up_block_types", "UpDecoderBlock2D")
    fields.ignore(*INERT)
    fields.none_left()


def _scaling(fields: ConfigFields, latent_dim: int) -> LatentScaling:
    """By one number, or, where a file has them, by the mean and deviation of each channel (Playground v2.5)."""
    factor, shift = fields.number("scaling_factor", 0.18215), fields.number("shift_factor", 0.0)
    mean, std = fields.numbers("latents_mean", latent_dim), fields.numbers("latents_std", latent_dim)
    if mean is None and std is None:
        return LatentScaling((shift,), (factor,))
    if mean is None or std is None or shift:
        raise ValueError(
            "The configuration of AutoencoderKL has to have latents_mean and latents_std, or neither of them, and no "
            "shift_factor beside them."
        )
    return LatentScaling(mean, tuple(factor / one for one in std))
