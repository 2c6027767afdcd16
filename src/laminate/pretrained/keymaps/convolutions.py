"""The names of convolutional autoencoders: DINO-SAE's stem, and decoders and blocks in the words of DC-AE."""

import dataclasses

from laminate.models.conv_blocks import LinearAttentionBlock, ResBlock
from laminate.models.conv_stem import ConvStem
from laminate.models.dc_decoder import DcDecoder, DecoderStage
from laminate.pretrained.keymaps.base import ArrayLayout, Pick, Slot
from laminate.pretrained.keymaps.layers import CHANNELS, POINTWISE, TORCH, Names, Norm


@dataclasses.dataclass(frozen=True)
class BlockNames:
    """What one publication calls the parts of a block of DC-AE.

    `residual` are two convolutions and a norm; `attention` the maps of query, key and value (one, if they are fused),
    the last map and a norm; `around` the two convolutions of the heads that look around a place, with a place for their
    number; `local` the gated convolution's map, depthwise convolution, last map and a norm.
    """

    residual: tuple[str, str, str]
    attention: tuple[tuple[str, ...], str, str]
    attention_layout: ArrayLayout
    around: tuple[str, str]
    local: tuple[str, str, str, str]
    norm_layout: ArrayLayout


_NAMES = BlockNames(
    residual=("main.conv1.conv", "main.conv2.conv", "main.conv2.norm"),
    attention=(
        ("context_module.main.qkv.conv",),
        "context_module.main.proj.conv",
        "context_module.main.proj.norm",
    ),
    attention_layout=POINTWISE,
    around=("context_module.main.aggreg.{}.0", "context_module.main.aggreg.{}.1"),
    local=(
        "local_module.main.inverted_conv.conv",
        "local_module.main.depth_conv.conv",
        "local_module.main.point_conv.conv",
        "local_module.main.point_conv.norm",
    ),
    norm_layout=CHANNELS,
)


def stem_slots(stem: ConvStem, prefix: str, pick: Pick) -> list[Slot]:
    """`cnn.N.conv` and `cnn.N.norm` behind `prefix`; the last convolution has no norm."""
    slots: list[Slot] = []
    for i, stage in enumerate(stem.stages):
        slots += TORCH.linear(stage.conv, f"{prefix}cnn.{i}.conv", lambda m, i=i: pick(m).stages[i].conv)
        norm: Pick = lambda m, i=i: pick(m).stages[i].norm
        slots += TORCH.norm(stage.norm, f"{prefix}cnn.{i}.norm", norm, CHANNELS)
    return slots + TORCH.linear(stem.last, f"{prefix}cnn.{len(stem.stages)}.conv", lambda m: pick(m).last)


def decoder_slots(decoder: DcDecoder, prefix: str, pick: Pick) -> list[Slot]:
    """`project_in`, `stages.N` from the coarsest, and `project_out`, behind `prefix`."""
    within = "" if decoder.in_shortcut == "none" else "main."
    slots = TORCH.linear(decoder.first, f"{prefix}project_in.{within}conv", lambda m: pick(m).first)
    for i, stage in enumerate(decoder.stages):
        if stage is not None:
            slots += _stage_slots(stage, f"{prefix}stages.{i}.op_list.", lambda m, i=i: pick(m).stages[i])
    out = f"{prefix}project_out.op_list"
    if decoder.norm is not None:
        slots += TORCH.norm(decoder.norm, f"{out}.0", lambda m: pick(m).norm, CHANNELS)
    number = (decoder.norm is not None) + (decoder.out_activation is not None)
    within = "conv" if decoder.last_up is None else "conv.conv"
    return slots + TORCH.linear(decoder.last, f"{out}.{number}.{within}", lambda m: pick(m).last)


def _stage_slots(stage: DecoderStage, at: str, pick: Pick) -> list[Slot]:
    slots: list[Slot] = []
    if stage.upsample is not None:
        within = "" if stage.upsample.shortcut == "none" else "main."
        slots += TORCH.linear(
            stage.upsample.conv, f"{at}0.{within}conv.conv", lambda m: pick(m).upsample.conv
        )
        if stage.upsample.beside is not None:
            slots += TORCH.linear(
                stage.upsample.beside, f"{at}0.shortcut.conv.conv", lambda m: pick(m).upsample.beside
            )
    first = int(stage.upsample is not None)
    layers = tuple(f"{at}{first + layer}." for layer in range(stage.blocks.depth))
    return slots + block_slots(stage.blocks.layers, layers, _NAMES, lambda m: pick(m).blocks.layers)


def block_slots(
    block: ResBlock | LinearAttentionBlock, layers: tuple[str, ...], names: BlockNames, pick: Pick
) -> list[Slot]:
    """The slots of stacked blocks; `layers` is what stands before the names of each of them."""
    if isinstance(block, ResBlock):
        first, second, norm = names.residual
        slots = TORCH.linear(block.first, _each(layers, first), lambda m: pick(m).first)
        slots += TORCH.linear(block.second, _each(layers, second), lambda m: pick(m).second)
        return slots + _norm_slots(block.norm, _each(layers, norm), lambda m: pick(m).norm, names)
    return _attention_slots(block, layers, names, pick) + _local_slots(block, layers, names, pick)


def _attention_slots(
    block: LinearAttentionBlock, layers: tuple[str, ...], names: BlockNames, pick: Pick
) -> list[Slot]:
    attention, (maps, out, norm) = block.attention, names.attention
    layout = names.attention_layout
    fused = tuple(layer + name for layer in layers for name in maps)
    of_maps: Pick = lambda m: pick(m).attention.qkv
    slots = TORCH.linear(attention.qkv, fused, of_maps, joined=len(maps), layout=layout)
    depthwise, mix = names.around
    for number, around in enumerate(attention.around):
        of: Pick = lambda m, i=number: pick(m).attention.around[i]
        first, second = (_each(layers, name.format(number)) for name in (depthwise, mix))
        slots += TORCH.linear(around.depthwise, first, lambda m, of=of: of(m).depthwise)
        slots += TORCH.linear(around.mix, second, lambda m, of=of: of(m).mix)
    slots += TORCH.linear(attention.out, _each(layers, out), lambda m: pick(m).attention.out, layout=layout)
    return slots + _norm_slots(block.norm, _each(layers, norm), lambda m: pick(m).norm, names)


def _local_slots(
    block: LinearAttentionBlock, layers: tuple[str, ...], names: BlockNames, pick: Pick
) -> list[Slot]:
    local, (expand, depthwise, down, norm) = block.local, names.local
    slots = TORCH.linear(
        local.expand, _each(layers, expand), lambda m: pick(m).local.expand, layout=POINTWISE
    )
    slots += TORCH.linear(local.depthwise, _each(layers, depthwise), lambda m: pick(m).local.depthwise)
    slots += TORCH.linear(local.down, _each(layers, down), lambda m: pick(m).local.down, layout=POINTWISE)
    return slots + _norm_slots(block.local_norm, _each(layers, norm), lambda m: pick(m).local_norm, names)


def _norm_slots(norm: Norm | None, names: Names, pick: Pick, words: BlockNames) -> list[Slot]:
    return [] if norm is None else TORCH.norm(norm, names, pick, words.norm_layout)


def _each(layers: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(layer + name for layer in layers)
