"""The names of ViTok-v2's checkpoints: the autoencoder, whole or either half of it, and the generator."""

import re
from collections.abc import Callable, Mapping

import numpy as np

from laminate.models.naflex import NaFlexAutoencoder, NaFlexTransformer
from laminate.models.shared_dit import SharedDit
from laminate.nn import ParallelBlock, SharedBlock
from laminate.pretrained.keymaps.base import LEADING_ONE, SAME, Pick, Slot
from laminate.pretrained.keymaps.layers import TORCH
from laminate.pretrained.keymaps.stage2 import NEGATED

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


def branch_slots(
    block: ParallelBlock | SharedBlock, each: Callable[[str], tuple[str, ...]], pick: Pick, *, mlp: str
) -> list[Slot]:
    """The slots of attention and of a SwiGLU whose first map holds the values above the gates."""
    attention = block.attention
    slots = TORCH.linear(attention.qkv, each("attn.qkv_proj"), lambda m: pick(m).attention.qkv)
    slots += TORCH.linear(attention.out, each("attn.out_proj"), lambda m: pick(m).attention.out)
    if attention.q_norm is not None and attention.k_norm is not None:
        slots += TORCH.norm(attention.q_norm, each("attn.norm_q"), lambda m: pick(m).attention.q_norm)
        slots += TORCH.norm(attention.k_norm, each("attn.norm_k"), lambda m: pick(m).attention.k_norm)
    both: Pick = lambda m: (pick(m).mlp.up.weight, pick(m).mlp.gate.weight)
    slots.append(Slot(each(f"{mlp}.fc1.weight"), both, stacked=True))
    return slots + TORCH.linear(block.mlp.down, each(f"{mlp}.fc2"), lambda m: pick(m).mlp.down)


def dit_slots(network: SharedDit) -> list[Slot]:
    """The slots of the generator. Its velocity is noise - data there, so the last layer changes its sign."""
    layers = tuple(f"blocks.{layer}" for layer in range(network.stack.depth))
    block: SharedBlock = network.stack.layers
    pick: Pick = lambda m: m.stack.layers
    sign = NEGATED if network.time.backwards else SAME
    slots = TORCH.linear(network.input, "input_proj", lambda m: m.input)
    slots += TORCH.linear(network.time.first, "time_embedder.0", lambda m: m.time.first)
    slots += TORCH.linear(network.time.second, "time_embedder.2", lambda m: m.time.second)
    slots.append(Slot(("class_embedder.weight",), lambda m: m.label.table))
    slots += TORCH.linear(network.modulation.linear, "mod_proj.1", lambda m: m.modulation.linear)
    head = network.output.modulation.linear
    slots += TORCH.linear(head, "head_mod_proj.1", lambda m: m.output.modulation.linear)
    slots += TORCH.linear(
        network.output.linear, "final_layer.linear", lambda m: m.output.linear, layout=sign, bias_layout=sign
    )
    each: Callable[[str], tuple[str, ...]] = lambda part: tuple(f"{layer}.{part}" for layer in layers)
    slots += branch_slots(block, each, pick, mlp="mlp")
    slots.append(Slot(each("modulation"), lambda m: pick(m).offset, LEADING_ONE, stacked=True))
    if block.layer_scale is not None:
        slots.append(Slot(each("layer_scale.gamma"), lambda m: pick(m).layer_scale, stacked=True))
    return slots + _special(network, "", lambda m: m)


def _special(network: NaFlexTransformer | SharedDit, prefix: str, pick: Pick) -> list[Slot]:
    slots: list[Slot] = []
    if network.cls is not None:
        slots.append(Slot((f"{prefix}cls_token",), lambda m: pick(m).cls, LEADING_ONE))
    if network.registers is not None:
        slots.append(Slot((f"{prefix}reg_token",), lambda m: pick(m).registers, LEADING_ONE))
    return slots


def _transformer(network: NaFlexTransformer, names: tuple[str, str, str, str], pick: Pick) -> list[Slot]:
    embed, head, blocks, special = names
    layers = tuple(f"{blocks}.{layer}" for layer in range(network.stack.depth))
    slots = TORCH.linear(network.input, embed, lambda m: pick(m).input)
    slots += TORCH.linear(network.output, head, lambda m: pick(m).output)
    slots += parallel_slots(network.stack.layers, layers, lambda m: pick(m).stack.layers)
    return slots + _special(network, special, pick)


def renamed(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The published names of a checkpoint that a training wrote: `encoder.3.` is `encoder_blocks.3.`, and so on."""
    return {
        _OLD_BLOCKS.sub(lambda m: f"{m[1]}_blocks." if m[1] else "", name): array
        for name, array in weights.items()
    }
