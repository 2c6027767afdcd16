"""ViTok's recipes: from names, published sizes, at other sizes, and what cannot be."""

import dataclasses
from functools import partial

import pytest

from laminate.recipes.families import (
    FAMILIES,
    find_family,
    from_json,
    published_recipe,
    to_json,
    usual_data,
)
from laminate.recipes.flatdino.presets import embedded_vae
from laminate.recipes.generator.family import GENERATOR
from laminate.recipes.generator.flags import GeneratorFlags
from laminate.recipes.latent import LatentSpec
from laminate.recipes.resolve import for_tokenizer
from laminate.recipes.vitok.family import VITOK
from laminate.recipes.vitok.flags import VitokFlags, apply_flags, with_known_weights
from laminate.recipes.vitok.presets import embedded_vitok, named_vitok
from laminate.recipes.vitok.recipe import NaFlexConfig, at_image_size
from laminate.recipes.vitok.view import TokenBudgetConfig

COUNTS = {
    "350M-f16x16": (51_209_744, 303_239_936),
    "350M-f16x64": (51_258_944, 303_289_088),
    "5B-f16x16": (456_011_792, 4_538_414_848),
    "5B-f32x256": (463_827_200, 4_546_232_320),
    "Ld2-Ld22/1x16x64": (26_056_000, 278_086_144),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_numbers_of_published_networks_are_counted_from_their_names(name):
    assert named_vitok(name).parameters == COUNTS[name]


def test_a_name_finds_its_family_in_the_form_of_a_folder_too():
    for name in ("Ld4-Ld24/1x16x64", "Ld4-Ld24-1x16x64", "350M-f16x64", "w64_d2_h4/4x8"):
        assert find_family(name) is VITOK
    assert named_vitok("Ld4-Ld24-1x16x64") == named_vitok("Ld4-Ld24/1x16x64")
    assert sum(family.names.reads("Ld4-Ld24/1x16x64") for family in FAMILIES) == 1
    recipe = named_vitok("Gw640h10-B/1x32x16")
    assert from_json(to_json(recipe)) == recipe and recipe.latent == LatentSpec(
        64, 16, 256, normalised=False, patch=32, grid=(8, 8), token_norm=4.0
    )
    rows = dict((row[0], row[2]) for row in VITOK.names.rows("350M-f16x64"))
    assert "Ld4-Ld24/1x16x64" in str(VITOK.names.rows("350M-f16x64")) and "1024 wide, 4 layers" in rows["Ld4"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: named_vitok("w64_d2_h5/1x4x8"), "heads must divide dim"),
        (lambda: named_vitok("w24_d2_h4/1x4x8"), "multiples of 4"),
        (lambda: named_vitok("B/4x16x64"), "tokens of 4 frames"),
        (lambda: named_vitok("Xd2/1x16x64"), "'Xd2'"),
        (lambda: NaFlexConfig(8, 1, 2, mlp_factor=0.5), "hidden width"),
        (lambda: TokenBudgetConfig(budgets=(8, 8)), "must rise"),
        (lambda: TokenBudgetConfig(budgets=(0, 8)), "at least 1"),
        (
            lambda: dataclasses.replace(
                embedded_vitok(), losses=dataclasses.replace(embedded_vitok().losses, tile=60)
            ),
            "whole patches of embedded, 8 pixels; got 60: 64 is the nearest",
        ),
        (lambda: dataclasses.replace(embedded_vitok(), teacher=None), "--teacher none"),
        (lambda: VitokFlags(freeze="encoder"), "give its weights by --init-from"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_patch_may_be_larger_than_the_images():
    view = TokenBudgetConfig(image_size=16, patch=32)
    assert view.rooms == (1,)
    recipe = dataclasses.replace(named_vitok("B/1x32x8"), augment=view)
    assert recipe.latent == LatentSpec(1, 8, 32, normalised=False, patch=32, grid=(1, 1), token_norm=8**0.5)


def test_another_image_size_scales_budgets_and_tiles():
    assert (
        embedded_vitok().latent.image_size == 64
    )  # the square, which the largest budget has more than room for
    wide = at_image_size(embedded_vitok(), 128)
    assert wide.augment.rooms == (64, 128) and wide.losses.tile == 128
    assert at_image_size(named_vitok("B/16x8"), 512).augment.rooms == (1024,)


def test_published_weights_bring_their_sizes_unless_a_name_is_given_too():
    flags = VitokFlags(init_from="350M-f16x32", freeze="encoder", teacher="none")
    recipe = apply_flags(embedded_vitok(), flags)
    assert (recipe.name, recipe.freeze, recipe.channels) == ("350M-f16x32", "encoder", 32)
    assert recipe.teacher is None and recipe.losses.perceptual == 0.0
    assert with_known_weights(flags).init_from == "vitok-350m-f16x32"
    named = dataclasses.replace(flags, experiment="embedded-vitok")
    assert apply_flags(embedded_vitok(), named).name == "embedded-vitok"
    again = apply_flags(recipe, VitokFlags(teacher="embedded"))
    assert again.losses.perceptual == 500.0 and again.teacher.family == "masked-autoencoder"


def test_the_header_names_the_shapes_and_what_stands_in_for_dino():
    header = dict(VITOK.text(embedded_vitok()).header)
    assert header["shapes"] == "2 shapes of batches, a program for each: 16, 32 patches"
    assert "embedded (in place of DINOv3)" in header["losses"]
    assert "in place of" not in dict(VITOK.text(named_vitok("B/1x16x16")).header)["losses"]


def test_latents_of_any_size_get_a_generator_of_their_own_unless_one_is_named():
    default = GENERATOR.names.recipe(GENERATOR.names.default)
    on = partial(for_tokenizer, family=GENERATOR, recipe=default)
    suited = on(GeneratorFlags(steps=7), tokenizer=embedded_vitok())
    assert (suited.name, suited.schedule.length) == ("embedded-vitok-dit", 7) and suited.shared is not None
    assert on(GeneratorFlags(experiment="dits"), tokenizer=embedded_vitok()) == default
    assert on(GeneratorFlags(), tokenizer=embedded_vae()) == default
    assert usual_data(suited, embedded_vitok()) == "embedded:emoji"
    assert usual_data(default, embedded_vitok()) == usual_data(embedded_vitok())


def test_published_weights_are_found_by_both_of_their_names_and_by_no_other():
    for name in ("350M-f16x64", "vitok-350m-f16x64"):
        assert published_recipe(name) == named_vitok("350M-f16x64")
    assert published_recipe("Ld4-Ld24/1x16x64") is None


def test_noise_of_latents_is_said_and_stored_only_where_there_is_some():
    quiet = dataclasses.replace(embedded_vitok(), latent_noise=0.0)
    assert "latent_noise" in to_json(embedded_vitok()) and "latent_noise" not in to_json(quiet)
    header = dict(VITOK.text(embedded_vitok()).header)["latent"]
    assert header.endswith("noise of up to 0.25 in training")
    with pytest.raises(ValueError, match="latent_noise must be at least 0"):
        dataclasses.replace(quiet, latent_noise=-0.1)
