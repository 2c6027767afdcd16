"""Image ViTs: patch embedding, CLS, registers, positions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from laminate.pretrained.keymaps.base import load
from laminate.pretrained.keymaps.flatdino import IGNORED, flatdino_vit_slots

from ..options import Options, causal_mask, vit
from ..reader import Golden


def produce(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    models = options.take("models")
    options.ignore("tolerance", "token_order", "note", "policy", "rng_leaves_in_checkpoint")
    options.none_left()
    if models is None:
        return {"tokens": _tokens(golden, golden.config, "")}
    return {f"{tag}/tokens": _tokens(golden, config, f"{tag}/") for tag, config in models.items()}


def _tokens(golden: Golden, config: dict[str, object], prefix: str) -> np.ndarray:
    weights = {k.removeprefix(prefix): a for k, a in golden.weights.items() if k.startswith(prefix)}
    made, causal = vit(prefix or "config", config)
    network = load(made, flatdino_vit_slots(made), weights, ignored=IGNORED)
    image = jnp.asarray(golden.input(f"{prefix}image_nhwc"))
    mask = None
    if causal:
        mask = jnp.asarray(causal_mask(golden.outputs[f"{prefix}tokens"].shape[1]))
    return np.asarray(eqx.filter_jit(jax.vmap(lambda one: network(one, mask)))(image))
