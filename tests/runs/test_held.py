"""Trained networks in less memory: what int8 changes of their results, what it never does, and where it is refused."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import laminate
from laminate.losses.structural import ssim
from laminate.nn import Int8Linear
from laminate.parallel.mesh import build_mesh, parse_mesh
from laminate.parallel.sharding import place
from laminate.recipes.generator.modules import generator
from laminate.runs.held import held_in, held_on
from laminate.runs.load_tokenizer import load_tokenizer
from tests.experiments.jobs import TINY, TINY_DIT, VIT, write_tokenizer
from tests.oracles.arrays import filled, normal
from tests.pretrained.published_autoencoders import write_autoencoder

WIDE = dataclasses.replace(VIT, dim=24, depth=2, hidden=40)
RECIPE = dataclasses.replace(TINY, encoder=WIDE, decoder=WIDE)
PHOTO = np.random.default_rng(5).integers(0, 256, (2, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("held") / "saved", recipe=RECIPE)


def likeness(some, others) -> float:
    span = float(jnp.max(others) - jnp.min(others))
    return float(min(ssim(one, other, data_range=span) for one, other in zip(some, others, strict=True)))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pictures_of_a_tokenizer_in_int8_are_those_of_the_same_computation_without(folder, precision):
    exact, whole = (
        laminate.from_pretrained(folder, precision=precision, stored=stored) for stored in ("float32", "int8")
    )
    assert whole.identity == exact.identity
    tokens = [one.encode_image(PHOTO) for one in (exact, whole)]
    assert 0 < np.abs(tokens[1] - tokens[0]).max() < 0.05 * np.abs(tokens[0]).max()
    pictures = [
        jnp.asarray(np.stack([np.asarray(picture) for picture in one.decode_image(each)]), jnp.float32)
        for one, each in zip((exact, whole), tokens, strict=True)
    ]
    assert likeness(*pictures) > 0.99


def test_a_pass_of_a_generator_in_int8_is_near_that_without_and_the_same_on_any_mesh():
    recipe = dataclasses.replace(TINY_DIT, network=dataclasses.replace(TINY_DIT.network, dim=24, hidden=40))
    network = filled(lambda key: generator(recipe, key=key), scale=0.2)
    x, t, label = normal(3, recipe.tokens, recipe.latent_dim), jnp.asarray(0.4), jnp.asarray(1)
    run = eqx.filter_jit(lambda network: network(x, t, label))
    wanted, found = run(network), run(held_in(network, "int8"))
    assert 0 < np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()
    mesh = build_mesh(parse_mesh("2x4"))
    spread = held_on(mesh, place(network, mesh), "int8")
    for one, other in zip(*map(jax.tree.leaves, (spread, held_in(network, "int8"))), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_of_layers_take_a_quarter_and_statistics_and_all_else_stay(folder):
    exact = load_tokenizer(folder).model
    whole = held_in(exact, "int8")
    is_whole = lambda node: isinstance(node, Int8Linear)
    maps = [node for node in jax.tree.leaves(whole, is_leaf=is_whole) if is_whole(node)]
    assert len(maps) == 2 * 5  # of encoder and decoder: query, key and value, out, gate and up, down
    assert all(one.weight.dtype == jnp.int8 and one.scale.dtype == jnp.float32 for one in maps)
    assert eqx.tree_equal(whole.normalization, exact.normalization)
    assert eqx.tree_equal(whole.encoder.input, exact.encoder.input)
    assert held_in(exact, "float32") is exact


def test_what_has_no_transformer_is_refused_in_one_line(tmp_path):
    place = write_autoencoder(tmp_path / "convolutions", "flux")
    with pytest.raises(ValueError, match=r"convolutions has no layers of a transformer.*take bfloat16"):
        laminate.from_pretrained(place, stored="int8")
    assert eqx.tree_equal(held_in(load_tokenizer(place).model, "int8"), load_tokenizer(place).model)
