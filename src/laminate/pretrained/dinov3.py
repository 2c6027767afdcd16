"""DINOv3 (Siméoni et al. 2025): rotary positions, registers, no bias on keys. Two layouts of the same weights."""

from functools import partial

import jax

from laminate.models.vit import Trunk, Vit
from laminate.nn import LayerNorm, PatchEmbed, SwiGlu
from laminate.pretrained.keymaps.vit import BlockNames, VitNames
from laminate.pretrained.vit_reader import Facts, VitReader, activation_of, mlp_of
from laminate.types import RandomKey

_NORM_EPS = {"layernorm": 1e-6, "layernormbf16": 1e-5}
_ALIGNMENT = {"swiglu": 8, "swiglu32": 32, "swiglu64": 64, "swiglu128": 128}


def _build(facts: Facts, affine: bool, key: RandomKey) -> Vit:
    trunk = Trunk(
        dim=facts["hidden_size"],
        depth=facts["num_hidden_layers"],
        heads=facts["num_attention_heads"],
        hidden=facts["intermediate_size"],
        mlp=_gated(facts["hidden_act"]) if facts["use_gated_mlp"] else mlp_of(facts["hidden_act"]),
        norm_eps=facts["layer_norm_eps"],
        qk_norm=False,
        attention_bias=(facts["query_bias"], facts["key_bias"], facts["value_bias"]),
        attention_out_bias=facts["proj_bias"],
        mlp_bias=facts["mlp_bias"],
        layer_scale=facts["layerscale_value"],
    )
    return _network(
        trunk,
        patch=facts["patch_size"],
        channels=facts["num_channels"],
        registers=facts["num_register_tokens"],
        base=facts["rope_theta"],
        affine=affine,
        key=key,
    )


def _build_original(facts: Facts, affine: bool, key: RandomKey) -> Vit:
    required = {"pos_embed_rope_normalize_coords": "separate", "pos_embed_rope_dtype": "fp32"}
    for field, value in required.items():
        if facts[field] != value:
            raise ValueError(f"{field}={facts[field]!r} is not implemented, only {value!r} is.")
    if facts["norm_layer"] not in _NORM_EPS:
        raise ValueError(f"norm_layer={facts['norm_layer']!r} is none of {', '.join(_NORM_EPS)}.")
    gated = facts["ffn_layer"] != "mlp"
    if gated and facts["ffn_layer"] not in _ALIGNMENT:
        raise ValueError(f"ffn_layer={facts['ffn_layer']!r} is none of mlp, {', '.join(_ALIGNMENT)}.")
    hidden = int(facts["embed_dim"] * facts["ffn_ratio"])
    qkv_bias = facts["qkv_bias"]
    trunk = Trunk(
        dim=facts["embed_dim"],
        depth=facts["depth"],
        heads=facts["num_heads"],
        hidden=_aligned(int(hidden * 2 / 3), _ALIGNMENT[facts["ffn_layer"]]) if gated else hidden,
        mlp=SwiGlu if gated else mlp_of("gelu"),
        norm_eps=_NORM_EPS[facts["norm_layer"]],
        qk_norm=False,
        attention_bias=(qkv_bias, qkv_bias and not facts["mask_k_bias"], qkv_bias),
        attention_out_bias=facts["proj_bias"],
        mlp_bias=facts["ffn_bias"],
        layer_scale=facts["layerscale_init"],
    )
    return _network(
        trunk,
        patch=facts["patch_size"],
        channels=facts["in_chans"],
        registers=facts["n_storage_tokens"],
        base=facts["pos_embed_rope_base"],
        affine=affine,
        key=key,
    )


def _network(
    trunk: Trunk, *, patch: int, channels: int, registers: int, base: float, affine: bool, key: RandomKey
) -> Vit:
    k_patch, k_vit = jax.random.split(key)
    return Vit(
        trunk,
        patch=PatchEmbed(patch, patch, trunk.dim, channels=channels, crop=True, key=k_patch),
        registers=registers,
        cls_token=True,
        positions="rotary",
        rotary_base=base,
        norm=LayerNorm(trunk.dim, eps=trunk.norm_eps, scale=affine, bias=affine),
        key=k_vit,
    )


def _gated(activation: str) -> partial[SwiGlu]:
    return partial(SwiGlu, activation=activation_of(activation))


def _aligned(hidden: int, step: int) -> int:
    return -(-hidden // step) * step


DINOV3 = VitReader(
    name="dinov3",
    title="DINOv3",
    names=VitNames(
        patch="embeddings.patch_embeddings",
        cls="embeddings.cls_token",
        registers="embeddings.register_tokens",
        block="layer.{}",
        inside=BlockNames(
            attention_norm="norm1",
            mlp_norm="norm2",
            qkv=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
            out="attention.o_proj",
            mlp=("mlp.up_proj", "mlp.down_proj"),
            gated=("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
            scales=("layer_scale1.lambda1", "layer_scale2.lambda1"),
        ),
        norm="norm",
    ),
    defaults={
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "patch_size": 16,
        "num_channels": 3,
        "num_register_tokens": 0,
        "query_bias": True,
        "key_bias": False,
        "value_bias": True,
        "proj_bias": True,
        "mlp_bias": True,
        "layerscale_value": 1.0,
        "use_gated_mlp": False,
        "rope_theta": 100.0,
    },
    build=_build,
    inert=(
        "attention_dropout",
        "drop_path_rate",
        "image_size",
        "initializer_range",
        "pos_embed_jitter",
        "pos_embed_rescale",
        "pos_embed_shift",
    ),
    ignored=("embeddings.mask_token",),
    model_types=("dinov3_vit",),
)

DINOV3_ORIGINAL = VitReader(
    name="dinov3-original",
    title="DINOv3 (layout of the original release)",
    names=VitNames(
        patch="patch_embed.proj",
        cls="cls_token",
        registers="storage_tokens",
        periods="rope_embed.periods",
        block="blocks.{}",
        inside=BlockNames(
            attention_norm="norm1",
            mlp_norm="norm2",
            qkv=("attn.qkv",),
            out="attn.proj",
            mlp=("mlp.fc1", "mlp.fc2"),
            gated=("mlp.w1", "mlp.w2", "mlp.w3"),
            scales=("ls1.gamma", "ls2.gamma"),
            bias_mask="attn.qkv.bias_mask",
        ),
        norm="norm",
    ),
    defaults={
        "embed_dim": 768,
        "depth": 12,
        "num_heads": 12,
        "ffn_ratio": 4.0,
        "ffn_layer": "mlp",
        "ffn_bias": True,
        "proj_bias": True,
        "qkv_bias": True,
        "mask_k_bias": False,
        "in_chans": 3,
        "patch_size": 16,
        "n_storage_tokens": 0,
        "norm_layer": "layernorm",
        "layerscale_init": 1e-5,
        "pos_embed_rope_base": 100.0,
        "pos_embed_rope_dtype": "fp32",
        "pos_embed_rope_normalize_coords": "separate",
    },
    build=_build_original,
    inert=(
        "drop_path_rate",
        "img_size",
        "pos_embed_rope_jitter_coords",
        "pos_embed_rope_rescale_coords",
        "pos_embed_rope_shift_coords",
    ),
    ignored=("mask_token",),
)
