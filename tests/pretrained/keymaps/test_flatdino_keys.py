"""Laws of the FlatDINO key map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.bottlenecks.fsq import Fsq
from laminate.models.pixel_decoder import RegisterDecoder
from laminate.models.vit import Trunk, Vit
from laminate.pretrained.keymaps.base import KeyMapError, Slot, export, load
from laminate.pretrained.keymaps.flatdino import IGNORED, flatdino_slots, pixel_decoder_slots
from laminate.tokenizers.flatdino import FlatDino, NestedLatents
from tests.oracles.arrays import filled


@pytest.fixture(scope="module")
def tokenizer() -> FlatDino:
    def make(key: jax.Array) -> FlatDino:
        k_encoder, k_decoder, k_nested = jax.random.split(key, 3)
        trunk = Trunk(dim=8, depth=2, heads=2, hidden=5)
        encoder = Vit(trunk, tokens=9, in_dim=6, out_dim=3, registers=4, positions="sincos", key=k_encoder)
        decoder = Vit(trunk, tokens=4, out_dim=6, registers=9, key=k_decoder)
        return FlatDino(encoder, Fsq((4, 3, 5)), decoder, nested=NestedLatents(3, 8, key=k_nested))

    return make(jax.random.key(0))


def test_loading_what_was_exported_gives_the_same_module(tokenizer: FlatDino) -> None:
    slots = flatdino_slots(tokenizer)
    published = export(tokenizer, slots)
    assert published["encoder/blocks/1/attention/qkv_proj/kernel"].shape == (8, 24)
    assert published["encoder/pos_embed"].shape == (1, 4 + 9, 8)
    shaken = {key: a if key == "encoder/pos_embed" else a + 1 for key, a in published.items()}
    loaded = load(tokenizer, slots, shaken | {"encoder/x/rngs/key": np.zeros(2)}, ignored=IGNORED)
    again = export(loaded, slots)
    assert again.keys() == shaken.keys()
    for key, value in shaken.items():
        np.testing.assert_array_equal(again[key], value)


def test_an_image_decoder_states_the_mean_and_deviation_of_its_pixels() -> None:
    mean, std = (0.25, 0.5), (2.0, 0.125)

    def make(key: jax.Array) -> RegisterDecoder:
        vit = Vit(Trunk(dim=8, depth=2, heads=2, hidden=5), tokens=3, in_dim=6, registers=4, key=key)
        return RegisterDecoder(vit, patch=5, mean=mean, std=std, key=key)

    decoder = filled(make)
    published = export(decoder, pixel_decoder_slots(decoder))
    assert published["decoder/decoder_proj/kernel"].shape == (8, 5 * 5 * 2)
    np.testing.assert_array_equal(published["decoder/img_mean"], [[[mean]]])
    again = export(load(decoder, pixel_decoder_slots(decoder), published), pixel_decoder_slots(decoder))
    assert all(np.array_equal(again[name], array) for name, array in published.items())
    with pytest.raises(KeyMapError, match=r"decoder/img_std is not this module.s table"):
        load(decoder, pixel_decoder_slots(decoder), published | {"decoder/img_std": np.ones((1, 1, 1, 2))})


def test_all_wrong_names_are_listed_in_one_message(tokenizer: FlatDino) -> None:
    slots = flatdino_slots(tokenizer)
    published = export(tokenizer, slots)
    published["stranger"] = published.pop("mask_token")
    published["latent_proj/kernel"] = np.zeros((8, 3))
    with pytest.raises(KeyMapError, match="missing mask_token") as caught:
        load(tokenizer, slots, published)
    assert "unexpected stranger" in str(caught.value)
    assert "latent_proj/kernel has shape (8, 3), expected (3, 8)" in str(caught.value)


def test_a_published_constant_that_differs_from_its_formula_is_refused(tokenizer: FlatDino) -> None:
    slots = flatdino_slots(tokenizer)
    published = export(tokenizer, slots)
    published["encoder/pos_embed"] = published["encoder/pos_embed"] + 1
    with pytest.raises(KeyMapError, match=r"encoder/pos_embed is not this module.s table"):
        load(tokenizer, slots, published)


def test_a_map_that_forgets_a_parameter_or_fills_one_twice_is_refused() -> None:
    module = {"a": jnp.zeros(2), "b": jnp.zeros(3)}
    weights = {"x": np.zeros(2), "y": np.zeros(2)}
    with pytest.raises(ValueError, match=r"\['b'\] has 0 names"):
        load(module, [Slot(("x",), lambda m: m["a"])], weights)
    twice = [Slot(("x",), lambda m: m["a"]), Slot(("y",), lambda m: m["a"]), Slot(("z",), lambda m: m["b"])]
    with pytest.raises(ValueError, match=r"\['a'\] has 2 names"):
        load(module, twice, weights)
