"""Published vision transformers: embeddings, every layer, and what comes out."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from laminate.models.vit import Vit
from laminate.nn import LayerNorm, Rotary, centred_grid_angles
from laminate.pretrained.dinov2 import DINOV2, DINOV2_REGISTERS
from laminate.pretrained.dinov3 import DINOV3, DINOV3_ORIGINAL
from laminate.pretrained.plain import DINO, MAE
from laminate.pretrained.siglip2 import SIGLIP2, load_pooled
from laminate.pretrained.vit_reader import VitReader

from ..options import Options
from ..reader import CannotRun, Golden

_BY_MODEL_TYPE = {
    model_type: family
    for family in (DINOV2, DINOV2_REGISTERS, DINOV3, DINO, MAE, SIGLIP2)
    for model_type in family.model_types
}
_ABOUT_THE_FILE = (
    "class",
    "facts",
    "intermediate_block",
    "note",
    "reference",
    "reference_fp32_vs_fp64_max_abs",
    "token_order",
    "tolerance",
    "transformers",
)
_PIXELS = "pixel_values"
_ORIGINAL = "06_dinov3_hub_layout"


def produce(golden: Golden) -> dict[str, np.ndarray]:
    produced: dict[str, np.ndarray] = {}
    for tag, one in by_model(golden).items():
        config = {field: value for field, value in one.config.items() if field != "tolerance"}
        outputs = _hidden(one, config) if not golden.case.startswith(_ORIGINAL) else _original(one, config)
        produced |= {tag + name: value for name, value in outputs.items()}
    return {name: value for name, value in produced.items() if name in golden.outputs}


def by_model(golden: Golden) -> dict[str, Golden]:
    """The parts of a file that holds several models, by `<tag>/`; the file itself, by the empty tag, if it has one."""
    if "models" not in golden.config:
        return {"": golden}
    options = Options("config", golden.config)
    options.take("models")
    options.ignore(*_ABOUT_THE_FILE)
    options.none_left()
    parts: dict[str, Golden] = {}
    for tag, config in golden.config["models"].items():
        inside = {
            part: {k.removeprefix(f"{tag}/"): a for k, a in arrays.items() if k.startswith(f"{tag}/")}
            for part, arrays in (
                ("weights", golden.weights),
                ("inputs", golden.inputs),
                ("outputs", golden.outputs),
            )
        }
        parts[f"{tag}/"] = replace(golden, config=config, **inside)
    return parts


def family_of(name: str, config: Mapping[str, Any]) -> VitReader:
    """The family that a configuration's `model_type` names, once every field of it is known to be understood."""
    options = Options(name, config)
    family = options.choose("model_type", _BY_MODEL_TYPE, "")
    options.ignore(*family.defaults, *family.inert, *_ABOUT_THE_FILE)
    options.none_left()
    return family


def channels_last(images: np.ndarray) -> jax.Array:
    return jnp.asarray(images.transpose(0, 2, 3, 1))


def _hidden(golden: Golden, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    family, pool = family_of("config", config), None
    if family is SIGLIP2:
        tower = load_pooled(config, golden.weights)
        vit, pool = tower.vit, jax.jit(jax.vmap(tower.pool))
    else:
        vit = family.load(config, golden.weights)
    produced: dict[str, np.ndarray] = {}
    for name, images in golden.inputs.items():
        at = name.removesuffix(_PIXELS)
        streams, final = _run(vit, images)
        bare = LayerNorm(vit.norm.dim, eps=vit.norm.eps, scale=False, bias=False)
        found = {
            "embeddings": streams[0],
            "pre_norm": streams[-1],
            "last_hidden_state": final,
            "last_hidden_state_affine_free_norm": jax.jit(bare)(streams[-1]),
            "pooler_output": final[:, 0] if pool is None else pool(final),
        }
        if family in (DINO, MAE):
            # The reference returns the normed tokens as the last of these networks' hidden states.
            found["pre_norm"] = final
        found |= {f"after_block{i}": after for i, after in enumerate(streams[1:])}
        found |= {f"hidden_states{i}": state for i, state in enumerate([*streams[:-1], final])}
        if vit.rotary_base is not None:
            grid = (images.shape[2] // vit.patch.patch, images.shape[3] // vit.patch.patch)
            head_dim = vit.stack.layers.attention.head_dim
            rotary = Rotary(centred_grid_angles(head_dim, *grid, base=vit.rotary_base), pairing="halves")
            found |= {"rope_cos": rotary.cos.value, "rope_sin": rotary.sin.value}
        produced |= {at + part: np.asarray(value) for part, value in found.items()}
    return produced


def _original(golden: Golden, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    options = Options("config", config)
    options.ignore(*DINOV3_ORIGINAL.defaults, *DINOV3_ORIGINAL.inert, *_ABOUT_THE_FILE)
    options.none_left()
    vit = DINOV3_ORIGINAL.load(config, golden.weights)
    streams, final = _run(vit, golden.input(_PIXELS))
    registers = slice(1, vit.prefix)
    produced = {
        "x_norm_clstoken": final[:, 0],
        "x_norm_storage_tokens": final[:, registers],
        "x_norm_patchtokens": final[:, vit.prefix :],
        "x_prenorm": streams[-1],
    }
    for i, after in enumerate(streams[1:]):
        produced[f"after_block{i}/cls"] = after[:, 0]
        produced[f"after_block{i}/patches"] = after[:, vit.prefix :]
    return {name: np.asarray(value) for name, value in produced.items()}


def _run(vit: Vit, images: np.ndarray) -> tuple[list[jax.Array], jax.Array]:
    """The stream before the first block and after every block, and the final tokens."""
    if images.ndim != 4:
        raise CannotRun(f"inputs of shape {images.shape} are no batch of images")
    layers = tuple(range(vit.stack.depth))

    @jax.jit
    def run(vit: Vit, images: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        final, taps = jax.vmap(lambda image: vit.taps(image, layers))(images)
        return jax.vmap(vit.embed)(images), jnp.moveaxis(taps, 1, 0), final

    embedded, taps, final = run(vit, channels_last(images))
    return [embedded, *taps], final
