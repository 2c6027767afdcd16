"""What recipes show to their networks: the published views, written and read as JSON."""

import io
import json
from dataclasses import replace
from typing import get_args

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from laminate.data.augment import CenterCrop, RandomResizedCrop, ResizeCrop, Squash, SquashCrop
from laminate.data.decode import decode_image
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
from laminate.recipes.flatdino.presets import photographs_fsq, photographs_vae
from laminate.recipes.generator.family import GENERATOR
from laminate.recipes.generator.presets import photographs_dit
from laminate.recipes.image_decoder.presets import named_decoder, photographs_decoder
from laminate.recipes.image_decoder.recipe import for_features, for_tokenizer
from laminate.recipes.latent import TokenizerId
from laminate.recipes.modules import teacher
from laminate.recipes.network import find_teacher

EMBEDDED = RandomResizedCrop(64, (0.85, 1.0), flip_rate=0.5)
FLATDINO = RandomResizedCrop(256, (0.3, 1.0), (3 / 4, 4 / 3), 0.5, "area")


@pytest.mark.parametrize(
    ("recipe", "view"),
    [
        (VAE.names.recipe("long-32-bl-128"), FLATDINO),
        (FSQ.names.recipe("long-32-bl-L8888"), FLATDINO),
        (named_decoder("vit-b"), SquashCrop(256, squashed=384, kernel="area", flip_rate=0.0)),
        (named_decoder("vit-xl"), SquashCrop(256, squashed=384, kernel="area", flip_rate=0.0)),
        (named_decoder("rae-xl"), ResizeCrop(256, resized=384, kernel="bicubic", flip_rate=0.0)),
        (GENERATOR.names.recipe("ditxl"), CenterCrop(256, flip_rate=0.5)),
        (GENERATOR.names.recipe("dits-dh-kappa3-norm"), CenterCrop(256, flip_rate=0.5)),
        *(
            (make(), EMBEDDED)
            for make in (photographs_vae, photographs_fsq, photographs_dit, photographs_decoder)
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_named_recipes_train_on_the_published_views(recipe, view):
    assert recipe.augment.transform() == view


def test_at_another_size_the_larger_picture_keeps_its_ratio():
    """RAE's own rule: int(1.5 * size)."""
    small = for_tokenizer(
        named_decoder("vit-b"), latent_of(photographs_vae()), TokenizerId("small", "0" * 64)
    )
    assert small.augment.transform() == SquashCrop(64, squashed=96)
    seven = for_features(named_decoder("rae-b"), find_teacher("patches-35-5"))
    assert seven.augment.transform() == ResizeCrop(35, resized=52)


EVERY = [
    (
        RandomResizedCropConfig(64, (0.5, 1.0), (0.9, 1.2), 0.1),
        RandomResizedCrop(64, (0.5, 1.0), (0.9, 1.2), 0.1, "area"),
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
    recipe = replace(photographs_vae(), augment=config)
    assert recipe.augment.transform() == view
    assert from_json(to_json(recipe)) == recipe
    assert json.loads(to_json(recipe))["augment"]["view"] == config.view


@ALL
def test_what_is_said_of_a_view_changes_with_each_of_its_fields(config, view):
    changed = {
        "image_size": 65,
        "flip_rate": 0.7,
        "resize_ratio": 1.75,
        "crop_area": (0.6, 0.9),
        "kernel": "linear",
    }
    names = [name for name in changed if hasattr(config, name)]
    texts = {config.text, *(replace(config, **{name: changed[name]}).text for name in names)}
    assert len(texts) == 1 + len(names)
    assert all(one.isprintable() for one in texts)


def test_the_text_of_a_default_recipe_is_what_it_was():
    """Field by field and in this order, so that run folders go on."""
    assert list(json.loads(to_json(photographs_vae()))["augment"].items()) == [
        ("image_size", 64),
        ("crop_area", [0.85, 1.0]),
        ("crop_ratio", [0.75, 1.3333333333333333]),
        ("flip_rate", 0.5),
        ("kernel", "linear"),
        ("oriented", True),
        ("view", "crop"),
    ]


def with_view(**augment: object) -> str:
    return json.dumps({**json.loads(to_json(photographs_vae())), "augment": augment})


def test_a_squashed_view_beside_the_fields_of_a_crop_is_still_read():
    """When all views had one class, those fields stood there without effect."""
    text = with_view(
        image_size=32, crop_area=[0.3, 1.0], crop_ratio=[0.75, 1.25], flip_rate=0.5, view="squash"
    )
    assert from_json(text).augment == SquashConfig(32)
    saved = json.loads(text) | {RUN: {"seed": 0}}
    assert rewritten(saved) == {**to_tree(from_json(text)), RUN: {"seed": 0}} != saved


def test_what_is_no_recipe_is_not_rewritten():
    assert rewritten({"family": "weaving", RUN: {}}) == {"family": "weaving", RUN: {}}


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
    assert augment.text in said and augment.still().text in said
    assert ("(bicubic)" in said) == (name == "rae-xl")


def test_a_recipe_that_was_written_before_a_field_was_there_keeps_what_it_had():
    """Crops were resized between pixels, teachers saw images through a low-pass filter, statistics had no view."""
    recipe = VAE.names.recipe("long-32-bl-128")
    tree = to_tree(recipe)
    before = {name: value for name, value in tree.items() if name != "statistics"}
    before["augment"] = {name: value for name, value in tree["augment"].items() if name != "kernel"}
    before["teacher"] = {name: value for name, value in tree["teacher"].items() if name != "resampling"}
    old = from_json(json.dumps(before))
    assert old.augment == replace(recipe.augment, kernel="linear")
    assert (old.teacher.resampling, old.statistics) == ("bilinear-antialias", "augment")
    embedded = to_tree(photographs_vae())
    embedded["augment"].pop("kernel"), embedded["teacher"].pop("resampling"), embedded.pop("statistics")
    assert from_json(json.dumps(embedded)) == photographs_vae()
    assert rewritten(embedded) == to_tree(photographs_vae())


def test_rae_s_teacher_sees_bicubic_without_a_filter_and_keeps_doing_so():
    recipe = named_decoder("rae-xl")
    assert recipe.teacher.resampling == "bicubic"
    assert for_features(recipe, find_teacher("dinov2-l")).teacher.resampling == "bicubic"
    assert VAE.names.recipe("long-32-bl-128").teacher.resampling == "bilinear-antialias"
    assert teacher(recipe.teacher, weights=False).resampling == "bicubic"
    assert teacher(find_teacher("dinov2-b"), weights=False).resampling == "bilinear-antialias"


def test_what_rae_s_teacher_sees_is_torch_s_bicubic():
    """256 to 224: the taps of pixels 0, 1 and 111 (A = -0.75, borders repeated, no filter, nothing clipped)."""
    taps = {
        0: (-1, (-0.0461916910, 0.9889759475, 0.0607689504, -0.0035532070)),
        1: (0, (-0.0992164723, 0.9089832362, 0.2172922741, -0.0270590379)),
        111: (125, (-0.0035532070, 0.0607689504, 0.9889759475, -0.0461916910)),
    }
    rng = np.random.default_rng(0)
    line = rng.random(256).astype(np.float32)
    image = np.broadcast_to(line[:, None, None], (256, 256, 3))
    network = teacher(named_decoder("rae-xl").teacher, weights=False)
    mean, std = np.array(network.mean, np.float32), np.array(network.std, np.float32)
    seen = np.asarray(network.seen(jnp.asarray(image))) * std + mean
    for row, (first, weights) in taps.items():
        places = np.clip(np.arange(first, first + 4), 0, 255)
        np.testing.assert_allclose(seen[row], np.sum(line[places] * weights), atol=2e-6)
    filtered = teacher(find_teacher("dinov2-b"), weights=False)
    other = np.asarray(filtered.seen(jnp.asarray(image))) * std + mean
    assert np.abs(other - seen).max() > 0.05


def reduced(image, size):
    """ADM's crop in Pillow alone."""
    picture = Image.fromarray(image)
    while min(picture.size) >= 2 * size:
        picture = picture.resize(tuple(side // 2 for side in picture.size), Image.Resampling.BOX)
    scale = size / min(picture.size)
    picture = picture.resize(tuple(round(side * scale) for side in picture.size), Image.Resampling.BICUBIC)
    left, top = ((side - size) // 2 for side in picture.size)
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def windows(picture, size):
    """Every window of a picture, by its place."""
    return np.lib.stride_tricks.sliding_window_view(picture, (size, size), axis=(0, 1))


def is_a_window(view, picture):
    """Whether `view` is a window of `picture`, its pixels untouched."""
    places = windows(picture, view.shape[0])
    corners = (places[..., 0, 0] == view[0, 0]).all(-1)
    return any((places[top, left] == view.transpose(2, 0, 1)).all() for top, left in np.argwhere(corners))


SHAPES = [(768, 1024), (1024, 768), (400, 800), (800, 400), (390, 1170), (1170, 390), (300, 400), (200, 600)]


def photo(height, width):
    """A smooth picture with detail, whose every pixel has its own colour, and its bytes."""
    rng = np.random.default_rng(height + width)
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 255 / width, y * 255 / height, rng.integers(0, 256, (height, width))], -1)
    return image.astype(np.uint8), encoded_png(image.astype(np.uint8))


def encoded_png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=0)
    return file.getvalue()


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_generators_train_on_adm_s_centre_crop_flipped_half_of_the_time(height, width):
    image, data = photo(height, width)
    view = GENERATOR.names.recipe("ditxl").augment.transform()
    wanted, flips = reduced(image, 256), 0
    for seed in range(24):
        seen = view(data, np.random.default_rng(seed))["image"]
        flipped = not (seen == wanted).all()
        flips += flipped
        np.testing.assert_array_equal(seen, wanted[:, ::-1] if flipped else wanted)
    assert 5 <= flips <= 19
    for name in ("ditxl", "vit-b", "rae-xl"):  # validation of all that is compared with images
        still = find_family(name).names.recipe(name).augment.still().transform()
        np.testing.assert_array_equal(still(data, np.random.default_rng(0))["image"], wanted)


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_flatdino_s_decoders_train_on_windows_of_the_squashed_image(height, width):
    image, data = photo(height, width)
    squashed = cv2.resize(image, (384, 384), interpolation=cv2.INTER_AREA)
    for seed in range(3):
        seen = named_decoder("vit-b").augment.transform()(data, np.random.default_rng(seed))["image"]
        assert seen.shape == (256, 256, 3) and is_a_window(seen, squashed)


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_rae_s_decoders_train_on_windows_of_the_image_with_a_short_side_of_384(height, width):
    image, data = photo(height, width)
    short = min(height, width)
    size = (width * 384 // short, height * 384 // short)
    resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    for seed in range(3):
        seen = named_decoder("rae-xl").augment.transform()(data, np.random.default_rng(seed))["image"]
        assert seen.shape == (256, 256, 3) and is_a_window(seen, resized)


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_training_and_validation_of_flatdino_shrink_by_areas(height, width):
    """A crop of all of the image is what validation sees of it; where it is twice as large, of its half."""
    image, data = photo(height, width)
    recipe = VAE.names.recipe("long-32-bl-128")
    squashed = cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)
    seen = recipe.augment.still().transform()(data, np.random.default_rng(0))["image"]
    np.testing.assert_array_equal(seen, squashed)
    ratio = width / height
    whole = replace(recipe.augment, crop_area=(1.0, 1.0), crop_ratio=(ratio, ratio), flip_rate=0.0)
    trained = whole.transform()(data, np.random.default_rng(0))["image"]
    if min(height, width) >= 512:
        half = decode_image(data, reduction=2)
        assert half.shape[:2] == (height // 2, width // 2)
        squashed = cv2.resize(half, (256, 256), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(trained, squashed)


def test_statistics_are_measured_in_what_generators_train_on():
    named, embedded = VAE.names.recipe("fast-32-bl-64"), photographs_vae()
    assert named.statistics_view == GENERATOR.names.recipe("ditb").augment
    assert embedded.statistics_view == photographs_dit().augment == embedded.augment
    small = replace(named, augment=replace(named.augment, image_size=64))
    assert small.statistics_view.image_size == 64
