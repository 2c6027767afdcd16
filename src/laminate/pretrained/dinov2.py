"""DINOv2 (Oquab et al. 2023), with registers (Darcet et al. 2024) and without."""

import jax

from laminate.models.vit import Trunk, Vit
from laminate.nn import LayerNorm, PatchEmbed, SwiGlu
from laminate.pretrained.keymaps.vit import BlockNames, VitNames
from laminate.pretrained.vit_reader import Facts, VitReader, mlp_of
from laminate.types import RandomKey


def _build(facts: Facts, affine: bool, key: RandomKey) -> Vit:
    k_patch, k_vit = jax.random.split(key)
    dim, eps, hidden = (
        facts["hidden_size"],
        facts["layer_norm_eps"],
        facts["hidden_size"] * facts["mlp_ratio"],
    )
    registers = facts.get("num_register_tokens", 0)
    gated = facts["use_swiglu_ffn"]
    trunk = Trunk(
        dim=dim,
        depth=facts["num_hidden_layers"],
        heads=facts["num_attention_heads"],
        hidden=gated_hidden(hidden) if gated else hidden,
        mlp=SwiGlu if gated else mlp_of(facts["hidden_act"]),
        norm_eps=eps,
        qk_norm=False,
        attention_bias=facts["qkv_bias"],
        attention_out_bias=True,
        layer_scale=facts["layerscale_value"],
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
        registers=registers,
        cls_token=True,
        cls_position=True,
        # The two releases resize their table with different kernels.
        resampling="bicubic-antialias" if "num_register_tokens" in facts else "bicubic",
        norm=LayerNorm(dim, eps=eps, scale=affine, bias=affine),
        key=k_vit,
    )


def gated_hidden(hidden: int) -> int:
    """Width of the gated MLP in the place of a plain one: two thirds, rounded up to a multiple of 8."""
    return (int(hidden * 2 / 3) + 7) // 8 * 8


_NAMES = VitNames(
    patch="embeddings.patch_embeddings.projection",
    positions="embeddings.position_embeddings",
    cls="embeddings.cls_token",
    registers="embeddings.register_tokens",
    block="encoder.layer.{}",
    inside=BlockNames(
        attention_norm="norm1",
        mlp_norm="norm2",
        qkv=("attention.attention.query", "attention.attention.key", "attention.attention.value"),
        out="attention.output.dense",
        mlp=("mlp.fc1", "mlp.fc2"),
        gated=("mlp.weights_in", "mlp.weights_out"),
        scales=("layer_scale1.lambda1", "layer_scale2.lambda1"),
    ),
    norm="layernorm",
)
_DEFAULTS: Facts = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "mlp_ratio": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "image_size": 224,
    "patch_size": 14,
    "num_channels": 3,
    "qkv_bias": True,
    "layerscale_value": 1.0,
    "use_swiglu_ffn": False,
}
_INERT = (
    "apply_layernorm",
    "attention_probs_dropout_prob",
    "drop_path_rate",
    "hidden_dropout_prob",
    "initializer_range",
    "use_mask_token",
)

DINOV2 = VitReader(
    name="dinov2-plain",
    title="DINOv2",
    names=_NAMES,
    defaults=_DEFAULTS,
    build=_build,
    inert=_INERT,
    ignored=("embeddings.mask_token",),
    prefix="dinov2.",
    beside=("classifier.*",),
    model_types=("dinov2",),
)
DINOV2_REGISTERS = VitReader(
    name="dinov2",
    title="DINOv2 with registers",
    names=_NAMES,
    defaults={**_DEFAULTS, "patch_size": 16, "num_register_tokens": 4},
    build=_build,
    inert=_INERT,
    ignored=("embeddings.mask_token",),
    prefix="dinov2_with_registers.",
    beside=("classifier.*",),
    model_types=("dinov2_with_registers",),
)
