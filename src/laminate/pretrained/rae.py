"""Published representation autoencoders: the decoder's sizes and names, and the parts of a whole checkpoint."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from laminate.models.rae_decoder import RaeDecoder
from laminate.models.vit import Trunk
from laminate.pretrained.keymaps.base import Fixed, KeyMapError, Slot, load_new
from laminate.pretrained.keymaps.layers import TORCH
from laminate.pretrained.keymaps.vit import VitNames, vit_slots
from laminate.pretrained.layouts import looks_like
from laminate.pretrained.plain import BLOCK_NAMES
from laminate.pretrained.vit_reader import Facts, checked_facts, mlp_of
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
HEADS = {768: 12, 1024: 16, 1152: 16}
"""Heads of the published decoders, by width: the one size that no shape tells."""

Channels = tuple[float, ...]
"""One number for each channel of an image."""

_CLS = "trainable_cls_token"
_NAMES = VitNames(
    input="decoder_embed",
    positions="decoder_pos_embed",
    cls=_CLS,
    block="decoder_layers.{}",
    inside=BLOCK_NAMES,
    norm="decoder_norm",
)
_ENCODER_PREFIXES = ("encoder.encoder.", "encoder.model.")
_DECODER_PREFIX = "decoder."
_TITLE = "decoder of a representation autoencoder"
# As the diffusers library renames them.
_RENAMED = (
    (re.compile(r"\.attention\.to_q\."), ".attention.attention.query."),
    (re.compile(r"\.attention\.to_k\."), ".attention.attention.key."),
    (re.compile(r"\.attention\.to_v\."), ".attention.attention.value."),
    (re.compile(r"\.attention\.to_out\.0\."), ".attention.output.dense."),
)
_BUFFERS = ("encoder_mean", "encoder_std", "_latents_mean", "_latents_std")


def make_decoder(
    config: Facts, *, tokens: int, in_dim: int, patch: int = 16, mean: Channels, std: Channels, key: RandomKey
) -> RaeDecoder:
    """The decoder of a configuration with freshly drawn weights, for `tokens` features of width `in_dim`.

    `mean` and `std` are those of the pixels that the encoder of the features sees. Raises ValueError if they are not
    of as many channels as the configuration says.
    """
    facts = checked_facts(config, DEFAULTS)
    if len(mean) != facts["num_channels"]:
        raise ValueError(f"The decoder has num_channels={facts['num_channels']}, and mean={mean}.")
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
    return RaeDecoder(trunk, tokens=tokens, in_dim=in_dim, patch=patch, mean=mean, std=std, key=key)


def load_decoder(
    config: Facts,
    weights: Mapping[str, np.ndarray],
    *,
    tokens: int,
    in_dim: int,
    patch: int = 16,
    mean: Channels,
    std: Channels,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
    on_host: bool = False,
) -> RaeDecoder:
    """The decoder of a configuration with published weights, stored in `dtype`.

    Files from before the cls token was trained lack it: it is zero there. Raises KeyMapError for weights that do not
    fit.
    """
    if _CLS not in weights:
        dim = checked_facts(config, DEFAULTS)["decoder_hidden_size"]
        weights = {**weights, _CLS: np.zeros((1, 1, dim), np.float32)}

    def make(key: RandomKey) -> RaeDecoder:
        return make_decoder(config, tokens=tokens, in_dim=in_dim, patch=patch, mean=mean, std=std, key=key)

    try:
        return load_new(make, decoder_slots, weights, dtype=dtype, on_host=on_host)
    except KeyMapError as error:
        raise KeyMapError(f"{looks_like(weights, 'rae-decoder', _TITLE)} {error}") from error


def read_decoder(
    config: Facts | None,
    weights: Mapping[str, np.ndarray],
    *,
    mean: Channels,
    std: Channels,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
    on_host: bool = False,
) -> RaeDecoder:
    """The decoder of published weights, whose sizes are those of their shapes.

    The heads are those of the `config.json` beside the weights, or of the published decoder of that width. Raises
    KeyMapError for weights of something else, ValueError if the heads are not known.
    """
    weights = published_names(weights)
    told = (
        "decoder_embed.weight",
        "decoder_pos_embed",
        "decoder_pred.bias",
        "decoder_layers.0.intermediate.dense.bias",
    )
    if any(name not in weights for name in told):
        raise KeyMapError(
            f"{looks_like(weights, 'rae-decoder', _TITLE)} It lacks {', '.join(n for n in told if n not in weights)}."
        )
    dim, in_dim = weights[told[0]].shape
    given = {} if config is None else dict(config)
    heads = given.get("decoder_num_attention_heads", HEADS.get(dim))
    if heads is None:
        raise ValueError(
            f"A decoder {dim} wide is none of the published ones ({', '.join(map(str, HEADS))} wide): put a "
            "config.json with decoder_num_attention_heads beside its weights."
        )
    layers = {int(found[1]) for name in weights if (found := re.match(r"decoder_layers\.(\d+)\.", name))}
    sizes = {
        "decoder_hidden_size": dim,
        "decoder_intermediate_size": weights[told[3]].shape[0],
        "decoder_num_attention_heads": heads,
        "decoder_num_hidden_layers": max(layers) + 1,
    }
    channels = checked_facts(given, DEFAULTS)["num_channels"]
    return load_decoder(
        {**given, **sizes},
        weights,
        tokens=weights[told[1]].shape[1] - 1,
        in_dim=in_dim,
        patch=math.isqrt(weights[told[2]].shape[0] // channels),
        mean=mean,
        std=std,
        dtype=dtype,
        on_host=on_host,
    )


def published_names(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`weights` with the names of the diffusers library replaced by those that their authors use."""
    renamed: dict[str, np.ndarray] = {}
    for name, array in weights.items():
        for pattern, replacement in _RENAMED:
            name = pattern.sub(replacement, name)
        renamed[name] = array
    return renamed


def decoder_slots(decoder: RaeDecoder) -> list[Slot | Fixed]:
    """Which published name holds which leaf of the decoder."""
    slots = vit_slots(decoder.vit, _NAMES, pick=lambda m: m.vit)
    return slots + TORCH.linear(decoder.last, "decoder_pred", lambda m: m.last)


class RaeParts(NamedTuple):
    """The weights of encoder and decoder under the names of their own files; `buffers` is what else a file of the
    diffusers library holds."""

    encoder: dict[str, np.ndarray]
    decoder: dict[str, np.ndarray]
    buffers: dict[str, np.ndarray]


def split_autoencoder(weights: Mapping[str, np.ndarray]) -> RaeParts:
    """The two parts of a whole autoencoder's checkpoint. Raises KeyMapError for names that belong to neither."""
    parts, strangers = RaeParts({}, {}, {}), list[str]()
    for name, array in published_names(weights).items():
        prefix = next((p for p in _ENCODER_PREFIXES if name.startswith(p)), None)
        if prefix is not None:
            parts.encoder[name.removeprefix(prefix)] = array
        elif name.startswith(_DECODER_PREFIX):
            parts.decoder[name.removeprefix(_DECODER_PREFIX)] = array
        elif name in _BUFFERS:
            parts.buffers[name] = array
        else:
            strangers.append(name)
    if strangers:
        raise KeyMapError(
            f"An autoencoder's names begin with {', '.join((*_ENCODER_PREFIXES, _DECODER_PREFIX))}; "
            f"these do not: {', '.join(strangers)}"
        )
    return parts


_ENCODER: Facts = {"encoder_hidden_size": 768, "encoder_patch_size": 14, "encoder_num_hidden_layers": 12}


def encoder_config(
    config: Mapping[str, Any] | None, weights: Mapping[str, np.ndarray]
) -> dict[str, Any] | None:
    """The `config.json` that the encoder inside a whole autoencoder would have, from that of the diffusers library.

    None where there is none: then the encoder is one of a published size.
    """
    if config is None or "encoder_type" not in config:
        return None
    kinds = {"dinov2": "dinov2_with_registers", "siglip2": "siglip_vision_model", "mae": "vit_mae"}
    kind = config["encoder_type"]
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"encoder_type={kind!r} is none of {', '.join(kinds)}.")
    facts = checked_facts(config, _ENCODER)
    width, patch = facts["encoder_hidden_size"], facts["encoder_patch_size"]
    table = next(
        (a for name, a in weights.items() if re.search(r"embeddings\.position_embedding", name)), None
    )
    positions = 0 if table is None else table.shape[-2] - (kind != "siglip2")
    return {
        "model_type": kinds[kind],
        "hidden_size": width,
        "num_hidden_layers": facts["encoder_num_hidden_layers"],
        "num_attention_heads": width // 64,
        "patch_size": patch,
        "image_size": math.isqrt(positions) * patch,
    }
