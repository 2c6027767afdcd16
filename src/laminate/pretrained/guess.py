"""What a file seems to hold, judged by its names alone."""

from collections.abc import Callable, Collection
from typing import NamedTuple


class _Sign(NamedTuple):
    name: str
    title: str
    seen: Callable[[str], bool]


def _seen(*fragments: str) -> Callable[[str], bool]:
    return lambda names: all(fragment in names for fragment in fragments)


# The first that is seen in the names, joined by newlines; more telling ones come first.
_SIGNS = (
    _Sign("rae", "a whole representation autoencoder", _seen("\ndecoder.decoder_layers.0.", "\nencoder.")),
    _Sign("rae-decoder", "the decoder of a representation autoencoder", _seen("\ndecoder_layers.0.")),
    _Sign("flatdino", "FlatDINO", _seen("/attention/qkv_proj/kernel")),
    _Sign("inception", "Inception-v3", _seen("Mixed_5b.branch1x1.", "Mixed_7c.")),
    _Sign("lpips", "LPIPS", _seen("lin0.model.1.weight")),
    _Sign("vgg16", "VGG-16", _seen("features.0.weight", "features.28.weight")),
    _Sign("siglip2", "SigLIP2 vision tower", _seen("layers.0.self_attn.q_proj.", ".layer_norm1.")),
    _Sign("dinov3", "DINOv3", _seen("layer.0.attention.q_proj.", "layer.0.layer_scale1.lambda1")),
    _Sign(
        "dinov3-original", "DINOv3 (layout of the original release)", _seen("rope_embed.periods", "blocks.0.")
    ),
    _Sign("dinov2-registers", "DINOv2 with registers", _seen("layer_scale1.lambda1", "register_tokens")),
    _Sign("dinov2", "DINOv2", _seen("encoder.layer.0.layer_scale1.lambda1")),
    _Sign("mae", "ViT-MAE", _seen("encoder.layer.0.layernorm_before.", "\ndecoder.")),
    _Sign("mae", "ViT-MAE", _seen("\nvit.encoder.layer.0.layernorm_before.")),
    _Sign("dino", "DINO ViT", _seen("encoder.layer.0.layernorm_before.")),
    _Sign("dinov2-original", "DINOv2 (layout of the original release)", _seen("blocks.0.ls1.gamma")),
    _Sign(
        "dino-original", "DINO ViT (layout of the original release)", _seen("blocks.0.attn.qkv.", "pos_embed")
    ),
)


def guess(keys: Collection[str]) -> str | None:
    """The name of the family that the names of a checkpoint belong to, or None."""
    sign = _sign(keys)
    return None if sign is None else sign.name


def looks_like(keys: Collection[str], title: str) -> str:
    """The sentence for someone who asked for `title` and gave a file with these names."""
    sign = _sign(keys)
    if sign is None or sign.title == title:
        return f"The weights do not fit the {title} that was asked for."
    return f"This looks like {sign.title}, you asked for {title}."


def _sign(keys: Collection[str]) -> _Sign | None:
    names = "\n" + "\n".join(keys)
    return next((sign for sign in _SIGNS if sign.seen(names)), None)
