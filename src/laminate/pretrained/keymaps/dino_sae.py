"""The names of DINO-SAE's checkpoints: `dino_model.` with the stem as its patch embedding, and `decoder.`."""

from laminate.models.conv_stem import ConvStem
from laminate.models.dino_sae import DinoSae
from laminate.pretrained.dinov3 import DINOV3_ORIGINAL
from laminate.pretrained.keymaps.base import Fixed, Slot
from laminate.pretrained.keymaps.convolutions import decoder_slots, stem_slots
from laminate.pretrained.keymaps.vit import vit_slots

BACKBONE = "dino_model."
STEM = f"{BACKBONE}patch_embed."
DECODER = "decoder."


def autoencoder_slots(autoencoder: DinoSae) -> list[Slot | Fixed]:
    """The slots of all of it."""
    stem = autoencoder.encoder.patch
    assert isinstance(stem, ConvStem)
    slots = vit_slots(autoencoder.encoder, DINOV3_ORIGINAL.names, prefix=BACKBONE, pick=lambda m: m.encoder)
    slots += stem_slots(stem, STEM, lambda m: m.encoder.patch)
    return slots + decoder_slots(autoencoder.decoder, DECODER, lambda m: m.decoder)
