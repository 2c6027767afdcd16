"""Recipes of image decoders: their names, the networks that these mean, and what comes back from JSON."""

import sys
from dataclasses import replace
from typing import get_args

import equinox as eqx
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.recipes import __main__ as command
from laminate.recipes.adversarial.recipe import Adversary, AdversaryKind, Perceptual, PerceptualKind
from laminate.recipes.families import from_json, to_json
from laminate.recipes.flatdino.family import VAE, latent_of
from laminate.recipes.flatdino.presets import embedded_vae, photographs_fsq, photographs_vae
from laminate.recipes.image_decoder.costs import decoder_parameters
from laminate.recipes.image_decoder.family import IMAGE_DECODER
from laminate.recipes.image_decoder.flags import DecoderFlags, apply_flags
from laminate.recipes.image_decoder.modules import image_decoder
from laminate.recipes.image_decoder.presets import RAE_SIZES, embedded_decoder, named_decoder
from laminate.recipes.image_decoder.recipe import (
    Noise,
    Pixels,
    begins_with,
    for_features,
    for_tokenizer,
)
from laminate.recipes.latent import TokenizerId
from laminate.recipes.network import PRETRAINED_TEACHERS
from laminate.types import is_buffer

NAMES = [*(f"vit-{size}" for size in ("s", "b", "l", "xl")), *(f"rae-{size}" for size in RAE_SIZES)]
# Parameters of 256 patches of 16 x 16 pixels; of vit-* from 32 latents of 128 numbers, of rae-* from DINOv2-B.
PARAMETERS = {
    "vit-s": 21_757_440,
    "vit-b": 85_979_904,
    "vit-l": 303_511_264,
    "vit-xl": 631_215_680,
    "rae-b": 86_435_328,
    "rae-l": 304_150_272,
    "rae-xl": 415_352_704,
}


@pytest.mark.parametrize("name", NAMES)
def test_networks_have_the_stated_parameters_whether_built_or_counted(name):
    recipe = named_decoder(name)
    network = eqx.filter_eval_shape(lambda key: image_decoder(recipe, key=key), jax.random.key(0))
    trained = [leaf for leaf in jax.tree.leaves(network, is_leaf=is_buffer) if not is_buffer(leaf)]
    assert sum(int(np.prod(leaf.shape)) for leaf in trained) == decoder_parameters(recipe) == PARAMETERS[name]


def test_published_sizes_are_those_of_the_released_code():
    millions = {name: round(count / 1e6, 2) for name, count in PARAMETERS.items()}
    assert [millions[f"rae-{size}"] for size in ("b", "l", "xl")] == [86.44, 304.15, 415.35]
    assert [named_decoder(f"vit-{size}").network.hidden for size in ("s", "b", "l", "xl")] == [
        1024,
        2048,
        2730,
        3413,
    ]


def test_defaults_are_flatdinos_and_raes():
    flat, rae = named_decoder("vit-b"), named_decoder("rae-b")
    for recipe in (flat, rae):
        adversary = recipe.adversary
        assert (recipe.schedule.length, recipe.schedule.unit, recipe.global_batch_size) == (16, "epochs", 512)
        assert (recipe.schedule.peak, recipe.schedule.final, recipe.optimizer.ema_decay) == (
            2e-4,
            2e-5,
            0.9978,
        )
        assert (adversary.discriminator_start, adversary.adversarial_start) == (6, 8)
        assert (adversary.weight, adversary.largest_balance) == (0.75, 1e4)
        assert (recipe.perceptual.kind, recipe.pixels, recipe.patch_size) == ("lpips", "l1", 16)
    assert (flat.reads, flat.noise, flat.clip) == ("latents", Noise("posterior", 0.2), True)
    assert (rae.reads, rae.noise, rae.clip) == ("features", Noise("uniform", 0.8), False)
    assert (rae.tokens, rae.latent_dim) == (256, 768)


@given(st.text(max_size=12))
def test_other_names_are_refused_with_those_there_are(name):
    if name in NAMES:
        return
    with pytest.raises(ValueError, match=r"Names are vit-\{s\|b\|l\|xl\} .* or rae-\{b\|l\|xl\}"):
        IMAGE_DECODER.names.recipe(name)


@given(
    name=st.sampled_from([*NAMES, "embedded-decoder"]),
    perceptual=st.sampled_from(get_args(PerceptualKind)),
    adversary=st.sampled_from(get_args(AdversaryKind)),
    pixels=st.sampled_from(get_args(Pixels)),
    weight=st.floats(0.0, 10.0),
    taps=st.lists(st.integers(0, 11), max_size=4).map(tuple),
    peak=st.none() | st.floats(1e-6, 1.0),
    identified=st.booleans(),
)
def test_a_recipe_comes_back_from_json(name, perceptual, adversary, pixels, weight, taps, peak, identified):
    recipe = IMAGE_DECODER.names.recipe(name)
    recipe = replace(
        recipe,
        pixels=pixels,
        perceptual=replace(recipe.perceptual, kind=perceptual, weight=weight, source="x", weights="ab"),
        adversary=replace(recipe.adversary, kind=adversary, taps=taps, peak=peak, r1=weight),
        tokenizer=TokenizerId("tok", "0" * 64) if identified else None,
    )
    assert from_json(to_json(recipe)) == recipe


def test_every_number_of_a_training_in_steps_keeps_its_share():
    recipe = IMAGE_DECODER.names.recipe("vit-s").in_steps(160)
    assert (recipe.schedule.unit, recipe.schedule.length) == ("steps", 160)
    assert (recipe.adversary.discriminator_start, recipe.adversary.adversarial_start) == (60, 80)
    counts = recipe.schedule.counts(examples=1000, global_batch_size=10)
    assert recipe.adversary.starts(counts, recipe.schedule.unit) == (60, 80)
    epochs = IMAGE_DECODER.names.recipe("vit-s")
    counts = epochs.schedule.counts(examples=1_281_167, global_batch_size=512)
    assert epochs.adversary.starts(counts, epochs.schedule.unit) == (6 * 2502, 8 * 2502)


def test_a_decoder_takes_the_sizes_of_its_tokenizer_and_no_noise_of_one_that_has_none():
    spoken = for_tokenizer(named_decoder("vit-s"), latent_of(photographs_vae()), TokenizerId("v", "1" * 64))
    assert (spoken.tokens, spoken.latent_dim, spoken.image_size, spoken.grid) == (16, 128, 64, 4)
    assert spoken.noise == Noise("posterior", 0.2)
    quantised = for_tokenizer(
        named_decoder("vit-s"), latent_of(photographs_fsq()), TokenizerId("f", "2" * 64)
    )
    assert quantised.noise.kind == "none"
    with pytest.raises(ValueError, match="belongs to the tokenizer v with the hash 111111111111"):
        for_tokenizer(spoken, latent_of(photographs_vae()), TokenizerId("v", "3" * 64))


def test_a_decoder_of_reconstructed_features_takes_the_teacher_of_its_tokenizer():
    recipe, identity = embedded_decoder(), TokenizerId("v", "1" * 64)
    spoken = for_tokenizer(recipe, latent_of(embedded_vae()), identity)
    assert (spoken.tokens, spoken.latent_dim, spoken.grid, spoken.patch_size) == (64, 192, 8, 8)
    assert (spoken.teacher.name, spoken.tokenizer, spoken.noise) == ("embedded", identity, recipe.noise)
    pixels = for_tokenizer(recipe, latent_of(photographs_vae()), identity)
    assert (pixels.tokens, pixels.latent_dim, pixels.grid, pixels.patch_size) == (16, 768, 4, 16)
    assert pixels.teacher == photographs_vae().teacher
    with pytest.raises(ValueError, match="belongs to the tokenizer v with the hash 111111111111"):
        for_tokenizer(spoken, latent_of(embedded_vae()), TokenizerId("v", "3" * 64))
    with pytest.raises(ValueError, match="compresses images themselves: add --set reads=latents"):
        for_tokenizer(recipe, replace(latent_of(embedded_vae()), teacher=None), identity)
    with pytest.raises(ValueError, match="or add --set reads=reconstructed"):
        apply_flags(named_decoder("rae-b"), DecoderFlags(tokenizer="runs/x"))
    raw = replace(recipe, reads="latents")
    read = for_tokenizer(raw, replace(latent_of(embedded_vae()), teacher=None), identity)
    assert (read.tokens, read.latent_dim, read.teacher, begins_with(raw)) == (16, 128, None, None)
    decoder = eqx.filter_eval_shape(lambda key: image_decoder(read, key=key), jax.random.key(0))
    assert decoder.vit.prefix == 64


def test_a_decoder_of_features_decodes_a_patch_for_each_of_them():
    small = for_features(named_decoder("rae-b"), PRETRAINED_TEACHERS["dinov2-s"])
    assert (small.tokens, small.latent_dim, small.grid**2) == (256, 384, 256)
    with pytest.raises(ValueError, match="reads what a tokenizer makes: give it a --tokenizer"):
        for_features(named_decoder("vit-b"), PRETRAINED_TEACHERS["dinov2-s"])
    assert VAE.names.recipe("long-32-bl-128").augment.image_size == named_decoder("vit-b").image_size


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Noise("gaussian"), "kind"),
        (lambda: Noise("none", -1.0), "noise.strength"),
        (lambda: Perceptual("vgg"), "kind"),
        (lambda: Perceptual(weight=-1.0), "perceptual.weight"),
        (lambda: Adversary(kind="sngan"), "kind"),
        (lambda: Adversary(kernel=0), "adversary.kernel"),
        (lambda: Adversary(augment_rate=1.5), "adversary.augment_rate"),
        (lambda: Adversary(cutout=1.0), "adversary.cutout"),
        (lambda: Adversary(largest_balance=0.0), "adversary.largest_balance"),
        (lambda: Adversary(adversarial_start=5), "must not be before discriminator_start"),
        (
            lambda: replace(named_decoder("vit-s"), patch_size=15),
            "256 pixels is no whole number of patches of 15",
        ),
        (lambda: replace(named_decoder("rae-b"), patch_size=32), "the teacher's grid is 16 x 16, and images"),
        (lambda: replace(named_decoder("rae-b"), noise=Noise()), "Features have no posterior"),
        (lambda: replace(named_decoder("rae-b"), teacher=None), "the teacher's grid is none"),
        (lambda: replace(named_decoder("vit-s"), name="a/b"), "to be a folder's name"),
        (
            lambda: replace(
                named_decoder("vit-s"), schedule=replace(named_decoder("vit-s").schedule, length=7)
            ),
            "adversary.adversarial_start is 8, and the training ends after 7 epochs",
        ),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(Exception, match=message):  # a wrong word is refused by its annotation first
        make()


@pytest.mark.parametrize(("name", "expected"), [("vit-l", "303,511,264"), ("rae-xl", "415,352,704")])
def test_names_are_explained_and_listed(name, expected, monkeypatch, capsys):
    said = run(monkeypatch, capsys, "explain", name)
    assert f"Image decoder {name}" in said and expected in said
    assert f"experiments/decoder.py --experiment {name}" in said
    assert from_json(run(monkeypatch, capsys, "explain", name, "--json")) == named_decoder(name)
    listed = run(monkeypatch, capsys, "list")
    assert "experiments/decoder.py" in listed and "embedded-decoder" in listed


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["laminate.recipes", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    command.main()
    return capsys.readouterr().out
