"""The names of convolutional autoencoders: DINO-SAE's stem, and decoders in the words of DC-AE."""

from laminate.models.conv_blocks import LinearAttentionBlock, ResBlock
from laminate.models.conv_stem import ConvStem
from laminate.models.dc_decoder import DcDecoder, DecoderStage
from laminate.pretrained.keymaps.base import Pick, Slot
from laminate.pretrained.keymaps.layers import CHANNELS, POINTWISE, TORCH, Names


def stem_slots(stem: ConvStem, prefix: str, pick: Pick) -> list[Slot]:
    """`cnn.N.conv` and `cnn.N.norm` behind `prefix`; the last convolution has no norm."""
    slots: list[Slot] = []
    for i, stage in enumerate(stem.stages):
        slots += TORCH.linear(stage.conv, f"{prefix}cnn.{i}.conv", lambda m, i=i: pick(m).stages[i].conv)
        slots.append(_scale(f"{prefix}cnn.{i}.norm", lambda m, i=i: pick(m).stages[i].norm))
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
        slots.append(_scale(f"{out}.0", lambda m: pick(m).norm))
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
    block: ResBlock | LinearAttentionBlock = stage.blocks.layers
    of_blocks: Pick = lambda m: pick(m).blocks.layers
    if isinstance(block, ResBlock):
        return slots + _residual_slots(block, layers, of_blocks)
    return slots + _attention_slots(block, layers, of_blocks)


def _residual_slots(block: ResBlock, layers: tuple[str, ...], pick: Pick) -> list[Slot]:
    slots = TORCH.linear(block.first, _each(layers, "main.conv1.conv"), lambda m: pick(m).first)
    slots += TORCH.linear(block.second, _each(layers, "main.conv2.conv"), lambda m: pick(m).second)
    if block.norm is not None:
        slots.append(_scale(_each(layers, "main.conv2.norm"), lambda m: pick(m).norm))
    return slots


def _attention_slots(block: LinearAttentionBlock, layers: tuple[str, ...], pick: Pick) -> list[Slot]:
    attention, local = block.attention, block.local
    slots: list[Slot] = []
    for layer, name, part in (
        (attention.qkv, "context_module.main.qkv.conv", lambda m: pick(m).attention.qkv),
        (attention.out, "context_module.main.proj.conv", lambda m: pick(m).attention.out),
        (local.expand, "local_module.main.inverted_conv.conv", lambda m: pick(m).local.expand),
        (local.down, "local_module.main.point_conv.conv", lambda m: pick(m).local.down),
    ):
        slots += TORCH.linear(layer, _each(layers, name), part, layout=POINTWISE)
    depthwise: Pick = lambda m: pick(m).local.depthwise
    return slots + TORCH.linear(
        local.depthwise, _each(layers, "local_module.main.depth_conv.conv"), depthwise
    )


def _each(layers: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(layer + name for layer in layers)


def _scale(names: Names, pick: Pick) -> Slot:
    return TORCH.slot(names, TORCH.scale, lambda m: pick(m).scale, CHANNELS)
