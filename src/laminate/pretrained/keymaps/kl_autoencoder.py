"""The names of autoencoders made of `models.conv_pyramid`, in the words of each publication."""

import dataclasses

from laminate.models.conv_blocks import GridAttention, PreNormResBlock
from laminate.models.conv_pyramid import Level, Middle, PyramidDecoder, PyramidEncoder
from laminate.models.kl_autoencoder import KlAutoencoder
from laminate.models.latent_scaling import PatchedScaling
from laminate.nn import GroupNorm, RMSNorm
from laminate.pretrained.keymaps.base import SAME, ArrayLayout, Pick, Slot
from laminate.pretrained.keymaps.layers import LAST_FRAME, POINTWISE, POINTWISE_FRAME, TORCH


@dataclasses.dataclass(frozen=True)
class KlNames:
    """The names of one publication, of which each is filled in with numbers.

    `level` counts levels in the order in which they are computed, `fine` from the finest on, `block` the blocks of a
    level, and `flat` blocks and what changes the size in one row. `attended` is the attention behind such a block.
    `attention` are the norm, the maps of query, key and value (one, if they are fused) and the last map.
    """

    down_block: str
    down: str
    up_block: str
    up: str
    middle: tuple[str, str, str]
    shortcut: str
    norm_out: str
    attention: tuple[str, tuple[str, ...], str]
    down_attended: str = ""
    up_attended: str = ""
    attention_layout: ArrayLayout = SAME
    conv: ArrayLayout = SAME
    pointwise: ArrayLayout = POINTWISE


DIFFUSERS = KlNames(
    down_block="down_blocks.{level}.resnets.{block}",
    down="down_blocks.{level}.downsamplers.0.conv",
    up_block="up_blocks.{level}.resnets.{block}",
    up="up_blocks.{level}.upsamplers.0.conv",
    middle=("mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"),
    shortcut="conv_shortcut",
    norm_out="conv_norm_out",
    attention=("group_norm", ("to_q", "to_k", "to_v"), "to_out.0"),
)
OLD_DIFFUSERS = dataclasses.replace(
    DIFFUSERS, attention=("group_norm", ("query", "key", "value"), "proj_attn")
)
"""Of files from before the attention was renamed."""
LATENT_DIFFUSION = KlNames(
    down_block="down.{level}.block.{block}",
    down="down.{level}.downsample.conv",
    up_block="up.{fine}.block.{block}",
    up="up.{fine}.upsample.conv",
    middle=("mid.block_1", "mid.attn_1", "mid.block_2"),
    shortcut="nin_shortcut",
    norm_out="norm_out",
    attention=("norm", ("q", "k", "v"), "proj_out"),
    down_attended="down.{level}.attn.{block}",
    up_attended="up.{fine}.attn.{block}",
    attention_layout=POINTWISE,
)
"""Of the code of latent diffusion, and of VA-VAE."""


QWEN_IMAGE = KlNames(
    down_block="down_blocks.{flat}",
    down="down_blocks.{flat}.resample.1",
    up_block="up_blocks.{level}.resnets.{block}",
    up="up_blocks.{level}.upsamplers.0.resample.1",
    middle=("mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"),
    shortcut="conv_shortcut",
    norm_out="norm_out",
    attention=("norm", ("to_qkv",), "proj"),
    attention_layout=POINTWISE,
    conv=LAST_FRAME,
    pointwise=POINTWISE_FRAME,
)
"""Of an autoencoder of videos, as it meets a single frame."""


def autoencoder_slots(autoencoder: KlAutoencoder, names: KlNames) -> list[Slot]:
    """`encoder.`, `decoder.`, `quant_conv`, `post_quant_conv`, and `bn` where statistics are kept."""
    slots = _encoder_slots(autoencoder.encoder, names) + _decoder_slots(autoencoder.decoder, names)
    for layer, name, pick in (
        (autoencoder.to_moments, "quant_conv", lambda m: m.to_moments),
        (autoencoder.from_latents, "post_quant_conv", lambda m: m.from_latents),
    ):
        if layer is not None:
            slots += TORCH.linear(layer, name, pick, layout=names.pointwise)
    if isinstance(autoencoder.scaling, PatchedScaling):
        slots.append(Slot(("bn.running_mean",), lambda m: m.scaling.mean.value))
        slots.append(Slot(("bn.running_var",), lambda m: m.scaling.variance.value))
    return slots


def _encoder_slots(encoder: PyramidEncoder, names: KlNames) -> list[Slot]:
    slots = _end_slots(encoder, "encoder.", names, lambda m: m.encoder)
    for number, level in enumerate(encoder.levels):
        words = (names.down_block, names.down_attended, names.down)
        pick: Pick = lambda m, number=number: m.encoder.levels[number]
        slots += _level_slots(level, [f"encoder.{word}" for word in words], number, number, names, pick)
    return slots


def _decoder_slots(decoder: PyramidDecoder, names: KlNames) -> list[Slot]:
    slots = _end_slots(decoder, "decoder.", names, lambda m: m.decoder)
    for number, level in enumerate(decoder.levels):
        words = (names.up_block, names.up_attended, names.up)
        pick: Pick = lambda m, number=number: m.decoder.levels[number]
        fine = len(decoder.levels) - 1 - number
        slots += _level_slots(level, [f"decoder.{word}" for word in words], number, fine, names, pick)
    return slots


def _end_slots(half: PyramidEncoder | PyramidDecoder, at: str, names: KlNames, pick: Pick) -> list[Slot]:
    """What both halves have before and behind their levels."""
    slots = TORCH.linear(half.first, f"{at}conv_in", lambda m: pick(m).first, layout=names.conv)
    slots += _middle_slots(half.middle, at, names, lambda m: pick(m).middle)
    slots += _norm_slots(half.norm, f"{at}{names.norm_out}", lambda m: pick(m).norm)
    return slots + TORCH.linear(half.last, f"{at}conv_out", lambda m: pick(m).last, layout=names.conv)


def _level_slots(
    level: Level, words: list[str], number: int, fine: int, names: KlNames, pick: Pick
) -> list[Slot]:
    slots: list[Slot] = []
    block_word, attended, resample = words
    count = len(level.blocks)
    # A level of a flat list takes as many numbers of it as it has blocks, and one more for what follows them.
    flat = number * (count + 1)
    for i, block in enumerate(level.blocks):
        name = block_word.format(level=number, fine=fine, block=i, flat=flat + i)
        slots += _block_slots(block, name, names, lambda m, i=i: pick(m).blocks[i])
    for i, attention in enumerate(level.attentions):
        name = attended.format(level=number, fine=fine, block=i)
        slots += _attention_slots(attention, name, names, lambda m, i=i: pick(m).attentions[i])
    if level.resample is not None:
        name = resample.format(level=number, fine=fine, flat=flat + count)
        slots += TORCH.linear(level.resample.conv, name, lambda m: pick(m).resample.conv)
    return slots


def _middle_slots(middle: Middle, at: str, names: KlNames, pick: Pick) -> list[Slot]:
    before, attention, after = (at + name for name in names.middle)
    slots = _block_slots(middle.before, before, names, lambda m: pick(m).before)
    if middle.attention is not None:
        slots += _attention_slots(middle.attention, attention, names, lambda m: pick(m).attention)
    return slots + _block_slots(middle.after, after, names, lambda m: pick(m).after)


def _block_slots(block: PreNormResBlock, name: str, names: KlNames, pick: Pick) -> list[Slot]:
    slots = _norm_slots(block.first_norm, f"{name}.norm1", lambda m: pick(m).first_norm)
    slots += TORCH.linear(block.first, f"{name}.conv1", lambda m: pick(m).first, layout=names.conv)
    slots += _norm_slots(block.second_norm, f"{name}.norm2", lambda m: pick(m).second_norm)
    slots += TORCH.linear(block.second, f"{name}.conv2", lambda m: pick(m).second, layout=names.conv)
    if block.shortcut is not None:
        shortcut: Pick = lambda m: pick(m).shortcut
        slots += TORCH.linear(block.shortcut, f"{name}.{names.shortcut}", shortcut, layout=names.pointwise)
    return slots


def _attention_slots(attention: GridAttention, name: str, names: KlNames, pick: Pick) -> list[Slot]:
    norm, maps, out = names.attention
    layout = names.attention_layout
    slots = _norm_slots(attention.norm, f"{name}.{norm}", lambda m: pick(m).norm, frames=0)
    for word, leaf, of in (
        ("weight", lambda m: pick(m).attention.qkv.weight, layout),
        ("bias", lambda m: pick(m).attention.qkv.bias, SAME),
    ):
        keys = tuple(f"{name}.{each}.{word}" for each in maps)
        slots.append(Slot(keys, leaf, of, joined=len(maps)))
    return slots + TORCH.linear(
        attention.attention.out, f"{name}.{out}", lambda m: pick(m).attention.out, layout=layout
    )


def _norm_slots(norm: GroupNorm | RMSNorm, name: str, pick: Pick, *, frames: int = 1) -> list[Slot]:
    """`frames` is how many axes an RMS norm has for those of a video, beside the two of an image."""
    if isinstance(norm, RMSNorm):
        axes = (1,) * (2 + frames)
        layout = ArrayLayout(lambda a: a.reshape(-1), lambda a: a.reshape(-1, *axes))
        return [Slot((f"{name}.gamma",), lambda m: pick(m).scale, layout)]
    return TORCH.norm(norm, name, pick)
