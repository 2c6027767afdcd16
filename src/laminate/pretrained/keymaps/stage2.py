"""The names of two projects' PyTorch generators: RAE's stage 2 (DiT^DH, LightningDiT), and LightningDiT's own.

RAE's time runs from data (0) to noise (1) and its velocity is noise - data. A network built with
`time_backwards=True` gives its weights that time, and `load_stage2` turns the sign of the last layer, so that the
loaded network is a velocity in the sense of this library. LightningDiT's own files need neither.

Images of features are channels-first there, channels-last here.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from laminate.models.ddt import Ddt
from laminate.models.dit import Dit
from laminate.models.latent_shape import Embedding, Table
from laminate.nn import (
    ConditionedOutput,
    FourierFeatures,
    LayerNorm,
    Linear,
    PatchEmbed,
    RMSNorm,
    Stack,
    SwiGlu,
    TimeEmbed,
)
from laminate.pretrained.keymaps.base import LEADING_ONE, SAME, ArrayLayout, Pick, Slot, export, load
from laminate.pretrained.keymaps.layers import TORCH, patch_layout
from laminate.types import Buffer

M = TypeVar("M", bound=Dit | Ddt)

NEGATED = ArrayLayout(lambda a: -a, lambda a: -a)

_FUSED, _GATE, _UP = ".mlp.w12.", ".mlp.w12[gate].", ".mlp.w12[up]."


def load_stage2(network: M, weights: Mapping[str, np.ndarray], *, velocity: bool = True) -> M:
    """`network` with the weights of a published state dict.

    `velocity=False` is for networks that predict noise, score or data, which have no direction of time.

    Raises:
        KeyMapError: names are missing, unexpected or of the wrong shape, or a table differs; all are listed.
    """
    return load(network, stage2_slots(network, velocity=velocity), _split(weights))


def export_stage2(network: Dit | Ddt, *, of: Any = None, velocity: bool = True) -> dict[str, np.ndarray]:
    """The published state dict of `network`, or of a tree `of` its structure, such as its gradients."""
    slots = stage2_slots(network, velocity=velocity)
    return _joined(export(network if of is None else of, slots))


def stage2_slots(network: Dit | Ddt, *, velocity: bool = True) -> list[Slot]:
    """The slots of a state dict in which gate and up projection of a SwiGLU have names of their own."""
    layout = NEGATED if velocity and network.time.backwards else SAME
    slots = _conditions(network.time) + _positions(network.positions) + _output(network.output, layout)
    if isinstance(network, Dit):
        slots += _embedding(network.embed, "x_embedder", lambda m: m.embed)
        slots += TORCH.rotary(network.rotary, "feat_rope", lambda m: m.rotary)
        return slots + _stack(network.stack, 0, lambda m: m.stack.layers)
    slots += _embedding(network.encoder_embed, "s_embedder", lambda m: m.encoder_embed)
    slots += _embedding(network.head_embed, "x_embedder", lambda m: m.head_embed)
    slots += TORCH.rotary(network.encoder_rotary, "enc_feat_rope", lambda m: m.encoder_rotary)
    slots += TORCH.rotary(network.head_rotary, "dec_feat_rope", lambda m: m.head_rotary)
    if network.project is not None:
        slots += TORCH.linear(network.project, "s_projector", lambda m: m.project)
    slots += _stack(network.encoder, 0, lambda m: m.encoder.layers)
    return slots + _stack(network.head, network.encoder.depth, lambda m: m.head.layers)


def _split(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every fused `w12` cut into gate (first half of the rows) and up projection."""
    split: dict[str, np.ndarray] = {}
    for key, value in weights.items():
        if _FUSED in key:
            split[key.replace(_FUSED, _GATE)], split[key.replace(_FUSED, _UP)] = np.array_split(value, 2)
        else:
            split[key] = value
    return split


def _joined(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    joined: dict[str, np.ndarray] = {}
    for key, value in weights.items():
        if _GATE in key:
            joined[key.replace(_GATE, _FUSED)] = np.concatenate([value, weights[key.replace(_GATE, _UP)]])
        elif _UP not in key:
            joined[key] = value
    return joined


def _conditions(time: TimeEmbed) -> list[Slot]:
    slots = TORCH.linear(time.first, "t_embedder.mlp.0", lambda m: m.time.first)
    slots += TORCH.linear(time.second, "t_embedder.mlp.2", lambda m: m.time.second)
    if isinstance(time.features, FourierFeatures):
        slots.append(Slot(("t_embedder.W",), lambda m: m.time.features.frequencies.value))
    return [*slots, Slot(("y_embedder.embedding_table.weight",), lambda m: m.label.table)]


def _positions(table: Table) -> list[Slot]:
    """The table is loaded even where it is fixed: RAE's GPU training moved it."""
    if table is None:
        return []
    fixed = isinstance(table, Buffer)
    return [Slot(("pos_embed",), lambda m: m.positions.value if fixed else m.positions, LEADING_ONE)]


def _embedding(embedding: Embedding, name: str, pick: Pick) -> list[Slot]:
    if not isinstance(embedding, PatchEmbed):
        raise ValueError(f"{name}: these checkpoints are of images of features, build the network for them.")
    return TORCH.linear(
        embedding.projection, f"{name}.proj", lambda m: pick(m).projection, layout=patch_layout(embedding)
    )


def _stack(stack: Stack, first: int, pick: Pick) -> list[Slot]:
    block = stack.layers
    names = tuple(f"blocks.{first + layer}" for layer in range(stack.depth))
    parts: list[tuple[str, Linear | LayerNorm | RMSNorm | None, Pick]] = [
        ("norm1", block.attention_norm, lambda m: pick(m).attention_norm),
        ("norm2", block.mlp_norm, lambda m: pick(m).mlp_norm),
        ("attn.qkv", block.attention.qkv, lambda m: pick(m).attention.qkv),
        ("attn.proj", block.attention.out, lambda m: pick(m).attention.out),
        ("attn.q_norm", block.attention.q_norm, lambda m: pick(m).attention.q_norm),
        ("attn.k_norm", block.attention.k_norm, lambda m: pick(m).attention.k_norm),
        ("adaLN_modulation.1", block.modulation.linear, lambda m: pick(m).modulation.linear),
    ]
    if isinstance(block.mlp, SwiGlu):
        parts.append((_GATE.strip("."), block.mlp.gate, lambda m: pick(m).mlp.gate))
        parts.append((_UP.strip("."), block.mlp.up, lambda m: pick(m).mlp.up))
        parts.append(("mlp.w3", block.mlp.down, lambda m: pick(m).mlp.down))
    else:
        parts.append(("mlp.fc1", block.mlp.up, lambda m: pick(m).mlp.up))
        parts.append(("mlp.fc2", block.mlp.down, lambda m: pick(m).mlp.down))
    slots: list[Slot] = []
    for part, layer, where in parts:
        under = tuple(f"{name}.{part}" for name in names)
        if isinstance(layer, Linear):
            slots += TORCH.linear(layer, under, where)
        elif layer is not None:
            slots += TORCH.norm(layer, under, where)
    return slots


def _output(output: ConditionedOutput, layout: ArrayLayout) -> list[Slot]:
    modulation = output.modulation.linear
    slots = TORCH.linear(
        output.linear, "final_layer.linear", lambda m: m.output.linear, layout=layout, bias_layout=layout
    )
    slots += TORCH.norm(output.norm, "final_layer.norm_final", lambda m: m.output.norm)
    return slots + TORCH.linear(
        modulation, "final_layer.adaLN_modulation.1", lambda m: m.output.modulation.linear
    )
