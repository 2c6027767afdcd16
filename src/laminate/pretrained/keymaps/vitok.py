"""The names of ViTok-v2's checkpoints: the autoencoder, whole or either half of it."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from laminate.models.naflex import NaFlexAutoencoder, NaFlexTransformer
from laminate.nn import ParallelBlock
from laminate.pretrained.keymaps.base import LEADING_ONE, Pick, Slot
from laminate.pretrained.keymaps.layers import TORCH

_OLD_BLOCKS = re.compile(r"^(?:_orig_mod\.)?(?:(encoder|decoder)\.(?=\d))?")


def autoencoder_slots(autoencoder: NaFlexAutoencoder) -> list[Slot]:
    """The slots of the halves that there are."""
    slots: list[Slot] = []
    if autoencoder.encoder is not None:
        slots += _transformer(
            autoencoder.encoder, ("patch_embed", "to_code", "encoder_blocks", ""), lambda m: m.encoder
        )
    if autoencoder.decoder is not None:
        slots += _transformer(
            autoencoder.decoder,
            ("decoder_embed", "to_pixels", "decoder_blocks", "decoder_"),
            lambda m: m.decoder,
        )
    return slots


def parallel_slots(
    block: ParallelBlock, layers: tuple[str, ...], pick: Pick, *, mlp: str = "ffn"
) -> list[Slot]:
    """The slots of stacked layers; `layers` are their names, and `mlp` that of the token-wise network."""

    def each(part: str) -> tuple[str, ...]:
        return tuple(f"{layer}.{part}" for layer in layers)

    slots = TORCH.norm(block.norm, each("norm1"), lambda m: pick(m).norm)
    slots += branch_slots(block, each, pick, mlp=mlp)
    if block.scale is not None:
        slots.append(Slot(each("layer_scale.gamma"), lambda m: pick(m).scale, stacked=True))
    return slots


def branch_slots(block: Any, each: Any, pick: Pick, *, mlp: str) -> list[Slot]:
    """The slots of attention and of a SwiGLU whose first map holds the values above the gates."""
    attention = block.attention
    slots = TORCH.linear(attention.qkv, each("attn.qkv_proj"), lambda m: pick(m).attention.qkv)
    slots += TORCH.linear(attention.out, each("attn.out_proj"), lambda m: pick(m).attention.out)
    slots += TORCH.norm(attention.q_norm, each("attn.norm_q"), lambda m: pick(m).attention.q_norm)
    slots += TORCH.norm(attention.k_norm, each("attn.norm_k"), lambda m: pick(m).attention.k_norm)
    both: Pick = lambda m: (pick(m).mlp.up.weight, pick(m).mlp.gate.weight)
    slots.append(Slot(each(f"{mlp}.fc1.weight"), both, stacked=True))
    return slots + TORCH.linear(block.mlp.down, each(f"{mlp}.fc2"), lambda m: pick(m).mlp.down)


def _transformer(network: NaFlexTransformer, names: tuple[str, str, str, str], pick: Pick) -> list[Slot]:
    embed, head, blocks, special = names
    layers = tuple(f"{blocks}.{layer}" for layer in range(network.stack.depth))
    slots = TORCH.linear(network.input, embed, lambda m: pick(m).input)
    slots += TORCH.linear(network.output, head, lambda m: pick(m).output)
    slots += parallel_slots(network.stack.layers, layers, lambda m: pick(m).stack.layers)
    if network.cls is not None:
        slots.append(Slot((f"{special}cls_token",), lambda m: pick(m).cls, LEADING_ONE))
    if network.registers is not None:
        slots.append(Slot((f"{special}reg_token",), lambda m: pick(m).registers, LEADING_ONE))
    return slots


def renamed(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The published names of a checkpoint that a training wrote: `encoder.3.` is `encoder_blocks.3.`, and so on."""
    return {
        _OLD_BLOCKS.sub(lambda m: f"{m[1]}_blocks." if m[1] else "", name): array
        for name, array in weights.items()
    }
