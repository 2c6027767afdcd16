"""The recipes for one's own photographs: offline, upright, of the side that their name says, listed with their time."""

import sys

import pytest

from laminate.recipes.__main__ import main as recipes_command
from laminate.recipes.families import from_json, to_json
from laminate.recipes.flatdino.family import VAE
from laminate.recipes.flatdino.photos import COSTS, PHOTOS


@pytest.mark.parametrize("name", PHOTOS)
def test_a_recipe_for_photographs_needs_no_file_and_compresses_a_photograph_that_stands_upright(name):
    recipe = VAE.names.recipe(name)
    side = int(name.removeprefix("photos-"))
    assert recipe.name == name and from_json(to_json(recipe)) == recipe
    assert recipe.augment.image_size == recipe.teacher.image_size == VAE.latent(recipe).image_size == side
    assert recipe.teacher.name == "patches" and recipe.augment.oriented and recipe.augment.still().oriented
    assert recipe.teacher.patches >= 4 * recipe.tokens and recipe.compression >= 12


def test_each_is_listed_with_its_time(monkeypatch, capsys):
    assert PHOTOS.keys() == COSTS.keys() == VAE.names.photographs.keys()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["laminate.recipes", "list"])
    recipes_command()
    said = capsys.readouterr().out
    for name, cost in COSTS.items():
        assert f"{name}" in said and cost in said and cost.endswith("minutes on two cores")
    monkeypatch.setattr(sys, "argv", ["laminate.recipes", "explain", "photos-128"])
    recipes_command()
    assert COSTS["photos-128"] in capsys.readouterr().out
