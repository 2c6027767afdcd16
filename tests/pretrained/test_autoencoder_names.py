"""Every autoencoder that is known by name: its parameters, and each name and shape of its file."""

import hashlib
from functools import partial
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest

from laminate.pretrained.autoencoders import Architecture, make_autoencoder
from laminate.pretrained.families.autoencoders import AUTOENCODERS
from laminate.pretrained.keymaps.base import export
from laminate.pretrained.keymaps.dc_autoencoder import autoencoder_slots as dc_slots
from laminate.pretrained.keymaps.kl_autoencoder import (
    DIFFUSERS,
    LATENT_DIFFUSION,
    QWEN_IMAGE,
    autoencoder_slots,
)
from tests.pretrained.test_dc_autoencoder import SANA, trained_on_images
from tests.pretrained.test_kl_autoencoder import PUBLISHED, WITHOUT_MAPS

KL: Architecture = "AutoencoderKL"
FLUX2: Architecture = "AutoencoderKLFlux2"
SIXTEEN = {**PUBLISHED, **WITHOUT_MAPS, "latent_channels": 16}
THIRTY_TWO = {**PUBLISHED, "latent_channels": 32, "patch_size": [2, 2]}
SMALL_DECODER = {**THIRTY_TWO, "decoder_block_out_channels": [96, 192, 384, 384]}
IN_KL, OF_SD = partial(autoencoder_slots, names=DIFFUSERS), "5a0ba4e758a91414"

# Parameters, names, and the first digits of the SHA-256 of names with shapes, without statistics and what has no effect
# on a single frame: as diffusers 0.42.1 makes them; those of VA-VAE are ours, in the names of `09_vavae_autoencoder`.
KNOWN: dict[str, tuple[Architecture, dict[str, Any], Any, int, int, str]] = {
    "sd": (KL, {**PUBLISHED, "latent_channels": 4}, IN_KL, 83_653_863, 248, OF_SD),
    "sdxl": (KL, {**PUBLISHED, "scaling_factor": 0.13025}, IN_KL, 83_653_863, 248, OF_SD),
    "sd3": (KL, {**SIXTEEN, "shift_factor": 0.0609}, IN_KL, 83_819_683, 244, "428bb77a3f17f47c"),
    "flux": (KL, {**SIXTEEN, "shift_factor": 0.1159}, IN_KL, 83_819_683, 244, "428bb77a3f17f47c"),
    "flux2": (FLUX2, THIRTY_TWO, IN_KL, 84_046_115, 250, "a3f02d0f4479230f"),
    "flux2-small-decoder": (FLUX2, SMALL_DECODER, IN_KL, 62_373_091, 250, "2e917fee0b983a19"),
    "qwen": (
        "AutoencoderKLQwenImage",
        {},
        partial(autoencoder_slots, names=QWEN_IMAGE),
        126_892_531 - 2_324_544,
        186,
        "4ea9f51ae0d01bf2",
    ),
    "dc-ae-f32": ("AutoencoderDC", SANA, dc_slots, 312_250_275, 375, "eb3f4b8459eba48c"),
    "dc-ae-f64": (
        "AutoencoderDC",
        trained_on_images(128, 1),
        dc_slots,
        676_896_140,
        403,
        "815af3871c874ee2",
    ),
    "vavae": (
        "LatentDiffusion",
        {},
        partial(autoencoder_slots, names=LATENT_DIFFUSION),
        69_836_067,
        342,
        "ec37c4f64d60b6ca",
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_autoencoder_has_the_published_parameters_names_and_shapes(name):
    architecture, config, slots, parameters, count, digest = KNOWN[name]
    network = eqx.filter_eval_shape(make_autoencoder(architecture, config), jax.random.key(0))
    hollow = jax.tree.map(lambda leaf: np.broadcast_to(np.int8(0), leaf.shape), network)
    listed = {key: list(array.shape) for key, array in export(hollow, slots(network)).items()}
    trained = [shape for key, shape in listed.items() if ".running_" not in key]
    text = "".join(f"{key} {shape}\n" for key, shape in sorted(listed.items()))
    found = hashlib.sha256(text.encode()).hexdigest()
    assert sum(int(np.prod(shape)) for shape in trained) == parameters
    assert len(listed) == count
    assert found.startswith(digest)


def test_every_name_is_here():
    assert {one.name for one in AUTOENCODERS.weights} | {"vavae"} == KNOWN.keys()
