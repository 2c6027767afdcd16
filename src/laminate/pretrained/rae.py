"""Published representation autoencoders: the decoder's sizes and names, and the parts of a whole checkpoint."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from laminate.models.rae_decoder import RaeDecoder
from laminate.models.vit import Trunk
from laminate.pretrained.family import Facts, checked_facts, mlp_of
from laminate.pretrained.guess import looks_like
from laminate.pretrained.keymaps.base import Fixed, KeyMapError, Slot, load_new
from laminate.pretrained.keymaps.vit import VitNames, vit_slots
from laminate.pretrained.plain import BLOCK_NAMES
from laminate.types import RandomKey

DEFAULTS: Facts = {
    "decoder_hidden_size": 1152,
    "decoder_intermediate_size": 4096,
    "decoder_num_attention_heads": 16,
    "decoder_num_hidden_layers": 28,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "num_channels": 3,
    "qkv_bias": True,
}
INERT = (
    "attention_probs_dropout_prob",
    "hidden_dropout_prob",
    "hidden_size",
    "image_size",
    "initializer_range",
    "intermediate_size",
    "mask_ratio",
    "model_type",
    "norm_pix_loss",
    "num_attention_heads",
    "num_hidden_layers",
    "patch_size",
)

_CLS = "trainable_cls_token"
_NAMES = VitNames(
    input="decoder_embed",
    positions="decoder_pos_embed",
    cls=_CLS,
    block="decoder_layers.{}",
    inside=BLOCK_NAMES,
    norm="decoder_norm",
    output="decoder_pred",
)
_ENCODER_PREFIXES = ("encoder.encoder.", "encoder.model.")
_DECODER_PREFIX = "decoder."


def decoder_config(size: str) -> dict[str, int]:
    """The configuration of a decoder by the name of its size. Raises ValueError for an unknown one."""
    sizes = {"ViTB": (768, 3072, 12, 12), "ViTL": (1024, 4096, 16, 24), "ViTXL": (1152, 4096, 16, 28)}
    if size not in sizes:
        raise ValueError(f"There is no decoder of size {size!r}; the sizes are {', '.join(sizes)}.")
    dim, hidden, heads, depth = sizes[size]
    return {
        "decoder_hidden_size": dim,
        "decoder_intermediate_size": hidden,
        "decoder_num_attention_heads": heads,
        "decoder_num_hidden_layers": depth,
    }


def make_decoder(config: Facts, *, tokens: int, in_dim: int, patch: int = 16, key: RandomKey) -> RaeDecoder:
    """The decoder of a configuration with freshly drawn weights, for `tokens` features of width `in_dim`."""
    facts = checked_facts(config, DEFAULTS)
    trunk = Trunk(
        dim=facts["decoder_hidden_size"],
        depth=facts["decoder_num_hidden_layers"],
        heads=facts["decoder_num_attention_heads"],
        hidden=facts["decoder_intermediate_size"],
        mlp=mlp_of(facts["hidden_act"]),
        norm_eps=facts["layer_norm_eps"],
        qk_norm=False,
        attention_bias=facts["qkv_bias"],
        attention_out_bias=True,
    )
    return RaeDecoder(
        trunk, tokens=tokens, in_dim=in_dim, patch=patch, channels=facts["num_channels"], key=key
    )


def load_decoder(
    config: Facts,
    weights: Mapping[str, np.ndarray],
    *,
    tokens: int,
    in_dim: int,
    patch: int = 16,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
) -> RaeDecoder:
    """The decoder of a configuration with published weights, stored in `dtype`.

    Files from before the cls token was trained lack it: it is zero there. Raises KeyMapError for weights that do not
    fit.
    """
    if _CLS not in weights:
        dim = checked_facts(config, DEFAULTS)["decoder_hidden_size"]
        weights = {**weights, _CLS: np.zeros((1, 1, dim), np.float32)}

    def make(key: RandomKey) -> RaeDecoder:
        return make_decoder(config, tokens=tokens, in_dim=in_dim, patch=patch, key=key)

    try:
        return load_new(make, decoder_slots, weights, dtype=dtype)
    except KeyMapError as error:
        title = "decoder of a representation autoencoder"
        raise KeyMapError(f"{looks_like(weights, title)} {error}") from error


def decoder_slots(decoder: RaeDecoder) -> list[Slot | Fixed]:
    """Which published name holds which leaf of the decoder."""
    return vit_slots(decoder.vit, _NAMES, place=lambda m: m.vit)


class Parts(NamedTuple):
    """The weights of encoder and decoder under the names of their own files."""

    encoder: dict[str, np.ndarray]
    decoder: dict[str, np.ndarray]


def split_autoencoder(weights: Mapping[str, np.ndarray]) -> Parts:
    """The two parts of a whole autoencoder's checkpoint. Raises KeyMapError for names that belong to neither."""
    parts, strangers = Parts({}, {}), list[str]()
    for name, array in weights.items():
        prefix = next((p for p in _ENCODER_PREFIXES if name.startswith(p)), None)
        if prefix is not None:
            parts.encoder[name.removeprefix(prefix)] = array
        elif name.startswith(_DECODER_PREFIX):
            parts.decoder[name.removeprefix(_DECODER_PREFIX)] = array
        else:
            strangers.append(name)
    if strangers:
        raise KeyMapError(
            f"An autoencoder's names begin with {', '.join((*_ENCODER_PREFIXES, _DECODER_PREFIX))}; "
            f"these do not: {', '.join(strangers)}"
        )
    return parts
