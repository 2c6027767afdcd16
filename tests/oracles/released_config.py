"""A recipe as the configuration that the released code would resolve, for the golden name grammar."""

from dataclasses import replace
from typing import Any

from laminate.recipes.bottleneck import GaussianBottleneck
from laminate.recipes.flatdino.recipe import FlatDinoRecipe
from laminate.recipes.flatdino.vae_names import VaeName
from laminate.recipes.network import VitConfig

STATIC_WITHOUT_INPUT_WIDTH = ("baseline", "fast-32")
STATICS = (*STATIC_WITHOUT_INPUT_WIDTH, "fast-32-64")


def as_released_config(recipe: FlatDinoRecipe) -> dict[str, Any]:
    """`parsed.vae[name]` or `parsed.vq[name]` of the golden header.

    The fixed names leave the KL weight, the length of the decay and (at the decoder's own width) the
    input width to later code, which the reference writes as null.
    """
    gaussian = isinstance(recipe.bottleneck, GaussianBottleneck)
    static = recipe.name in STATICS
    anonymous = gaussian and recipe.name in STATIC_WITHOUT_INPUT_WIDTH
    config = {
        "encoder": _vit(
            recipe.encoder,
            input_dim=recipe.teacher.dim,
            output_dim=recipe.encoder_out_dim,
            num_patches=recipe.teacher.patches,
            num_registers=recipe.encoder_registers,
        ),
        "decoder": _vit(
            recipe.decoder,
            input_dim=None if anonymous else recipe.decoder_in_dim,
            output_dim=recipe.decoder_out_dim,
            num_patches=recipe.tokens,
            num_registers=recipe.decoder_registers,
        ),
        "encoder_disposable_registers": recipe.encoder_disposable,
        "decoder_disposable_registers": recipe.decoder_disposable,
        "num_latents": recipe.tokens,
        "num_output_patches": recipe.teacher.patches,
        "train": _train(recipe, static=static),
    }
    return config | (_gaussian(recipe) if gaussian else _quantised(recipe))


def as_released_spec(spec: VaeName) -> dict[str, Any]:
    """`vae_spec[name]` of the golden header: what the name alone says."""
    return {
        "variant": spec.variant,
        "toks": spec.tokens,
        "enc": spec.encoder,
        "dec": spec.decoder,
        "feat": spec.latent_dim,
        "half_layers": spec.half_depth,
        "nokl": spec.no_kl,
        "kl_weight": replace(spec, no_kl=False).kl_weight,
        "anneal_steps": spec.anneal_steps,
        "free_bits": spec.free_bits,
        "kl_var_weight": spec.kl_variance_weight,
        "encoder_disposable_registers": spec.encoder_disposable,
        "decoder_disposable_registers": spec.decoder_disposable,
        "tanh": spec.tanh,
        "intermediate_layer": spec.intermediate_layer,
        "intermediate_weight": spec.intermediate_weight,
    }


def _vit(vit: VitConfig, **sizes: int | None) -> dict[str, Any]:
    return {
        **sizes,
        "pos_embed_type": "sincos" if vit.positions == "sincos" else "learned",
        "use_pos_embeds": vit.positions != "none",
        "use_cls": False,
        "transformer": {
            "embed_dim": vit.dim,
            "num_layers": vit.depth,
            "num_heads": vit.heads,
            "mlp_hidden_dim": vit.hidden,
            "mlp_type": vit.mlp,
            "norm_type": {"layer": "ln", "rms": "rms"}[vit.norm],
            "layer_norm_eps": vit.norm_eps,
            "qk_norm": vit.qk_norm,
            "qkv_bias": vit.bias,
            "mlp_bias": vit.bias,
            "gelu_approximate": True,
        },
    }


def _train(recipe: FlatDinoRecipe, *, static: bool) -> dict[str, Any]:
    schedule, optimizer, bottleneck = recipe.schedule, recipe.optimizer, recipe.bottleneck
    train: dict[str, Any] = {
        "epochs": schedule.length,
        "warmup_epochs": schedule.warmup,
        "decay_epochs": None if static else schedule.decay,
        "lr_schedule": schedule.kind,
        "lr_start": schedule.start,
        "lr_peak": schedule.peak,
        "lr_final": schedule.final,
        "batch_size": recipe.global_batch_size,
        "adam_b1": optimizer.betas[0],
        "adam_b2": optimizer.betas[1],
        "weight_decay": optimizer.weight_decay,
        "recon_weight": 1.0,
    }
    if isinstance(bottleneck, GaussianBottleneck):
        train |= {
            "kl_weight": None if static else bottleneck.resolved_kl_weight(recipe.tokens),
            "kl_anneal_steps": bottleneck.anneal_steps,
            "free_bits": bottleneck.free_bits,
            "kl_var_weight": bottleneck.kl_variance_weight,
        }
    return train


def _gaussian(recipe: FlatDinoRecipe) -> dict[str, Any]:
    assert isinstance(recipe.bottleneck, GaussianBottleneck)
    return {
        "tanh": recipe.bottleneck.tanh,
        "intermediate_layer": recipe.intermediate_layer,
        "intermediate_weight": recipe.intermediate_weight,
    }


def _quantised(recipe: FlatDinoRecipe) -> dict[str, Any]:
    assert not isinstance(recipe.bottleneck, GaussianBottleneck)
    return {"levels": list(recipe.bottleneck.levels), "nested_dropout": recipe.bottleneck.nested_dropout}
