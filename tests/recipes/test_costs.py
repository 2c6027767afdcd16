"""Parameters and FLOPs: the paper's figures, and agreement with the modules."""

from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest

from laminate.recipes.flatdino.costs import bottleneck_parameters, decoder_cost, encoder_cost, parameters
from laminate.recipes.flatdino.family import FSQ, VAE
from laminate.recipes.flatdino.modules import flatdino
from laminate.recipes.flatdino.presets import photographs_fsq, photographs_vae
from laminate.recipes.network import VitConfig, patch_teacher


def shapes(recipe):
    return eqx.filter_eval_shape(lambda key: flatdino(recipe, key=key), jax.random.key(0))


def trained(module):
    return sum(
        int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(module) if isinstance(leaf, jax.ShapeDtypeStruct)
    )


@pytest.mark.parametrize(
    ("name", "encoder", "decoder"),
    [
        ("fast-32-tt-128", 7_321_728, 7_346_304),
        ("fast-32-ss-128", 28_797_696, 28_846_848),
        ("fast-32-bb-128", 113_627_136, 113_725_440),
        ("fast-32-ll-128", 404_157_440, 404_288_512),
        ("fast-32-tt-64", 7_297_152, 7_334_016),
        ("fast-32-ss-64", 28_748_544, 28_822_272),
        ("fast-32-bb-64", 113_528_832, 113_676_288),
        ("fast-32-ll-64", 404_026_368, 404_222_976),
    ],
)
def test_networks_have_the_parameters_of_the_released_ones(name, encoder, decoder):
    recipe = VAE.names.recipe(name, variant="released")
    tokenizer = shapes(recipe)
    assert (trained(tokenizer.encoder), trained(tokenizer.decoder)) == (encoder, decoder)
    assert encoder_cost(recipe).parameters == encoder
    assert decoder_cost(recipe).parameters == decoder


RECIPES = [
    VAE.names.recipe("fast-32"),
    VAE.names.recipe("med-16-ts-24-hl-er4-dr2-tanh-il4-iw05"),
    VAE.names.recipe("fast-24-ss-96-nokl"),
    FSQ.names.recipe("fast-16-tt-L8555"),
    FSQ.names.recipe("fast-16-tt-L88865-nd-er1-dr3"),
    photographs_vae(),
    photographs_fsq(),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_counted_parameters_are_those_of_the_modules(recipe):
    tokenizer = shapes(recipe)
    nested = 0 if tokenizer.nested is None else trained(tokenizer.nested)
    assert encoder_cost(recipe).parameters == trained(tokenizer.encoder)
    assert decoder_cost(recipe).parameters == trained(tokenizer.decoder)
    assert bottleneck_parameters(recipe) == nested
    assert parameters(recipe) == count_of_trained(tokenizer)


def count_of_trained(tokenizer):
    return trained(tokenizer.encoder) + trained(tokenizer.decoder) + trained(tokenizer.nested)


@pytest.mark.parametrize(
    ("variant", "encoder", "decoder"), [("paper", 26.0e9, 91.0e9), ("released", 34.1e9, 120.0e9)]
)
def test_flops_are_those_of_the_paper_s_appendix_h(variant, encoder, decoder):
    recipe = VAE.names.recipe("long-32-bl-128", variant=variant)
    assert encoder_cost(recipe).sequence == decoder_cost(recipe).sequence == 288
    assert encoder_cost(recipe).flops == pytest.approx(encoder, rel=2e-3)
    assert decoder_cost(recipe).flops == pytest.approx(decoder, rel=2e-3)


def test_a_recipe_s_tokenizer_encodes_and_decodes_its_teacher_s_features():
    vit = VitConfig(dim=24, depth=2, heads=3, hidden=40)
    named = FSQ.names.recipe("fast-4-tt-L853-nd-er2-dr3")
    recipe = replace(
        named, teacher=patch_teacher(20, 4), encoder=vit, decoder=replace(vit, positions="learned")
    )

    def round_trip(key):
        latents = (tokenizer := flatdino(recipe, key=key)).encode(jax.random.normal(key, (25, 48)))
        return tokenizer, latents, tokenizer.decode(latents)

    tokenizer, latents, features = eqx.filter_eval_shape(round_trip, jax.random.key(0))
    assert (latents.shape, features.shape) == ((4, 3), (25, 48))
    assert count_of_trained(tokenizer) == parameters(recipe)
