"""A generator recipe as the configuration that the released code would resolve, for the golden name grammar."""

from typing import Any

from laminate.recipes.generator.recipe import GeneratorRecipe

WIDTH_BEFORE_THE_TOKENIZER = 768
"""The released configuration has this latent width until it meets a tokenizer."""


def as_released_generator(recipe: GeneratorRecipe) -> dict[str, Any]:
    """`parsed.generator[name]` of the golden header."""
    return {
        "kappa": recipe.time_shift,
        "model": _dit(recipe) if recipe.head is None else _ddt(recipe),
        "model_type": "dit" if recipe.head is None else "dit_dh",
        "pred_type": {"velocity": "v", "data": "x"}[recipe.prediction],
        "sample_latents": recipe.sample_latents,
        "time_dist_shift_base": recipe.time_shift_base,
        "use_latent_norm": recipe.normalize,
    }


def _shared(recipe: GeneratorRecipe) -> dict[str, Any]:
    return {
        "class_dropout_prob": recipe.class_dropout,
        "in_channels": WIDTH_BEFORE_THE_TOKENIZER,
        "in_cls_dim": None,
        "num_classes": recipe.classes,
        "num_registers": 0,
        "use_rope": recipe.rotary,
        "wo_shift": False,
    }


def _dit(recipe: GeneratorRecipe) -> dict[str, Any]:
    network = recipe.network
    return _shared(recipe) | {
        "learn_sigma": False,
        "num_patches": recipe.tokens,
        "transformer": {
            "embed_dim": network.dim,
            "num_layers": network.depth,
            "num_heads": network.heads,
            "mlp_hidden_dim": network.hidden,
            "mlp_type": network.mlp,
            "norm_type": {"layer": "ln", "rms": "rms"}[network.norm],
            "layer_norm_eps": network.norm_eps,
            "qk_norm": network.qk_norm,
            "qkv_bias": network.bias,
            "mlp_bias": network.bias,
            "gelu_approximate": True,
        },
    }


def _ddt(recipe: GeneratorRecipe) -> dict[str, Any]:
    network, head = recipe.network, recipe.head
    assert head is not None
    ratio = network.hidden / network.dim
    assert head.hidden == int(head.dim * ratio)
    return _shared(recipe) | {
        "encoder_dim": network.dim,
        "encoder_depth": network.depth,
        "encoder_heads": network.heads,
        "decoder_dim": head.dim,
        "decoder_depth": head.depth,
        "decoder_heads": head.heads,
        "input_size": recipe.tokens,
        "mlp_ratio": ratio,
        "patch_size": None,
        "use_pos_embed": network.positions == "learned",
        "use_qknorm": network.qk_norm,
        "use_rmsnorm": network.norm == "rms",
        "use_swiglu": network.mlp == "swiglu",
    }
