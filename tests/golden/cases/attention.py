"""Attention of a vision transformer, of each layer and rolled out over all of them."""

import jax
import numpy as np

from laminate.analysis.attention import on_grid, rollout
from laminate.models.vit import Vit

from ..options import Options
from ..reader import Golden
from .adm import ABOUT_THE_FILE
from .vision import channels_last, family_of


def produce(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    model, grid = options.take("model"), tuple(options.take("grid"))
    options.ignore(*ABOUT_THE_FILE)
    options.none_left()
    vit = family_of("config.model", model).load(model, golden.weights)

    @jax.jit
    def run(vit: Vit, images: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        weights = jax.vmap(vit.attention_weights)(images)
        return jax.vmap(vit)(images), weights, jax.vmap(rollout)(weights)

    final, weights, rolled = run(vit, channels_last(golden.input("pixel_values")))
    cls, registers, prefix = slice(0, 1), slice(1, vit.prefix), vit.prefix
    produced = {"last_hidden_state": final, "rollout": rolled}
    produced["rollout_cls_to_patches"] = on_grid(rolled, cls, prefix, grid)[:, 0]
    produced["rollout_registers_to_patches"] = on_grid(rolled, registers, prefix, grid)
    for layer in range(weights.shape[1]):
        each = weights[:, layer]
        of_registers = on_grid(each, registers, prefix, grid)
        produced |= {
            f"layer{layer}/attention": each,
            f"layer{layer}/cls_to_patches": on_grid(each, cls, prefix, grid)[:, :, 0],
            f"layer{layer}/registers_to_patches": of_registers,
            f"layer{layer}/registers_to_patches_mean": of_registers.mean(axis=1),
        }
    return {name: np.asarray(value) for name, value in produced.items()}
