"""Published weights of CLIP's vision tower, under the names of the transformers library."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from laminate.models.clip_vision import ClipVision
from laminate.models.vit import Trunk
from laminate.pretrained.keymaps.base import Fixed, KeyMapError, Slot, load_new
from laminate.pretrained.keymaps.layers import TORCH
from laminate.pretrained.keymaps.vit import vit_slots
from laminate.pretrained.layouts import guess, looks_like
from laminate.pretrained.siglip2 import SIGLIP2
from laminate.pretrained.tensors import WeightsError
from laminate.pretrained.vit_reader import Facts, Rgb, checked_facts, mlp_of
from laminate.types import RandomKey

MEAN: Rgb = (0.48145466, 0.4578275, 0.40821073)
STD: Rgb = (0.26862954, 0.26130258, 0.27577711)
"""Of the pixels that the network was trained on."""
_PREFIX = "vision_model."
_PROJECTION = "visual_projection"
_BESIDE = ("text_model.*", "text_projection.*", "logit_scale", f"{_PREFIX}embeddings.position_ids")
_DEFAULTS: Facts = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
"""ViT-L/14 at 336, which CMMD is defined on."""
_TELLING = (
    f"{_PREFIX}embeddings.patch_embedding.weight",
    f"{_PREFIX}embeddings.position_embedding.weight",
    f"{_PREFIX}encoder.layers.0.mlp.fc1.weight",
    f"{_PROJECTION}.weight",
)
_HEAD = 64
"""Numbers of a head in every size that OpenAI published, which shapes do not tell."""
_NAMES = dataclasses.replace(SIGLIP2.names, cls="embeddings.class_embedding", bare_cls=True)
"""The transformers library names the layers of both towers alike; SigLIP2's has no class token."""


def load_clip(
    config: Facts | None,
    weights: Mapping[str, np.ndarray],
    *,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
    on_host: bool = False,
) -> ClipVision:
    """The vision tower with published weights, stored in `dtype`; a text tower beside it is passed over.

    Without a `config` (the content of a `config.json`) the sizes are those of the weights, with heads of 64 numbers and
    the activation of OpenAI's networks. `on_host` leaves the weights in NumPy arrays.

    Raises ValueError for a configuration that is not understood, KeyMapError for weights that do not fit.
    """
    facts = clip_facts(_sizes(weights) if config is None else config)
    try:
        return load_new(
            partial(make_clip, facts), clip_slots, weights, ignored=_BESIDE, dtype=dtype, on_host=on_host
        )
    except KeyMapError as error:
        raise KeyMapError(f"{looks_like(weights, 'clip', 'CLIP vision tower')} {error}") from error


def make_clip(facts: Facts, key: RandomKey) -> ClipVision:
    """The tower of these facts with freshly drawn weights."""
    trunk = Trunk(
        dim=facts["hidden_size"],
        depth=facts["num_hidden_layers"],
        heads=facts["num_attention_heads"],
        hidden=facts["intermediate_size"],
        mlp=mlp_of(facts["hidden_act"]),
        norm_eps=facts["layer_norm_eps"],
        qk_norm=False,
    )
    side = facts["image_size"] // facts["patch_size"] * facts["patch_size"]
    return ClipVision(
        trunk, image_size=side, patch=facts["patch_size"], out_dim=facts["projection_dim"], key=key
    )


def clip_facts(config: Facts) -> dict[str, Any]:
    """The fields that decide what the tower computes, of a configuration of it or of both towers."""
    inside = config.get("vision_config", config)
    if not isinstance(inside, Mapping):
        raise ValueError(f"The configuration has vision_config={inside!r}, and it should hold fields.")
    given = inside.get("model_type", "clip_vision_model")
    if given != "clip_vision_model":
        raise ValueError(
            f"This configuration has model_type={given!r}, and CLIP's vision tower has 'clip_vision_model': give the "
            "folder of a CLIP."
        )
    joint = {"projection_dim": config["projection_dim"]} if "projection_dim" in config else {}
    return checked_facts({**inside, **joint}, _DEFAULTS)


def clip_slots(tower: ClipVision) -> list[Slot | Fixed]:
    """Which published name holds which leaf."""
    slots = vit_slots(tower.vit, _NAMES, prefix=_PREFIX, pick=lambda m: m.vit)
    slots += TORCH.norm(tower.input_norm, f"{_PREFIX}pre_layrnorm", lambda m: m.input_norm)  # as published
    return slots + TORCH.linear(tower.projection, _PROJECTION, lambda m: m.projection)


def _sizes(weights: Mapping[str, np.ndarray]) -> Facts:
    """The fields of a configuration that the shapes tell. Raises KeyMapError for weights of another network."""
    held = [weights[name] for name in _TELLING if name in weights]
    found = guess({name: array.shape for name, array in weights.items()})
    if [one.ndim for one in held] != [4, 2, 2, 2] or found is None or found.depth is None:
        raise KeyMapError(
            f"{looks_like(weights, 'clip', 'CLIP vision tower')} Without a config.json its sizes are those of "
            f"{', '.join(_TELLING)}."
        )
    patches, positions, up, projection = held
    dim, patch = len(patches), patches.shape[2]
    if dim % _HEAD:
        raise WeightsError(
            f"CLIP is {dim} wide here, which no heads of {_HEAD} numbers divide, and there is no config.json that says "
            "how many heads there are: put the one beside it that it was published with."
        )
    return {
        "hidden_size": dim,
        "intermediate_size": len(up),
        "num_hidden_layers": found.depth,
        "num_attention_heads": dim // _HEAD,
        "image_size": patch * round((len(positions) - 1) ** 0.5),
        "patch_size": patch,
        "projection_dim": len(projection),
    }
