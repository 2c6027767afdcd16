"""The names of DC-AE in the words of diffusers' `AutoencoderDC`."""

from laminate.models.dc_autoencoder import DcAutoencoder
from laminate.models.dc_decoder import DcDecoder
from laminate.models.dc_encoder import DcEncoder
from laminate.nn import Conv2d
from laminate.pretrained.keymaps.base import SAME, Pick, Slot
from laminate.pretrained.keymaps.convolutions import BlockNames, block_slots
from laminate.pretrained.keymaps.layers import TORCH

IGNORED = ("*.num_batches_tracked",)

_NAMES = BlockNames(
    residual=("conv1", "conv2", "norm"),
    attention=(("attn.to_q", "attn.to_k", "attn.to_v"), "attn.to_out", "attn.norm_out"),
    attention_layout=SAME,
    around=("attn.to_qkv_multiscale.{}.proj_in", "attn.to_qkv_multiscale.{}.proj_out"),
    local=("conv_out.conv_inverted", "conv_out.conv_depth", "conv_out.conv_point", "conv_out.norm"),
    norm_layout=SAME,
)


def autoencoder_slots(autoencoder: DcAutoencoder) -> list[Slot]:
    """`encoder.` and `decoder.`, in both of which stages are counted from the finest."""
    return _encoder_slots(autoencoder.encoder) + _decoder_slots(autoencoder.decoder)


def _encoder_slots(encoder: DcEncoder) -> list[Slot]:
    slots = (
        TORCH.linear(encoder.first, "encoder.conv_in", lambda m: m.encoder.first)
        if isinstance(encoder.first, Conv2d)
        else TORCH.linear(encoder.first.conv, "encoder.conv_in.conv", lambda m: m.encoder.first.conv)
    )
    for number, stage in enumerate(encoder.stages):
        if stage is None:
            continue
        pick: Pick = lambda m, i=number: m.encoder.stages[i]
        at = f"encoder.down_blocks.{number}."
        layers = tuple(f"{at}{layer}." for layer in range(stage.blocks.depth))
        slots += block_slots(stage.blocks.layers, layers, _NAMES, lambda m, of=pick: of(m).blocks.layers)
        if stage.downsample is not None:
            down: Pick = lambda m, of=pick: of(m).downsample.conv
            slots += TORCH.linear(stage.downsample.conv, f"{at}{stage.blocks.depth}.conv", down)
    return slots + TORCH.linear(encoder.last, "encoder.conv_out", lambda m: m.encoder.last)


def _decoder_slots(decoder: DcDecoder) -> list[Slot]:
    slots = TORCH.linear(decoder.first, "decoder.conv_in", lambda m: m.decoder.first)
    for number, stage in enumerate(decoder.stages):
        if stage is None:
            continue
        pick: Pick = lambda m, i=number: m.decoder.stages[i]
        at = f"decoder.up_blocks.{len(decoder.stages) - 1 - number}."
        if stage.upsample is not None:
            up: Pick = lambda m, of=pick: of(m).upsample.conv
            slots += TORCH.linear(stage.upsample.conv, f"{at}0.conv", up)
        before = int(stage.upsample is not None)
        layers = tuple(f"{at}{before + layer}." for layer in range(stage.blocks.depth))
        slots += block_slots(stage.blocks.layers, layers, _NAMES, lambda m, of=pick: of(m).blocks.layers)
    if decoder.norm is not None:
        slots += TORCH.norm(decoder.norm, "decoder.norm_out", lambda m: m.decoder.norm)
    out = "decoder.conv_out" if decoder.last_up is None else "decoder.conv_out.conv"
    return slots + TORCH.linear(decoder.last, out, lambda m: m.decoder.last)
