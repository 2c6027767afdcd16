"""The modules that a recipe describes. This is the one module of the recipes that needs JAX."""

import dataclasses

import jax

from laminate.bottlenecks.fsq import Fsq
from laminate.bottlenecks.gaussian import Gaussian
from laminate.models import Ddt, Dit, FlatLatent
from laminate.models import vit as models
from laminate.nn import LayerNorm, Mlp, RMSNorm, SwiGlu, trunc_normal, xavier_uniform
from laminate.pretrained.patches import Patches
from laminate.pretrained.stand_in import StandIn
from laminate.pretrained.teachers import load_teacher
from laminate.recipes.bottleneck import FsqBottleneck, GaussianBottleneck
from laminate.recipes.families import Recipe
from laminate.recipes.flags import AttentionKernel, Remat
from laminate.recipes.flatdino import FlatDinoRecipe
from laminate.recipes.generator import GeneratorRecipe
from laminate.recipes.network import Teacher, Vit
from laminate.tokenizers.flatdino import FlatDino, NestedLatents
from laminate.types import RandomKey


def flatdino(
    recipe: FlatDinoRecipe, *, kernel: AttentionKernel = "xla", remat: Remat = "none", key: RandomKey
) -> FlatDino:
    """The tokenizer of `recipe` with freshly drawn float32 parameters.

    `kernel` and `remat` say how attention and the backward pass are computed, which changes no result beyond
    round-off. Under `equinox.filter_eval_shape` nothing is allocated.
    """
    k_encoder, k_decoder, k_nested = jax.random.split(key, 3)
    encoder = models.Vit(
        trunk(recipe.encoder, kernel=kernel, remat=remat),
        tokens=recipe.teacher.patches,
        in_dim=recipe.teacher.dim,
        out_dim=recipe.encoder_out_dim,
        registers=recipe.encoder_registers,
        positions=recipe.encoder.positions,
        table_init=trunc_normal(recipe.encoder.table_std),
        key=k_encoder,
    )
    decoder = models.Vit(
        trunk(recipe.decoder, kernel=kernel, remat=remat),
        tokens=recipe.tokens,
        in_dim=recipe.decoder_in_dim,
        out_dim=recipe.decoder_out_dim,
        registers=recipe.decoder_registers,
        positions=recipe.decoder.positions,
        table_init=trunc_normal(recipe.decoder.table_std),
        key=k_decoder,
    )
    return FlatDino(
        encoder,
        bottleneck(recipe.bottleneck),
        decoder,
        encoder_disposable=recipe.encoder_disposable,
        decoder_disposable=recipe.decoder_disposable,
        intermediate=recipe.intermediate_layer is not None,
        nested=_nested(recipe, key=k_nested),
    )


def model(
    recipe: Recipe, *, kernel: AttentionKernel = "xla", remat: Remat = "none", key: RandomKey
) -> FlatDino | Dit | Ddt:
    """What `recipe` trains: a tokenizer or a generator."""
    if isinstance(recipe, GeneratorRecipe):
        return generator(recipe, kernel=kernel, remat=remat, key=key)
    return flatdino(recipe, kernel=kernel, remat=remat, key=key)


def generator(
    recipe: GeneratorRecipe, *, kernel: AttentionKernel = "xla", remat: Remat = "none", key: RandomKey
) -> Dit | Ddt:
    """The generator of `recipe` with freshly drawn float32 parameters; `kernel` and `remat` as for `flatdino`."""
    network = trunk(recipe.network, kernel=kernel, remat=remat)
    shape, null_class = FlatLatent(recipe.tokens, recipe.features), recipe.class_dropout > 0
    if recipe.head is None:
        return Dit(
            network,
            shape,
            classes=recipe.classes,
            null_class=null_class,
            positions=recipe.network.positions,
            rotary=recipe.rotary,
            key=key,
        )
    head = trunk(recipe.head, kernel=kernel, remat=remat)
    return Ddt(
        dataclasses.replace(network, init=xavier_uniform),
        dataclasses.replace(head, init=xavier_uniform),
        shape,
        classes=recipe.classes,
        null_class=null_class,
        positions=recipe.network.positions,
        rotary=recipe.rotary,
        key=key,
    )


def teacher(recipe: Teacher, *, weights: bool = True) -> Patches | StandIn:
    """The frozen network of `recipe`; without `weights`, one that has any is left out and its features stood in for.

    Raises ValueError for a network whose weights this version cannot load.
    """
    if not weights and recipe.name != "patches":
        return StandIn(recipe.patches, recipe.dim)
    return load_teacher(recipe.name, image_size=recipe.image_size, patch=recipe.patch_size)


def trunk(vit: Vit, *, kernel: AttentionKernel = "xla", remat: Remat = "none") -> models.Trunk:
    """The layers of `vit`."""
    return models.Trunk(
        dim=vit.dim,
        depth=vit.depth,
        heads=vit.heads,
        hidden=vit.hidden,
        mlp=SwiGlu if vit.mlp == "swiglu" else Mlp,
        norm=LayerNorm if vit.norm == "layer" else RMSNorm,
        norm_eps=vit.norm_eps,
        qk_norm=vit.qk_norm,
        attention_bias=vit.bias,
        mlp_bias=vit.bias,
        drop_path_rate=vit.drop_path_rate,
        kernel=kernel,
        remat=remat,
    )


def bottleneck(recipe: GaussianBottleneck | FsqBottleneck) -> Gaussian | Fsq:
    """The bottleneck of `recipe`; it has no parameters."""
    if isinstance(recipe, FsqBottleneck):
        return Fsq(recipe.levels)
    return Gaussian(
        recipe.features,
        tanh=recipe.tanh,
        deterministic=recipe.deterministic,
        initial_logvar=recipe.initial_logvar,
    )


def _nested(recipe: FlatDinoRecipe, *, key: RandomKey) -> NestedLatents | None:
    if isinstance(recipe.bottleneck, FsqBottleneck) and recipe.bottleneck.nested_dropout:
        return NestedLatents(len(recipe.bottleneck.levels), recipe.decoder.dim, key=key)
    return None
