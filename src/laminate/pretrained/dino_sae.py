"""DINO-SAE's published autoencoder: sizes from the shapes of its weights, wherever in a file they lie."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from laminate.models.conv_blocks import LinearAttentionBlock, MakeBlock, ResBlock
from laminate.models.conv_stem import ConvStem, with_stem
from laminate.models.dc_decoder import DcDecoder
from laminate.models.dino_sae import DinoSae, OutputRange
from laminate.pretrained.dinov3 import DINOV3_ORIGINAL
from laminate.pretrained.keymaps.base import Fixed, KeyMapError, export, load_new
from laminate.pretrained.keymaps.dino_sae import BACKBONE, DECODER, STEM, autoencoder_slots
from laminate.types import RandomKey

_FIRST = f"{STEM}cnn.0.conv.weight"
_HEAD_DIM = 64  # of every DINOv3, for files that do not hold the periods of its rotations
_INERT = f"{BACKBONE}mask_token"


def load_autoencoder(
    weights: Mapping[str, Any],
    *,
    output: OutputRange = "unit",
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
    on_host: bool = False,
) -> DinoSae:
    """The autoencoder of a checkpoint, stored in `dtype`: a state dict, alone or inside of dictionaries of a training,
    with whatever stands in front of all its names; of several, the averaged one.

    `output` is the range of what the decoder gives, which the weights do not say. Raises KeyMapError for names that are
    missing, unexpected or of the wrong shape.
    """
    named = state_dict(weights)
    named.pop(_INERT, None)
    make = _network(named, output)

    def slots(autoencoder: DinoSae) -> list[Any]:
        return [slot for slot in autoencoder_slots(autoencoder) if not _left_out(slot, named)]

    return load_new(make, slots, named, dtype=dtype, on_host=on_host)


def is_published(weights: Mapping[str, Any]) -> bool:
    """Whether these are weights of a DINO-SAE under published names."""
    return any(name.endswith(_FIRST) for name in weights)


def export_autoencoder(autoencoder: DinoSae) -> dict[str, np.ndarray]:
    """The weights under their published names; the inverse of `load_autoencoder`."""
    return export(autoencoder, autoencoder_slots(autoencoder))


def state_dict(weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tensors of one autoencoder in a checkpoint, by their names without what stands in front of all of them.

    Of several autoencoders the averaged one is taken (`ema` stands in front of its names). Raises KeyMapError if there
    is none.
    """
    flat = dict(_flattened("", weights))
    fronts = [name.removesuffix(_FIRST) for name in flat if name.endswith(_FIRST)]
    fronts = [front for front in fronts if not front or front.endswith(".")]
    if not fronts:
        raise KeyMapError(f"The checkpoint is none of DINO-SAE: no name in it ends in {_FIRST}.")
    front = max(fronts, key=lambda front: ("ema" in front, -len(front)))
    return {name.removeprefix(front): a for name, a in flat.items() if name.startswith(front)}


def _flattened(front: str, tree: Mapping[str, Any]) -> list[tuple[str, np.ndarray]]:
    found: list[tuple[str, np.ndarray]] = []
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found += _flattened(f"{front}{name}.", value)
        elif isinstance(value, (np.ndarray, jax.Array)):
            found.append((front + name, np.asarray(value)))
    return found


def _left_out(slot: Any, named: Mapping[str, np.ndarray]) -> bool:
    """Whether `slot` is a table that the module computes itself, and that this file does not hold."""
    return isinstance(slot, Fixed) and slot.key not in named


def _network(named: Mapping[str, np.ndarray], output: OutputRange) -> Any:
    config, (widths, dim) = _backbone(named), _stem(named)
    stages = [_stage(named, number) for number in range(_count(named, rf"{DECODER}stages\.(\d+)\."))]
    first, last = (
        _shape(named, f"{DECODER}{end}", 4)
        for end in ("project_in.main.conv.weight", "project_out.op_list.2.conv.weight")
    )
    wide = [first[0], *(width for width, _, _, _ in stages[1:])]
    kinds = [kind for _, _, kind, _ in stages]

    def make(key: RandomKey) -> DinoSae:
        decoder = DcDecoder(
            first[1],
            wide[::-1],
            [depth for _, depth, _, _ in stages][::-1],
            kinds[::-1],
            channels=last[0],
            up="shuffle" if any(shuffled for *_, shuffled in stages) else "nearest",
            key=key,
        )
        vit = DINOV3_ORIGINAL.make(config, key=key)
        encoder = with_stem(vit, ConvStem(dim, widths, key=key))
        return DinoSae(encoder, decoder, mean=DINOV3_ORIGINAL.mean, std=DINOV3_ORIGINAL.std, output=output)

    return make


def _backbone(named: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What the shapes say of the DINOv3."""
    at = f"{BACKBONE}blocks.0."
    dim = _shape(named, f"{BACKBONE}norm.weight", 1)[0]
    periods = f"{BACKBONE}rope_embed.periods"
    head_dim = 4 * _shape(named, periods, 1)[0] if periods in named else _HEAD_DIM
    gated = f"{at}mlp.w1.weight" in named
    hidden = _shape(named, f"{at}mlp.{'w1' if gated else 'fc1'}.weight", 2)[0]
    registers = f"{BACKBONE}storage_tokens"
    return {
        "embed_dim": dim,
        "depth": _count(named, rf"{BACKBONE}blocks\.(\d+)\."),
        "num_heads": max(1, dim // head_dim),
        "ffn_layer": "swiglu" if gated else "mlp",
        "ffn_ratio": (1.5 if gated else 1.0) * hidden / dim,
        "qkv_bias": f"{at}attn.qkv.bias" in named,
        "mask_k_bias": True,
        "n_storage_tokens": _shape(named, registers, 3)[1] if registers in named else 0,
        "norm_layer": "layernormbf16",
    }


def _stem(named: Mapping[str, np.ndarray]) -> tuple[tuple[int, ...], int]:
    """The widths of the stem, and that of its tokens."""
    convs = [
        _shape(named, f"{STEM}cnn.{i}.conv.weight", 4)[0]
        for i in range(_count(named, re.escape(STEM) + r"cnn\.(\d+)\."))
    ]
    return tuple(convs[:-1]), convs[-1]


def _stage(named: Mapping[str, np.ndarray], number: int) -> tuple[int, int, MakeBlock, bool]:
    """Width, depth and kind of the blocks of a stage, and whether it shuffles channels into places."""
    at = f"{DECODER}stages.{number}.op_list."
    blocks = _count(named, re.escape(at) + r"(\d+)\.")
    up = f"{at}0.main.conv.conv.weight"
    if blocks == 0 or (number > 0) != (up in named):
        raise KeyMapError(
            f"The checkpoint does not fit: {at}0 is {'no ' if number else 'an '}up-sampling, and every stage of a "
            "published decoder but the coarsest begins with one."
        )
    layer = f"{at}{int(number > 0)}."
    qkv, conv = f"{layer}context_module.main.qkv.conv.weight", f"{layer}main.conv1.conv.weight"
    attended = qkv in named
    width = _shape(named, qkv if attended else conv, 4)[1]
    shuffled = number > 0 and _shape(named, up, 4)[0] == 4 * width
    return width, blocks - (number > 0), LinearAttentionBlock if attended else ResBlock, shuffled


def _count(named: Mapping[str, np.ndarray], pattern: str) -> int:
    """One more than the largest number that stands in a name; 0 if there is none."""
    found = (re.match(pattern, name) for name in named)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _shape(named: Mapping[str, np.ndarray], name: str, axes: int) -> tuple[int, ...]:
    if name not in named:
        raise KeyMapError(f"The checkpoint does not fit: missing {name}.")
    shape = tuple(named[name].shape)
    if len(shape) != axes or not all(shape):
        raise KeyMapError(f"The checkpoint does not fit: {name} has shape {shape}, expected {axes} axes.")
    return shape
