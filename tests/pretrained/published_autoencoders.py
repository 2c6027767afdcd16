"""Tiny random autoencoders in the layouts in which they are published: a folder of each."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from laminate.pretrained.autoencoders import Architecture, make_autoencoder
from laminate.pretrained.keymaps.base import export
from laminate.pretrained.keymaps.dc_autoencoder import autoencoder_slots as dc_slots
from laminate.pretrained.keymaps.kl_autoencoder import (
    DIFFUSERS,
    LATENT_DIFFUSION,
    OLD_DIFFUSERS,
    QWEN_IMAGE,
    KlNames,
    autoencoder_slots,
)
from tests.oracles.arrays import filled

FILE = "diffusion_pytorch_model"


class Tiny(NamedTuple):
    """A published layout in small: its class, its configuration, its names, pixels of a patch, numbers of a latent.

    DC-AE has its names from its blocks.
    """

    architecture: Architecture
    config: dict[str, Any]
    names: KlNames | None
    patch: int
    latent_dim: int
    more: dict[str, np.ndarray] = {}  # noqa: RUF012


_KL = {"block_out_channels": [4, 6], "latent_channels": 3, "norm_num_groups": 2}
_WITHOUT = {"use_quant_conv": False, "use_post_quant_conv": False}
TINY = {
    "sd": Tiny("AutoencoderKL", {**_KL, "scaling_factor": 0.18215}, OLD_DIFFUSERS, 2, 3),
    "flux": Tiny(
        "AutoencoderKL",
        {**_KL, **_WITHOUT, "latent_channels": 5, "scaling_factor": 0.3611, "shift_factor": 0.1159},
        DIFFUSERS,
        2,
        5,
    ),
    "flux2": Tiny(
        "AutoencoderKLFlux2",
        {**_KL, "latent_channels": 2, "decoder_block_out_channels": [2, 4], "batch_norm_eps": 1e-3},
        DIFFUSERS,
        4,
        8,
        {"bn.num_batches_tracked": np.asarray(3, np.int32)},
    ),
    "qwen": Tiny(
        "AutoencoderKLQwenImage",
        {
            "base_dim": 4,
            "z_dim": 3,
            "dim_mult": [1, 2],
            "num_res_blocks": 1,
            "temperal_downsample": [True],
            "latents_mean": [0.1, -0.2, 0.3],
            "latents_std": [1.5, 0.5, 2.0],
        },
        QWEN_IMAGE,
        2,
        3,
        {"encoder.down_blocks.1.time_conv.weight": np.zeros((4, 4, 3, 1, 1), np.float32)},
    ),
    "dc-ae": Tiny(
        "AutoencoderDC",
        {
            "attention_head_dim": 3,
            "latent_channels": 2,
            "scaling_factor": 0.5,
            **{f"{half}_block_types": ["ResBlock", "EfficientViTBlock"] for half in ("encoder", "decoder")},
            **{f"{half}_block_out_channels": [4, 8] for half in ("encoder", "decoder")},
            **{f"{half}_qkv_multiscales": [[], [3]] for half in ("encoder", "decoder")},
            **{f"{half}_layers_per_block": [1, 1] for half in ("encoder", "decoder")},
        },
        None,
        2,
        2,
    ),
    "vavae": Tiny(
        "LatentDiffusion",
        {"embed_dim": 3, "ddconfig": {"ch": 32, "ch_mult": [1, 1], "num_res_blocks": 1, "z_channels": 3}},
        LATENT_DIFFUSION,
        2,
        3,
        {"loss.logvar": np.zeros((), np.float32)},
    ),
}


def tiny_network(name: str) -> Any:
    """The random network, whose statistics are those of something."""
    one = TINY[name]
    network = filled(make_autoencoder(one.architecture, one.config), scale=0.3)
    if one.architecture != "AutoencoderKLFlux2":
        return network
    return eqx.tree_at(lambda m: m.scaling.variance.value, network, jnp.linspace(0.5, 2.0, one.latent_dim))


def write_autoencoder(folder: Path, name: str, *, parts: int = 1, **changed: Any) -> Path:
    """A folder as it is published, with one file of weights or `parts` of them; fields of its config `changed`."""
    one = TINY[name]
    network = tiny_network(name)
    slots = dc_slots(network) if one.names is None else autoencoder_slots(network, one.names)
    weights = {**export(network, slots), **one.more}
    folder.mkdir(parents=True)
    stated = {} if one.architecture == "LatentDiffusion" else {"_class_name": one.architecture}
    (folder / "config.json").write_text(
        json.dumps({**stated, "_diffusers_version": "0.30.0", **one.config, **changed})
    )
    weights = {key: np.ascontiguousarray(array) for key, array in weights.items()}
    if parts == 1:
        save_file(weights, folder / f"{FILE}.safetensors")
        return folder
    placed = {}
    for part in range(parts):
        file = f"{FILE}-{part + 1:05}-of-{parts:05}.safetensors"
        held = {key: weights[key] for key in sorted(weights)[part::parts]}
        save_file(held, folder / file)
        placed |= dict.fromkeys(held, file)
    (folder / f"{FILE}.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    return folder
