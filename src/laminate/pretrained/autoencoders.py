"""The published autoencoders of images by what their `config.json` calls them: which one it is, and its network."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np

from laminate.models.dc_autoencoder import DcAutoencoder
from laminate.models.kl_autoencoder import KlAutoencoder
from laminate.pretrained.config_fields import ConfigFields
from laminate.pretrained.dc_autoencoder import autoencoder_dc, load_autoencoder_dc
from laminate.pretrained.families.autoencoders import Architecture
from laminate.pretrained.kl_autoencoder import (
    autoencoder_kl,
    autoencoder_kl_flux2,
    load_autoencoder_kl,
    load_autoencoder_kl_flux2,
    load_va_vae,
    va_vae,
)
from laminate.pretrained.layouts import guess
from laminate.pretrained.qwen_image import autoencoder_qwen_image, load_autoencoder_qwen_image
from laminate.types import RandomKey

CLASS = "_class_name"
_LATENT_DIFFUSION: Architecture = "LatentDiffusion"
_LAYOUT = "vavae"

Network = KlAutoencoder | DcAutoencoder
Make = Callable[[RandomKey], Network]
Load = Callable[..., Network]


class _Reader(NamedTuple):
    """What makes the network of a configuration, and the same with weights."""

    make: Callable[[Mapping[str, Any]], Make]
    load: Load


def architecture_of(
    config: Mapping[str, Any] | None, weights: Mapping[str, np.ndarray]
) -> Architecture | None:
    """Which of them a `config.json` or, without one, the names of the weights are of; None for anything else.

    Raises ValueError for another autoencoder of diffusers.
    """
    stated = None if config is None else config.get(CLASS)
    if stated in get_args(Architecture):
        return stated
    if isinstance(stated, str) and stated.startswith("Autoencoder"):
        raise ValueError(
            f"The configuration has {CLASS}={stated!r}; covered is {', '.join(get_args(Architecture))}."
        )
    if config is not None and "ddconfig" not in config:
        return None
    found = guess({name: array.shape for name, array in weights.items()})
    return _LATENT_DIFFUSION if found is not None and found.family == _LAYOUT else None


def make_autoencoder(architecture: Architecture, config: Mapping[str, Any]) -> Make:
    """What makes the network of a published configuration. Raises ValueError for one that is not covered."""
    return _READERS[architecture].make(config)


def load_autoencoder(
    architecture: Architecture,
    config: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    *,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
    on_host: bool = False,
) -> Network:
    """The same with weights, each name of which is used once. Raises KeyMapError for weights that do not fit it."""
    return _READERS[architecture].load(config, weights, dtype=dtype, on_host=on_host)


def latent_diffusion(config: Mapping[str, Any]) -> Callable[[RandomKey], KlAutoencoder]:
    """What makes the network of the `ddconfig` and `embed_dim` of latent diffusion's code; without them that of VA-VAE.

    Raises ValueError for a field that is not known, or a value that the network does not cover.
    """
    outer = ConfigFields("LatentDiffusion", config)
    embed, given = outer.count("embed_dim", 32), config.get("ddconfig", {})
    outer.ignore("ddconfig")
    outer.none_left()
    if not isinstance(given, Mapping):
        raise ValueError(
            f"The configuration of LatentDiffusion has ddconfig={given!r}; covered is an object."
        )
    fields = ConfigFields("LatentDiffusion (ddconfig)", given)
    multipliers, resolution = fields.counts("ch_mult", (1, 1, 2, 2, 4)), fields.count("resolution", 256)
    attended = fields.counts("attn_resolutions", (16,))
    make = va_vae(
        width=fields.count("ch", 128),
        multipliers=multipliers,
        depth=fields.count("num_res_blocks", 2),
        attended=tuple(i for i in range(len(multipliers)) if resolution // 2**i in attended),
        latent_dim=embed,
        channels=fields.count("in_channels", 3),
    )
    fields.only("out_ch", config.get("ddconfig", {}).get("in_channels", 3))
    fields.only("z_channels", embed)
    fields.only("double_z", True)
    fields.only("dropout", 0.0)
    fields.none_left()
    return make


def _load_latent_diffusion(
    config: Mapping[str, Any], weights: Mapping[str, np.ndarray], *, dtype: jnp.dtype, on_host: bool
) -> KlAutoencoder:
    return load_va_vae(weights, latent_diffusion(config), dtype=dtype, on_host=on_host)


_READERS: dict[Architecture, _Reader] = {
    "AutoencoderKL": _Reader(autoencoder_kl, load_autoencoder_kl),
    "AutoencoderKLFlux2": _Reader(autoencoder_kl_flux2, load_autoencoder_kl_flux2),
    "AutoencoderKLQwenImage": _Reader(autoencoder_qwen_image, load_autoencoder_qwen_image),
    "AutoencoderDC": _Reader(autoencoder_dc, load_autoencoder_dc),
    _LATENT_DIFFUSION: _Reader(latent_diffusion, _load_latent_diffusion),
}
