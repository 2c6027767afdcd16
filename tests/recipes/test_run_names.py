"""Runs of one recipe on different data have different names, whatever the data are called."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.data.sources.embedded import DEFAULT, PHOTOGRAPHS
from laminate.recipes.families import usual_data
from laminate.recipes.flatdino.flags import FlatDinoFlags
from laminate.recipes.flatdino.presets import embedded_vae, photographs_vae
from laminate.recipes.resolve import run_folder
from laminate.recipes.run_names import data_label, is_label, run_name

NAME = embedded_vae().name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("~/photos", "photos"),
        ("/data/My Photos (2024)/", "My-Photos-2024"),
        ("/data/shards/cats-{000..010}.tar", "cats"),
        ("/data/shards/*.tar", "shards"),
        ("birds.parquet", "birds"),
        ("tfds:cats_vs_dogs@/data/tfds", "cats_vs_dogs"),
        ("embedded:photographs", "photographs"),
        ("/données/été", "t"),
        ("/数据", "data"),
    ],
)
def test_data_are_called_as_the_person_calls_them(source, name):
    assert data_label(source, "3fa9c1d2e4", usual=DEFAULT) == f"{name}-3fa9c1"


@given(st.text(min_size=1, max_size=40).filter(lambda text: "\0" not in text))
def test_every_label_can_stand_in_the_name_of_a_folder(source):
    label = data_label(f"/{source}", "0123456789abcdef", usual=DEFAULT)
    assert is_label(label) and label.endswith("-012345") and not re.search(r"[/\\]|^\.", label)


def test_the_default_run_keeps_its_name_and_others_have_their_data_and_tokenizer_in_it():
    flags, recipe = FlatDinoFlags(), embedded_vae()
    assert run_name(NAME, "") == NAME
    assert run_folder(flags, recipe, "") == run_folder(flags, recipe, "", NAME) == f"runs/{NAME}"
    assert run_folder(flags, recipe, "photos-3fa9c1", NAME) == f"runs/{NAME}-on-photos-3fa9c1"
    assert run_folder(flags, recipe, "a-012345", "photos-128") == f"runs/{NAME}-of-photos-128-on-a-012345"
    assert run_folder(FlatDinoFlags(run_dir="gs://b/x"), recipe, "a-012345") == "gs://b/x"


def test_the_usual_data_of_a_recipe_are_not_in_its_name_whatever_they_are_called():
    assert [usual_data(recipe) for recipe in (embedded_vae(), photographs_vae())] == [DEFAULT, PHOTOGRAPHS]
    assert usual_data(replace(photographs_vae(), name=f"{photographs_vae().name}+tokens=8")) == PHOTOGRAPHS
    for source in ("embedded", DEFAULT):
        assert data_label(source, "3fa9c1d2e4", usual=DEFAULT) == ""
        assert data_label(source, "3fa9c1d2e4", usual=PHOTOGRAPHS) == "emoji-3fa9c1"
    assert data_label(PHOTOGRAPHS, "3fa9c1d2e4", usual=PHOTOGRAPHS) == ""


@pytest.mark.parametrize("text", [None, 3, "", "../x", "a b", ".x", "a/b", "x" * 65, "a\n"])
def test_what_somebody_else_wrote_is_no_label_unless_it_looks_like_one(text):
    assert not is_label(text)
