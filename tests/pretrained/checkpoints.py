"""Small random checkpoints in the published layouts, in folders as a hub leaves them."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from laminate.pretrained import rae
from laminate.pretrained.dinov2 import DINOV2_REGISTERS
from laminate.pretrained.keymaps.base import export
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD
from laminate.pretrained.plain import MAE
from tests.oracles.arrays import filled
from tests.pretrained.hub_server import sharded

DINOV2 = {
    "model_type": "dinov2_with_registers",
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 16,
    "patch_size": 4,
    "num_register_tokens": 2,
}
DECODER = {
    "decoder_hidden_size": 8,
    "decoder_intermediate_size": 10,
    "decoder_num_attention_heads": 2,
    "decoder_num_hidden_layers": 2,
}


def dinov2_weights(*, scale: float = 0.3, **changed: int) -> dict[str, np.ndarray]:
    config = {**DINOV2, **changed}
    return DINOV2_REGISTERS.export(
        filled(lambda key: DINOV2_REGISTERS.make(config, key=key), scale=scale), prefix=""
    )


def mae_weights() -> dict[str, np.ndarray]:
    config = {k: v for k, v in DINOV2.items() if k != "model_type"}
    return MAE.export(filled(lambda key: MAE.make({**config, "intermediate_size": 10}, key=key)))


def decoder_weights(*, in_dim: int = 12, tokens: int = 16, patch: int = 2) -> dict[str, np.ndarray]:
    sizes = {"tokens": tokens, "in_dim": in_dim, "patch": patch}
    made = filled(
        lambda key: rae.make_decoder(DECODER, **sizes, mean=IMAGENET_MEAN, std=IMAGENET_STD, key=key)
    )
    return export(made, rae.decoder_slots(made))


def write(
    folder: Path, weights: dict[str, np.ndarray], config: dict | None = None, *, parts: int = 1
) -> Path:
    """A folder with the weights, in one file or in `parts`, and their config.json."""
    folder.mkdir(parents=True)
    if parts == 1:
        save_file(weights, folder / "model.safetensors")
    else:
        for name, data in sharded(weights, parts).items():
            (folder / name).write_bytes(data)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def statistics(dim: int, side: int) -> dict[str, np.ndarray]:
    """Latent statistics as they are published: a variance, and no mean."""
    return {"var": np.asarray(jnp.linspace(0.5, 2.0, dim * side * side).reshape(dim, side, side))}
