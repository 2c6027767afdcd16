"""Other people's autoencoders: what they make of images, of their latents, and of latents as generators have them."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from laminate.models.kl_autoencoder import GridPosterior, KlAutoencoder
from laminate.models.latent_scaling import PatchedScaling
from laminate.nn import pixel_unshuffle
from laminate.pretrained.dc_autoencoder import load_autoencoder_dc
from laminate.pretrained.kl_autoencoder import (
    load_autoencoder_kl,
    load_autoencoder_kl_flux2,
    load_va_vae,
    va_vae,
)
from laminate.pretrained.qwen_image import load_autoencoder_qwen_image

from ..options import Options
from ..reader import Golden
from .vision import by_model, channels_last

_ABOUT_THE_FILE = ("note", "reference_fp32_vs_fp64_max_abs", "tolerance", "recipe", "seed", "table")


def kl(golden: Golden) -> dict[str, np.ndarray]:
    """The case `24_autoencoder_kl`."""
    produced: dict[str, np.ndarray] = {}
    for tag, one in by_model(golden).items():
        network = load_autoencoder_kl(one.config, one.weights)
        found = _posterior(network, one.input("image"))
        found["scaled_mean"] = _mapped(network.scaling, found["mean"])
        if "noise" in one.inputs:
            noise, logvar = channels_last(one.input("noise")), found["logvar"]
            found["sample"] = _sampled(found["mean"], logvar, noise)
        latents = {"decoded_mean": found["mean"], "decoded_latent": channels_last(one.input("latent"))}
        if "scaled_latent" in one.inputs:
            scaled = channels_last(one.input("scaled_latent"))
            latents["decoded_scaled_latent"] = _mapped(network.scaling.inverse, scaled)
        found |= _decoded(network.decode, latents)
        produced |= {tag + name: _channels_first(value) for name, value in found.items()}
    return produced


def qwen_image(golden: Golden) -> dict[str, np.ndarray]:
    """The case `24_autoencoder_kl_qwenimage`, in which all but images have a frame axis of one."""
    produced: dict[str, np.ndarray] = {}
    for tag, one in by_model(golden).items():
        network = load_autoencoder_qwen_image(one.config, one.weights)
        given, scaled = (channels_last(one.input(name)[:, :, 0]) for name in ("latent", "normalized_latent"))
        found = _posterior(network, one.input("image"))
        found["normalized_mean"] = _mapped(network.scaling, found["mean"])
        latents = {"decoded_mean": found["mean"], "decoded_latent_unclipped": given}
        latents["decoded_normalized_latent"] = _mapped(network.scaling.inverse, scaled)
        found |= _decoded(network.unclipped, latents)
        found["decoded_latent"] = found["decoded_latent_unclipped"]
        for name in ("decoded_mean", "decoded_latent", "decoded_normalized_latent"):
            found[name] = network.clipped(found[name])
        produced |= {tag + name: _channels_first(value)[:, :, None] for name, value in found.items()}
    return produced


def flux2(golden: Golden) -> dict[str, np.ndarray]:
    """The case `24_autoencoder_kl_flux2`: latents as the pipeline has them, too."""
    produced: dict[str, np.ndarray] = {}
    for tag, one in by_model(golden).items():
        network = load_autoencoder_kl_flux2(one.config, one.weights)
        scaling, scaled = network.scaling, channels_last(one.input("normalized_latent"))
        assert isinstance(scaling, PatchedScaling)
        found = _posterior(network, one.input("image"))
        found["patchified_mean"] = _mapped(pixel_unshuffle, found["mean"])
        found["normalized_mean"] = _mapped(scaling, found["mean"])
        found["denormalized_latent"] = _mapped(scaling.denormalised, scaled)
        found["unpatchified_latent"] = _mapped(scaling.inverse, scaled)
        latents = {"decoded_mean": found["mean"], "decoded_latent": channels_last(one.input("latent"))}
        latents["decoded_normalized_latent"] = found["unpatchified_latent"]
        found |= _decoded(network.decode, latents)
        produced |= {tag + name: _channels_first(value) for name, value in found.items()}
        grid = np.asarray(found["normalized_mean"])
        produced[f"{tag}tokens"] = grid.reshape(len(grid), -1, grid.shape[3])
    return produced


def dc(golden: Golden) -> dict[str, np.ndarray]:
    """The case `24_autoencoder_dc`."""
    produced: dict[str, np.ndarray] = {}
    for tag, one in by_model(golden).items():
        network = load_autoencoder_dc(one.config, one.weights)
        latent = _mapped(network.encode, channels_last(one.input("image")))
        found = {"latent": latent, "scaled_latent": _mapped(network.scaling, latent)}
        given = channels_last(one.input("given_latent"))
        latents = {"decoded": latent, "decoded_given": given}
        latents["decoded_scaled"] = _mapped(network.scaling.inverse, given)
        found |= _decoded(network.decode, latents)
        produced |= {tag + name: _channels_first(value) for name, value in found.items()}
    return produced


def va(golden: Golden) -> dict[str, np.ndarray]:
    """The case `09_vavae_autoencoder`."""
    options = Options("config", golden.config)
    multipliers, side = tuple(options.take("ch_mult")), options.take("resolution")
    attended = options.take("attn_resolutions")
    make = va_vae(
        width=options.take("ch"),
        multipliers=multipliers,
        depth=options.take("num_res_blocks"),
        attended=tuple(level for level in range(len(multipliers)) if side // 2**level in attended),
        latent_dim=options.take("z_channels"),
    )
    options.ignore(*_ABOUT_THE_FILE)
    options.none_left()
    network = load_va_vae(golden.weights, make)
    found = _posterior(network, golden.input("image"))
    mean, logvar = found["mean"], found["logvar"]
    sample = _sampled(mean, logvar, channels_last(golden.input("eps")))
    kl = 0.5 * jnp.sum(mean**2 + jnp.exp(logvar) - 1.0 - logvar, axis=(1, 2, 3))
    found |= {"sample": sample, "reconstruction": _mapped(network.decode, sample)}
    produced = {name: _channels_first(value) for name, value in found.items()}
    return produced | {"kl": np.asarray(kl)}


def _posterior(network: KlAutoencoder, images: np.ndarray) -> dict[str, jax.Array]:
    moments = _mapped(network.moments, channels_last(images))
    mean, logvar = _mapped(network.posterior, moments)
    return {"moments": moments, "mean": mean, "logvar": logvar}


def _sampled(mean: jax.Array, logvar: jax.Array, noise: jax.Array) -> jax.Array:
    return jax.vmap(lambda m, v, n: GridPosterior(m, v).reparameterise(n))(mean, logvar, noise)


def _decoded(decode: Any, latents: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """All of one size in one batch, which is compiled once."""
    found: dict[str, jax.Array] = {}
    for size in dict.fromkeys(each.shape[1:] for each in latents.values()):
        alike = {name: each for name, each in latents.items() if each.shape[1:] == size}
        images = _mapped(decode, jnp.concatenate(list(alike.values())))
        ends = np.cumsum([len(each) for each in alike.values()])[:-1]
        found |= dict(zip(alike, jnp.split(images, ends), strict=True))
    return found


@eqx.filter_jit
def _mapped(function: Any, batch: jax.Array) -> Any:
    return jax.vmap(function)(batch)


def _channels_first(x: jax.Array) -> np.ndarray:
    return np.moveaxis(np.asarray(x), -1, 1)
