"""What is said of every family: rows and cards that speak of the recipe and of no other."""

from dataclasses import replace

import pytest

from laminate.recipes.describe import optimizer_text
from laminate.recipes.families import FAMILIES, families, family_named, family_of, find_family, join
from laminate.recipes.family import Names, Recipe
from laminate.recipes.training import Optimizer
from laminate.runs.model_card import Card, card_text

RECIPES = [make() for family in families() for make in family.names.presets.values()]
RECIPES += [
    find_family(name).names.recipe(name) for name in ("long-32-bl-128", "ditxl-dh", "vit-b", "rae-xl")
]
ALL = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: f"{family_of(recipe).name}-{recipe.name}")
KINDS = {"adamw": "AdamW", "muon": "Muon", "schedule-free": "schedule-free AdamW"}


@ALL
def test_every_recipe_is_of_one_family_and_has_what_generic_code_asks(recipe):
    assert isinstance(recipe, Recipe)
    assert [family for family in FAMILIES if family.owns(recipe)] == [family_of(recipe)]
    assert recipe.in_steps(97).schedule.length == 97


@ALL
@pytest.mark.parametrize("kind", KINDS)
def test_the_rule_that_is_named_is_the_recipes(recipe, kind):
    """In `explain` and in the card, which show the same rows."""
    changed = replace(recipe, optimizer=replace(recipe.optimizer, kind=kind))
    rows = dict(family_of(changed).text(changed).rows)
    assert rows["optimiser"].startswith(f"{KINDS[kind]}, betas")
    assert f"| optimiser | {rows['optimiser']} |" in card_text(changed, Card())


def test_a_rule_says_what_it_does_not_do():
    assert optimizer_text(Optimizer(clip_norm=None, ema_decay=None)).endswith("not clipped, no EMA")
    assert optimizer_text(Optimizer(clip_norm=0.5, ema_decay=0.99)).endswith("clip 0.5, EMA 0.99")


def front_matter(recipe) -> str:
    return card_text(recipe, Card()).split("---")[1]


def test_the_tags_of_a_card_are_those_of_its_model():
    wanted = {
        "embedded-16-128": "tags: [jax, equinox, image-tokenizer, flatdino, beta-vae]",
        "embedded-32-L88888888": "tags: [jax, equinox, image-tokenizer, flatdino, fsq]",
        "ditxl": "tags: [jax, equinox, class-conditional-image-generation, flow-matching, diffusion-transformer]",
        "vit-b": "tags: [jax, equinox, image-decoder, flatdino]",
        "rae-xl": "tags: [jax, equinox, image-decoder, representation-autoencoder]",
    }
    for name, tags in wanted.items():
        assert tags in front_matter(find_family(name).names.recipe(name)), name


def test_only_a_generator_without_classes_is_tagged_unconditional():
    recipe = family_named("generator").names.recipe("embedded-dit")
    assert "unconditional" not in front_matter(recipe) and "pipeline_tag" not in front_matter(recipe)
    without = front_matter(replace(recipe, classes=0, class_names=()))
    assert "pipeline_tag: unconditional-image-generation\n" in without
    assert "class-conditional" not in without


def test_a_name_finds_its_family_and_an_unknown_one_the_nearest_names():
    for name, family in {
        "embedded-decoder": "decoder",
        "rae-b": "decoder",
        "ditb-xpred": "generator",
        "fast-32-bb-L8555": "fsq",
        "fast-32-bb-128": "vae",
    }.items():
        assert find_family(name).name == family
    for name, words in {"dit-b": "generator", "embedded-decodr": "decoder", "fast-32-bb-12x": "VAE"}.items():
        with pytest.raises(ValueError, match=f"(?i){words} experiment '{name}'"):
            find_family(name).names.recipe(name)
    with pytest.raises(ValueError, match="There is no family 'gan': vae, fsq, generator, decoder"):
        family_named("gan")


def test_a_family_with_a_taken_name_or_script_is_not_joined():
    with pytest.raises(ValueError, match="collides with 'vae'"):
        join(replace(family_named("fsq"), name="vae", script="other.py"))
    assert families() == FAMILIES


def test_a_family_that_could_not_be_told_from_another_or_has_no_name_is_not_joined():
    vae = family_named("vae")
    own = {"name": "own", "tag": "own", "script": "own.py"}
    derived = type("Derived", (vae.recipe,), {})
    cases = {
        "derive from each other": replace(vae, **own, recipe=derived),
        "that is not 'auto'": replace(vae, **{**own, "name": "auto"}),
        "it has none": replace(vae, **own, names=Names(presets={}, default="tiny")),
        "presets that hold its default 'tiny'": replace(
            vae, **own, names=Names(presets=vae.names.presets, default="tiny")
        ),
    }
    for words, family in cases.items():
        with pytest.raises(ValueError, match=words):
            join(family)
    assert families() == FAMILIES


@pytest.mark.parametrize(
    ("name", "nearest"),
    {
        "embeded-dit": "embedded-dit",
        "embeded-decoder": "embedded-decoder",
        "embeded-16-128": "embedded-16-128",
        "embedded-32-L8888888": "embedded-32-L88888888",
        "vitt-b": "vit-b",
        "vitb": "vit-b",
        "raeb": "rae-b",
        "rae_xl": "rae-xl",
        "ditxll": "ditxl",
        "dit-b": "ditb",
        "fast-32-bb-L855x": "fast-32-bb-855",
        "fst-32-bb-128": "fast-32-bb-128",
    }.items(),
)
def test_a_misspelt_name_leads_to_the_nearest_of_all_families(name, nearest):
    with pytest.raises(ValueError, match=f"Did you mean {nearest}[ ?]"):
        find_family(name)
