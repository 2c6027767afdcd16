"""The names of FlatDINO's generator checkpoints: LightningDiT and DiT^DH, trees joined with `/`.

Their time and velocity are those of this library: 0 is noise, 1 is data, velocity = data - noise. The latent
statistics in a checkpoint (`latent_mean`, `latent_std`) belong to the tokenizer; `latent_statistics` finds them.
"""

from collections.abc import Mapping

import numpy as np

from laminate.models.ddt import Ddt
from laminate.models.dit import Dit
from laminate.models.latent_shape import Embedding, Table
from laminate.nn import ConditionedOutput, FourierFeatures, PatchEmbed, Stack, TimeEmbed
from laminate.pretrained.keymaps.base import LEADING_ONE, SAME, Pick, Slot
from laminate.pretrained.keymaps.flatdino import block_slots
from laminate.pretrained.keymaps.layers import FLAX
from laminate.types import Buffer

IGNORED = ("*/rngs/*", "latent_mean", "latent_std")
"""Counters of the random streams, and the statistics that belong to the tokenizer."""


def latent_statistics(weights: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and standard deviation of the latents that a checkpoint carries, or None."""
    if "latent_mean" not in weights or "latent_std" not in weights:
        return None
    return weights["latent_mean"], weights["latent_std"]


def dit_slots(dit: Dit) -> list[Slot]:
    """The slots of a `LightningDiT` checkpoint."""
    slots = _embedding(dit.embed, "x_embedder", lambda m: m.embed)
    slots += _positions(dit.positions)
    slots += FLAX.rotary(dit.rotary, "feat_rope", lambda m: m.rotary)
    slots += _conditions(dit.time)
    slots += _stack(dit.stack, "blocks", lambda m: m.stack)
    return slots + _output(dit.output) + _cls(dit)


def ddt_slots(ddt: Ddt) -> list[Slot]:
    """The slots of a `DiTDH` checkpoint."""
    slots = _embedding(ddt.encoder_embed, "s_embedder", lambda m: m.encoder_embed)
    slots += _embedding(ddt.head_embed, "x_embedder", lambda m: m.head_embed)
    slots += _positions(ddt.positions)
    slots += FLAX.rotary(ddt.encoder_rotary, "enc_feat_rope", lambda m: m.encoder_rotary)
    slots += FLAX.rotary(ddt.head_rotary, "dec_feat_rope", lambda m: m.head_rotary)
    slots += _conditions(ddt.time)
    slots += _stack(ddt.encoder, "encoder_blocks", lambda m: m.encoder)
    slots += _stack(ddt.head, "decoder_blocks", lambda m: m.head)
    if ddt.project is not None:
        slots += FLAX.linear(ddt.project, "s_projector", lambda m: m.project)
    return slots + _output(ddt.output) + _cls(ddt)


def _embedding(embedding: Embedding, name: str, pick: Pick) -> list[Slot]:
    if isinstance(embedding, PatchEmbed):
        return FLAX.linear(embedding.projection, f"{name}/proj", lambda m: pick(m).projection)
    return FLAX.linear(embedding, name, pick)


def _positions(table: Table) -> list[Slot]:
    if table is None:
        return []
    if isinstance(table, Buffer):
        return [Slot(("pos_embed",), lambda m: m.positions.value, SAME, constant=True)]
    return [Slot(("pos_embed",), lambda m: m.positions, LEADING_ONE)]


def _conditions(time: TimeEmbed) -> list[Slot]:
    slots = FLAX.linear(time.first, "t_embedder/mlp/layers/0", lambda m: m.time.first)
    slots += FLAX.linear(time.second, "t_embedder/mlp/layers/2", lambda m: m.time.second)
    if isinstance(time.features, FourierFeatures):
        slots.append(Slot(("t_embedder/W",), lambda m: m.time.features.frequencies.value))
    return [*slots, Slot(("y_embedder/embedding_table/embedding",), lambda m: m.label.table)]


def _stack(stack: Stack, name: str, pick: Pick) -> list[Slot]:
    names = tuple(f"{name}/{layer}/adaLN_modulation/layers/1" for layer in range(stack.depth))
    slots = block_slots(stack.layers, stack.depth, name, lambda m: pick(m).layers)
    return slots + FLAX.linear(
        stack.layers.modulation.linear, names, lambda m: pick(m).layers.modulation.linear
    )


def _output(output: ConditionedOutput) -> list[Slot]:
    slots = FLAX.linear(output.linear, "final_layer/linear", lambda m: m.output.linear)
    slots += FLAX.linear(
        output.modulation.linear,
        "final_layer/adaLN_modulation/layers/1",
        lambda m: m.output.modulation.linear,
    )
    return slots + FLAX.norm(output.norm, "final_layer/norm_final/norm", lambda m: m.output.norm)


def _cls(network: Dit | Ddt) -> list[Slot]:
    if network.cls_in is None or network.cls_out is None:
        return []
    slots = FLAX.linear(network.cls_in, "in_cls_proj", lambda m: m.cls_in)
    return slots + FLAX.linear(network.cls_out, "out_cls_proj", lambda m: m.cls_out)
