"""The network in the package serves an image decoder where published ones do, and is named wherever it does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.data.sources import open_records
from laminate.recipes.adversarial.modules import backbone, discriminator, perceptual_network
from laminate.recipes.adversarial.recipe import Perceptual
from laminate.recipes.families import from_json, to_json
from laminate.recipes.image_decoder.describe import describe
from laminate.recipes.image_decoder.flags import DecoderFlags, apply_flags
from laminate.recipes.image_decoder.modules import MODULES
from laminate.recipes.image_decoder.presets import embedded_decoder
from laminate.recipes.modules import network_identity
from laminate.recipes.network import find_teacher

LOOKING = apply_flags(
    embedded_decoder(),
    DecoderFlags(perceptual="embedded", adversary="dino", adversary_backbone="embedded"),
)


@pytest.fixture(scope="module")
def accepted():
    return MODULES.accept(LOOKING, open_records("embedded", "train"))


def test_the_recipe_says_embedded_and_holds_the_hashes_of_what_was_read(accepted):
    assert (accepted.perceptual.kind, accepted.adversary.source) == ("embedded", "embedded")
    assert accepted.adversary.weights == network_identity("embedded")
    assert len(accepted.perceptual.weights) == 64
    assert from_json(to_json(accepted)) == accepted
    said = dict(describe(accepted).header)
    assert "features of the embedded network" in said["losses"]
    assert "frozen features of embedded" in said["adversary"]
    changed = dataclasses.replace(accepted, perceptual=Perceptual("embedded", weights="0" * 64))
    with pytest.raises(ValueError, match="The weights of the embedded network have changed"):
        MODULES.accept(changed, open_records("embedded", "train"))


def test_a_discriminator_has_a_head_for_every_layer_of_it():
    assert LOOKING.adversary.taps == (0,)
    looking = backbone(LOOKING.adversary, LOOKING.image_size, weights=False)
    key = jax.random.key(0)
    make = lambda key: discriminator(LOOKING.adversary, key=key)
    maps = jax.eval_shape(lambda b, x: b(x), looking, jnp.zeros((64, 64, 3)))
    assert [one.shape for one in maps] == [(64, 192)] * 2
    logits = jax.eval_shape(lambda key, maps: make(key)(maps), key, maps)
    assert logits.shape == (128,)


def test_images_are_compared_by_its_features():
    network = jax.tree.map(jnp.asarray, perceptual_network(LOOKING.perceptual, LOOKING.image_size))
    image, other = np.random.default_rng(0).random((2, 16, 16, 3)).astype(np.float32)
    distance, slope = jax.jit(jax.value_and_grad(lambda x, y: network(x, y)))(image, other)
    assert 0 < distance < 4 / find_teacher("embedded").dim  # of directions, over their numbers
    assert np.isfinite(slope).all() and np.abs(slope).max() > 0
    same = jax.jit(lambda x: network(x, x))(image)
    assert same == 0


def test_images_of_no_whole_number_of_its_patches_are_refused():
    with pytest.raises(
        ValueError, match=r"sees patches of 8 pixels, and images of 20 .*--perceptual pyramid"
    ):
        perceptual_network(LOOKING.perceptual, 20)
