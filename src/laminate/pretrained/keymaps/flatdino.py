"""The names of published FlatDINO checkpoints: trees joined with `/`, kernels laid out `(in, out)`.

A VAE checkpoint is the two trees `encoder` and `decoder`; a VQ checkpoint has `latent_proj` and `mask_token`
beside them when it was trained with nested dropout. The bottleneck has no weights, and the latent statistics
are published elsewhere. A checkpoint of the image decoder is one tree, `decoder`.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from laminate.models.pixel_decoder import RegisterDecoder
from laminate.models.vit import Vit
from laminate.nn import Block, ConditionedBlock, LayerNorm, PatchEmbed, RMSNorm, SwiGlu
from laminate.pretrained.keymaps.base import LEADING_ONE, ArrayLayout, Fixed, Pick, Slot
from laminate.pretrained.keymaps.layers import FLAX
from laminate.types import Buffer

IGNORED = ("*/rngs/count", "*/rngs/key")
"""Counters of the random streams, which a checkpoint carries and evaluation never uses."""


def flatdino_vit_slots(vit: Vit, *, prefix: str = "", pick: Pick = lambda tree: tree) -> list[Slot]:
    """The slots of one `ViTEncoder` tree.

    `prefix` stands in front of every name, for example `encoder/`; `pick` finds the `Vit` in the module that
    the slots are for. `vit` itself says which parts there are.
    """
    slots: list[Slot] = []
    if isinstance(vit.patch, PatchEmbed):
        slots += FLAX.linear(
            vit.patch.projection, f"{prefix}patch_embed/proj", lambda m: pick(m).patch.projection
        )
    if vit.input is not None:
        slots += FLAX.linear(vit.input, f"{prefix}input_proj", lambda m: pick(m).input)
    if isinstance(vit.positions, Buffer):
        layout = _behind_zero_rows(vit.prefix)
        slots.append(Slot((f"{prefix}pos_embed",), lambda m: pick(m).positions.value, layout, constant=True))
    elif vit.positions is not None:
        slots.append(Slot((f"{prefix}pos_embed",), lambda m: pick(m).positions, LEADING_ONE))
    if vit.cls is not None:
        slots.append(Slot((f"{prefix}cls_token",), lambda m: pick(m).cls, LEADING_ONE))
    if vit.registers is not None:
        slots.append(Slot((f"{prefix}reg_tokens",), lambda m: pick(m).registers, LEADING_ONE))
    slots += block_slots(vit.stack.layers, vit.stack.depth, f"{prefix}blocks", lambda m: pick(m).stack.layers)
    slots += FLAX.norm(vit.norm, f"{prefix}norm/norm", lambda m: pick(m).norm)
    if vit.output is not None:
        slots += FLAX.linear(vit.output, f"{prefix}output_proj", lambda m: pick(m).output)
    return slots


@runtime_checkable
class FlatDinoParts(Protocol):
    """What a checkpoint holds of `tokenizers.flatdino.FlatDino`, which lies beside this package, not below it."""

    @property
    def encoder(self) -> Vit: ...

    @property
    def decoder(self) -> Vit: ...

    @property
    def nested(self) -> Any: ...


def flatdino_slots(tokenizer: FlatDinoParts) -> list[Slot]:
    """The slots of a whole VAE or VQ checkpoint; `IGNORED` names what it holds beside them."""
    slots = flatdino_vit_slots(tokenizer.encoder, prefix="encoder/", pick=lambda m: m.encoder)
    slots += flatdino_vit_slots(tokenizer.decoder, prefix="decoder/", pick=lambda m: m.decoder)
    if tokenizer.nested is not None:
        slots += FLAX.linear(tokenizer.nested.projection, "latent_proj", lambda m: m.nested.projection)
        slots.append(Slot(("mask_token",), lambda m: m.nested.mask_token, LEADING_ONE))
    return slots


def pixel_decoder_slots(decoder: RegisterDecoder, *, prefix: str = "decoder/") -> list[Slot | Fixed]:
    """The slots of an image decoder's checkpoint, which also states the mean and deviation of its pixels."""
    slots: list[Slot | Fixed] = [*flatdino_vit_slots(decoder.vit, prefix=prefix, pick=lambda m: m.vit)]
    slots += FLAX.linear(decoder.last, f"{prefix}decoder_proj", lambda m: m.last)
    for name, values in (("img_mean", decoder.mean), ("img_std", decoder.std)):
        slots.append(Fixed(prefix + name, np.asarray(values, np.float32).reshape(1, 1, 1, -1)))
    return slots


def block_slots(block: Block | ConditionedBlock, depth: int, prefix: str, pick: Pick) -> list[Slot]:
    """The slots of a stack of blocks, all but a modulation; `pick` finds the stacked layers in the module."""
    layers = tuple(f"{prefix}/{layer}" for layer in range(depth))
    attention = [("attention/qkv_proj", block.attention.qkv, lambda m: pick(m).attention.qkv)]
    attention.append(("attention/o_proj", block.attention.out, lambda m: pick(m).attention.out))
    mlp = [("mlp/up_proj", block.mlp.up, lambda m: pick(m).mlp.up)]
    mlp.append(("mlp/down_proj", block.mlp.down, lambda m: pick(m).mlp.down))
    if isinstance(block.mlp, SwiGlu):
        mlp.append(("mlp/gate_proj", block.mlp.gate, lambda m: pick(m).mlp.gate))
    norms: list[tuple[str, LayerNorm | RMSNorm | None, Pick]] = [
        ("att_norm/norm", block.attention_norm, lambda m: pick(m).attention_norm),
        ("mlp_norm/norm", block.mlp_norm, lambda m: pick(m).mlp_norm),
        ("attention/q_norm/norm", block.attention.q_norm, lambda m: pick(m).attention.q_norm),
        ("attention/k_norm/norm", block.attention.k_norm, lambda m: pick(m).attention.k_norm),
    ]
    slots: list[Slot] = []
    for name, linear, where in attention + mlp:
        slots += FLAX.linear(linear, tuple(f"{layer}/{name}" for layer in layers), where)
    for name, norm, where in norms:
        if norm is not None:
            slots += FLAX.norm(norm, tuple(f"{layer}/{name}" for layer in layers), where)
    return slots


def _behind_zero_rows(prefix: int) -> ArrayLayout:
    """A table published as `[1, prefix + patches, dim]` whose first `prefix` rows are zero."""
    return ArrayLayout(lambda a: a[0, prefix:], lambda a: np.pad(a, ((prefix, 0), (0, 0)))[None])
