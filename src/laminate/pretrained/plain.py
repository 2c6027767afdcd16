"""Plain vision transformers: DINO (Caron et al. 2021) in two layouts, and ViT-MAE (He et al. 2022)."""

import jax

from laminate.models.vit import Trunk, Vit
from laminate.nn import LayerNorm, PatchEmbed
from laminate.pretrained.keymaps.vit import BlockNames, VitNames
from laminate.pretrained.vit_reader import Facts, VitReader, mlp_of
from laminate.types import RandomKey


def _build(facts: Facts, affine: bool, key: RandomKey) -> Vit:
    k_patch, k_vit = jax.random.split(key)
    dim, eps = facts["hidden_size"], facts["layer_norm_eps"]
    trunk = Trunk(
        dim=dim,
        depth=facts["num_hidden_layers"],
        heads=facts["num_attention_heads"],
        hidden=facts["intermediate_size"],
        mlp=mlp_of(facts["hidden_act"]),
        norm_eps=eps,
        qk_norm=False,
        attention_bias=facts["qkv_bias"],
        attention_out_bias=True,
    )
    patch = PatchEmbed(
        facts["image_size"],
        facts["patch_size"],
        dim,
        channels=facts["num_channels"],
        crop=True,
        key=k_patch,
    )
    return Vit(
        trunk,
        patch=patch,
        cls_token=True,
        cls_position=True,
        resampling="bicubic",
        norm=LayerNorm(dim, eps=eps, scale=affine, bias=affine),
        key=k_vit,
    )


def _build_original(facts: Facts, affine: bool, key: RandomKey) -> Vit:
    same = {
        "hidden_size": facts["embed_dim"],
        "num_hidden_layers": facts["depth"],
        "num_attention_heads": facts["num_heads"],
        "intermediate_size": int(facts["embed_dim"] * facts["mlp_ratio"]),
        "layer_norm_eps": facts["norm_eps"],
        "num_channels": facts["in_chans"],
    }
    return _build({**facts, **same}, affine, key)


BLOCK_NAMES = BlockNames(
    attention_norm="layernorm_before",
    mlp_norm="layernorm_after",
    qkv=("attention.attention.query", "attention.attention.key", "attention.attention.value"),
    out="attention.output.dense",
    mlp=("intermediate.dense", "output.dense"),
)
_NAMES = VitNames(
    patch="embeddings.patch_embeddings.projection",
    positions="embeddings.position_embeddings",
    cls="embeddings.cls_token",
    block="encoder.layer.{}",
    inside=BLOCK_NAMES,
    norm="layernorm",
)
_DEFAULTS: Facts = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "qkv_bias": True,
}
_INERT = ("attention_probs_dropout_prob", "hidden_dropout_prob", "initializer_range")

DINO = VitReader(
    name="dino",
    title="DINO ViT",
    names=_NAMES,
    defaults=_DEFAULTS,
    build=_build,
    inert=(*_INERT, "encoder_stride", "pooler_act", "pooler_output_size"),
    ignored=("pooler.*",),
    beside=("classifier.*",),
    model_types=("vit",),
)
DINO_ORIGINAL = VitReader(
    name="dino-original",
    title="DINO ViT (layout of the original release)",
    names=VitNames(
        patch="patch_embed.proj",
        positions="pos_embed",
        cls="cls_token",
        block="blocks.{}",
        inside=BlockNames(
            attention_norm="norm1",
            mlp_norm="norm2",
            qkv=("attn.qkv",),
            out="attn.proj",
            mlp=("mlp.fc1", "mlp.fc2"),
        ),
        norm="norm",
    ),
    defaults={
        "embed_dim": 384,
        "depth": 12,
        "num_heads": 6,
        "mlp_ratio": 4.0,
        "hidden_act": "gelu",
        "norm_eps": 1e-6,
        "image_size": 224,
        "patch_size": 8,
        "in_chans": 3,
        "qkv_bias": True,
    },
    build=_build_original,
)
MAE = VitReader(
    name="vit-mae",
    title="ViT-MAE",
    names=_NAMES,
    defaults=_DEFAULTS,
    build=_build,
    inert=(
        *_INERT,
        "decoder_hidden_size",
        "decoder_intermediate_size",
        "decoder_num_attention_heads",
        "decoder_num_hidden_layers",
        "mask_ratio",
        "norm_pix_loss",
    ),
    prefix="vit.",
    beside=("decoder.*",),
    model_types=("vit_mae",),
)
