"""What recipes show to their networks: the published views, written and read as JSON."""

import json
from dataclasses import replace
from typing import get_args

import pytest

from laminate.data.augment import CenterCrop, RandomResizedCrop, ResizeCrop, Squash, SquashCrop
from laminate.recipes import __main__ as command
from laminate.recipes.augment import (
    CenterCropConfig,
    RandomResizedCropConfig,
    ResizeCropConfig,
    SquashConfig,
    SquashCropConfig,
    ViewConfig,
)
from laminate.recipes.families import RUN, find_family, from_json, rewritten, to_json, to_tree
from laminate.recipes.flatdino.family import FSQ, VAE, latent_of
from laminate.recipes.flatdino.presets import embedded_fsq, embedded_vae
from laminate.recipes.generator.presets import embedded_dit
from laminate.recipes.image_decoder.presets import embedded_decoder, named_decoder
from laminate.recipes.image_decoder.recipe import for_features, for_tokenizer
from laminate.recipes.latent import TokenizerId
from laminate.recipes.network import find_teacher

EMBEDDED = RandomResizedCrop(64, (0.85, 1.0), flip_rate=0.5)
FLATDINO = RandomResizedCrop(256, (0.3, 1.0), (3 / 4, 4 / 3), 0.5, "linear")


@pytest.mark.parametrize(
    ("recipe", "view"),
    [
        (VAE.names.recipe("long-32-bl-128"), FLATDINO),
        (FSQ.names.recipe("long-32-bl-L8888"), FLATDINO),
        (named_decoder("vit-b"), SquashCrop(256, squashed=384, kernel="area", flip_rate=0.0)),
        (named_decoder("vit-xl"), SquashCrop(256, squashed=384, kernel="area", flip_rate=0.0)),
        (named_decoder("rae-xl"), ResizeCrop(256, resized=384, kernel="bicubic", flip_rate=0.0)),
        *((make(), EMBEDDED) for make in (embedded_vae, embedded_fsq, embedded_dit, embedded_decoder)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_named_recipes_train_on_the_published_views(recipe, view):
    assert recipe.augment.transform() == view


def test_at_another_size_the_larger_picture_keeps_its_ratio():
    """RAE's own rule: int(1.5 * size)."""
    small = for_tokenizer(named_decoder("vit-b"), latent_of(embedded_vae()), TokenizerId("small", "0" * 64))
    assert small.augment.transform() == SquashCrop(64, squashed=96)
    seven = for_features(named_decoder("rae-b"), find_teacher("patches-35-5"))
    assert seven.augment.transform() == ResizeCrop(35, resized=52)


EVERY = [
    (
        RandomResizedCropConfig(64, (0.5, 1.0), (0.9, 1.2), 0.1),
        RandomResizedCrop(64, (0.5, 1.0), (0.9, 1.2), 0.1),
    ),
    (SquashConfig(64), Squash(64)),
    (SquashCropConfig(64, 1.25, 0.2), SquashCrop(64, 80, flip_rate=0.2)),
    (ResizeCropConfig(64, 2.0, 0.3), ResizeCrop(64, 128, flip_rate=0.3)),
    (CenterCropConfig(64, 0.4), CenterCrop(64, 0.4)),
]
ALL = pytest.mark.parametrize(("config", "view"), EVERY, ids=[config.view for config, _ in EVERY])


def test_every_view_is_tried_below():
    assert {type(config) for config, _ in EVERY} == set(get_args(ViewConfig))


@ALL
def test_every_view_is_reached_and_comes_back_from_json(config, view):
    recipe = replace(embedded_vae(), augment=config)
    assert recipe.augment.transform() == view
    assert from_json(to_json(recipe)) == recipe
    assert json.loads(to_json(recipe))["augment"]["view"] == config.view


@ALL
def test_what_is_said_of_a_view_changes_with_each_of_its_fields(config, view):
    changed = {"image_size": 65, "flip_rate": 0.7, "resize_ratio": 1.75, "crop_area": (0.6, 0.9)}
    names = [name for name in changed if hasattr(config, name)]
    texts = {config.text, *(replace(config, **{name: changed[name]}).text for name in names)}
    assert len(texts) == 1 + len(names)
    assert all(one.isprintable() for one in texts)


def test_the_text_of_a_default_recipe_is_what_it_was():
    """Field by field and in this order, so that run folders go on."""
    assert list(json.loads(to_json(embedded_vae()))["augment"].items()) == [
        ("image_size", 64),
        ("crop_area", [0.85, 1.0]),
        ("crop_ratio", [0.75, 1.3333333333333333]),
        ("flip_rate", 0.5),
        ("view", "crop"),
    ]


def with_view(**augment: object) -> str:
    return json.dumps({**json.loads(to_json(embedded_vae())), "augment": augment})


def test_a_squashed_view_beside_the_fields_of_a_crop_is_still_read():
    """When all views had one class, those fields stood there without effect."""
    text = with_view(
        image_size=32, crop_area=[0.3, 1.0], crop_ratio=[0.75, 1.25], flip_rate=0.5, view="squash"
    )
    assert from_json(text).augment == SquashConfig(32)
    saved = json.loads(text) | {RUN: {"seed": 0}}
    assert rewritten(saved) == {**to_tree(from_json(text)), RUN: {"seed": 0}} != saved


def test_what_is_no_recipe_is_not_rewritten():
    assert rewritten({"family": "painting", RUN: {}}) == {"family": "painting", RUN: {}}


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (
            {"image_size": 32},
            'augment must say "view": one of crop, squash, squash-crop, resize-crop, center-crop',
        ),
        ({"image_size": 32, "view": "zoom"}, "got 'zoom'"),
        ({"image_size": 32, "view": "squash-crop"}, "misses augment.resize_ratio, augment.flip_rate"),
        (
            {"image_size": 32, "view": "center-crop", "flip_rate": 0.0, "crop_area": [0.3, 1.0]},
            "has unknown augment.crop_area",
        ),
    ],
)
def test_other_trees_are_refused_by_their_field(augment, message):
    with pytest.raises(ValueError, match=message):
        from_json(with_view(**augment))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(RandomResizedCropConfig(), view="squash"), "field view is declared with init=False"),
        (lambda: SquashCropConfig(resize_ratio=0.9), "augment.resize_ratio must be at least 1.0, got 0.9"),
        (lambda: ResizeCropConfig(resize_ratio=float("nan")), "augment.resize_ratio"),
        (lambda: CenterCropConfig(flip_rate=1.5), "augment.flip_rate"),
        (lambda: SquashConfig(0), "augment.image_size must be at least 1"),
    ],
)
def test_impossible_views_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["long-32-bl-128", "vit-b", "rae-xl", "ditxl"])
def test_explain_says_what_training_sees(name, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["laminate.recipes", "explain", name])
    command.main()
    said = " ".join(capsys.readouterr().out.split())
    augment = find_family(name).names.recipe(name).augment
    assert augment.text in said
