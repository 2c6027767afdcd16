"""Names and shapes tell whose weights a file holds, and how large the network is."""

import numpy as np
import pytest

from laminate.pretrained.layouts import LABELS, guess, require
from laminate.pretrained.registry import KNOWN
from laminate.pretrained.tensors import WeightsError

VIT = ("embeddings.cls_token", "embeddings.position_embeddings", "encoder.layer.0.layernorm_before.weight")
BLOCKS = ("cls_token", "pos_embed", "blocks.0.attn.qkv.weight", "blocks.1.attn.qkv.weight")
# Names of published checkpoints, as far as they tell the family; the first one is as wide as the network.
PUBLISHED = {
    "dinov2": ("embeddings.cls_token", "embeddings.register_tokens", "encoder.layer.1.layer_scale1.lambda1"),
    "dinov2-plain": ("embeddings.cls_token", "embeddings.position_embeddings", "encoder.layer.1.layer_scale1.lambda1"),
    "dinov2 (authors)": (*BLOCKS, "register_tokens", "blocks.1.ls1.gamma"),
    "dinov3": ("embeddings.cls_token", "layer.1.attention.q_proj.weight", "layer.1.layer_scale1.lambda1"),
    "dinov3 (authors)": (*BLOCKS, "storage_tokens", "blocks.1.ls1.gamma"),
    "vit-mae": (*(f"vit.{name}" for name in VIT), "vit.encoder.layer.1.x", "decoder.decoder_layers.0.x"),
    "vit": (*VIT, "encoder.layer.1.x"),
    "rae": (
        "decoder.decoder_embed.bias",
        "decoder.decoder_embed.weight",
        "encoder.encoder.embeddings.register_tokens",
        "decoder.decoder_layers.1.x",
    ),
    "dino": BLOCKS,
    "siglip2": (
        "vision_model.embeddings.patch_embedding.bias",
        "vision_model.embeddings.patch_embedding.weight",
        "vision_model.encoder.layers.1.self_attn.q_proj.weight",
        "text_model.encoder.layers.7.self_attn.q_proj.weight",
    ),
    "rae-decoder": (
        "decoder_embed.bias",
        "decoder_embed.weight",
        "decoder_layers.1.attention.attention.query.weight",
        "decoder_pred.bias",
    ),
    "dino-sae": ("dino_model.norm.weight", "dino_model.patch_embed.cnn.0.conv.weight", "dino_model.blocks.1.ls1.gamma"),
    "flatdino": (
        "encoder/norm/norm/scale",
        "encoder/blocks/1/attention/qkv_proj/kernel",
        "decoder/blocks/0/attention/qkv_proj/kernel",
    ),
    "lightningdit": ("x_embedder.proj.bias", "t_embedder.mlp.0.weight", "blocks.1.adaLN_modulation.1.weight"),
    "dit-dh": ("s_embedder.proj.bias", "s_embedder.proj.weight", "x_embedder.proj.weight", "blocks.1.attn.qkv.weight"),
    "vitok": ("patch_embed.bias", "encoder_blocks.1.attn.qkv_proj.weight"),
}  # fmt: skip
SIZELESS = {
    "lpips": ("lin0.model.1.weight", "lin1.model.1.weight"),
    "vgg16": ("features.0.weight", "features.28.weight", "features.28.bias"),
    "inception": ("Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch1x1.conv.weight"),
}


def shapes(names: tuple[str, ...], width: int = 768) -> dict[str, tuple[int, ...]]:
    """Two layers of `names`, whose patterns ask for layer 0 too."""
    whole = [*names, *(name.replace(".1.", ".0.", 1).replace("/1/", "/0/", 1) for name in names)]
    return {name: (1, 1, width) if "cls_token" in name else (width,) for name in whole}


@pytest.mark.parametrize("family", [*PUBLISHED, *SIZELESS])
def test_every_published_layout_is_recognised(family):
    found = guess(shapes({**PUBLISHED, **SIZELESS}[family]))
    assert found is not None and found.family == family.split(" ")[0]
    if family in PUBLISHED:
        assert (found.width, found.depth) == (768, 2)
        assert "(768 wide: B, 2 layers)" in str(found)


def test_a_prefix_in_front_of_all_names_does_not_matter():
    for family in ("dinov2", "dinov3", "siglip2", "vit-mae"):
        prefixed = {f"teacher.{name}": shape for name, shape in shapes(PUBLISHED[family]).items()}
        found = guess(prefixed)
        assert found is not None and found.family == family


def test_names_of_nothing_known_are_no_layout_and_pass():
    assert guess({"a": (1,), "b.weight": (2, 3)}) is None
    require({"a": np.zeros(1)}, "dinov2", "x")


def arrays(family: str, width: int = 768) -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, np.float32) for name, shape in shapes(PUBLISHED[family], width).items()}


def test_another_family_or_size_is_called_what_it_is():
    require(arrays("dinov2"), "dinov2", "x", width=768, depth=2)
    require(arrays("vit"), "vit-mae", "x", width=768)
    require(arrays("vit"), "dino", "x")
    with pytest.raises(
        WeightsError, match=r"^x looks like ViT-MAE \(768 wide: B, 2 layers\), you asked for DINOv2"
    ):
        require(arrays("vit-mae"), "dinov2", "x", width=768, depth=2)
    with pytest.raises(
        WeightsError, match=r"\(768 wide: B, 2 layers\), you asked for .* \(1024 wide: L, 24 layers\)"
    ):
        require(arrays("dinov2"), "dinov2", "x", width=1024, depth=24)
    with pytest.raises(WeightsError, match="looks like DINOv2 without registers"):
        require(arrays("dinov2-plain"), "dinov2", "x")


def test_known_weights_name_layouts_that_exist_and_say_whose_they_are():
    for name, known in KNOWN.items():
        assert known.name == name and known.licence and known.source and known.files
        assert not known.family or known.family in LABELS
        assert "/" in known.repository and "/" not in name
        assert known.sha256.keys() <= set(known.files)
