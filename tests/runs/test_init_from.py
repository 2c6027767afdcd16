"""A training that begins with other weights keeps what fits, draws the rest, and says which is which."""

import dataclasses
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import laminate
from laminate.recipes.bottleneck import GaussianBottleneck
from laminate.recipes.flatdino.flags import FlatDinoFlags
from laminate.recipes.flatdino.modules import flatdino
from laminate.recipes.flatdino.recipe import FlatDinoRecipe
from laminate.recipes.image_decoder.modules import image_decoder
from laminate.recipes.image_decoder.presets import embedded_decoder
from laminate.recipes.image_decoder.recipe import at_image_size, begins_with
from laminate.recipes.modules import embedded_network
from laminate.recipes.network import VitConfig, patch_teacher
from laminate.recipes.training import Schedule
from laminate.runs.init_from import plan_start, started
from laminate.train.export import named_weights
from laminate.train.state import init_state

VIT = VitConfig(dim=12, depth=2, heads=3, hidden=10, positions="learned")
RECIPE = FlatDinoRecipe(
    name="tiny",
    teacher=patch_teacher(12, 4),
    tokens=5,
    encoder=VIT,
    decoder=VIT,
    bottleneck=GaussianBottleneck(latent_dim=3),
    schedule=Schedule(unit="steps", length=6, warmup=2, decay=2, validate_every=3),
)


@cache
def shapes(recipe: FlatDinoRecipe):
    return eqx.filter_eval_shape(flatdino, recipe, key=jax.random.key(0))


def filled(recipe: FlatDinoRecipe, value: float):
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, value, leaf.dtype), shapes(recipe))


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("source") / "x"
    laminate.save_pretrained(filled(RECIPE, 3.0), folder, recipe=RECIPE)
    return str(folder)


def test_the_same_recipe_keeps_every_trained_array_and_no_statistics(source):
    start = plan_start(source, shapes(RECIPE))
    assert start.drawn == () and start.unused == () and start.share == 1.0
    assert not [name for name in start.kept if name.startswith("normalization")]
    assert "arrays from " in str(start) and "(100.0% of the numbers); nothing newly drawn" in str(start)


def test_another_number_of_tokens_draws_the_tables_of_the_tokens_and_keeps_the_rest(source):
    start = plan_start(source, shapes(dataclasses.replace(RECIPE, tokens=8)))
    assert start.drawn == (
        "encoder.registers ((5, 12) there, (8, 12) here)",
        "decoder.positions ((5, 12) there, (8, 12) here)",
    )
    assert 0.9 < start.share < 1.0
    assert "newly drawn: encoder.registers" in str(start)


def test_parts_that_only_one_of_the_two_has_are_said(source):
    without = dataclasses.replace(RECIPE, encoder=dataclasses.replace(VIT, positions="none"))
    assert plan_start(source, shapes(without)).unused == ("encoder.positions",)
    wide = dataclasses.replace(RECIPE, bottleneck=GaussianBottleneck(latent_dim=12))
    assert "decoder.input.weight" in str(plan_start(source, shapes(wide)))
    assert "; not used: " in str(plan_start(source, shapes(wide)))


def test_a_start_of_which_nothing_fits_is_refused(source, tmp_path):
    other = dataclasses.replace(
        VIT, dim=8, heads=2, hidden=6
    )  # heads of the same width: their norms would fit
    narrow = dataclasses.replace(RECIPE, encoder=other, decoder=other, teacher=patch_teacher(12, 6))
    with pytest.raises(
        ValueError, match=r"0\.\d% of this model's numbers fit, which is no beginning"
    ) as caught:
        plan_start(source, shapes(narrow))
    assert "It looks like a FlatDINO tokenizer of this library (12 wide)" in str(caught.value)
    assert "encoder.input.weight ((12, 48) there, (8, 108) here)" in str(caught.value)
    with pytest.raises(FileNotFoundError, match="There is no file or folder"):
        plan_start(tmp_path / "absent", shapes(RECIPE))


@pytest.mark.parametrize("averaged", [False, True])
def test_the_state_begins_with_what_is_kept_in_parameters_and_average_alike(source, averaged):
    recipe = dataclasses.replace(RECIPE, tokens=8)
    optimizer = optax.adam(1e-3)
    state = init_state(filled(recipe, 7.0), optimizer, averaged=averaged, key=jax.random.key(1))
    start = plan_start(source, shapes(recipe))
    begun = started(state, start)
    for tree in (begun.params, begun.ema) if averaged else (begun.params,):
        for name, leaf in named_weights(tree).items():
            expected = 3.0 if name in start.kept else 7.0
            np.testing.assert_array_equal(leaf, np.full(leaf.shape, expected), err_msg=name)
            assert leaf.sharding == named_weights(state.params)[name].sharding
    assert (begun.ema is None) == (not averaged)
    assert jax.tree.all(jax.tree.map(np.array_equal, begun.buffers, state.buffers))
    assert jax.tree.structure(begun) == jax.tree.structure(state)
    # Parameters and average are buffers of their own: the step is given both to overwrite.
    donated = jax.jit(lambda s: jax.tree.map(jnp.add, s.params, s.params), donate_argnums=0)
    assert jax.tree.leaves(donated(begun))[0].shape == jax.tree.leaves(state.params)[0].shape
    np.testing.assert_array_equal(np.asarray(start.kept["encoder.norm.scale"]), np.full(12, 3.0))


def test_what_is_not_trained_begins_with_what_is_kept_too(source):
    of_decoder = lambda model: model.decoder
    state = init_state(
        filled(RECIPE, 7.0), optax.adam(1e-3), averaged=True, key=jax.random.key(1), trained=of_decoder
    )
    begun = started(state, plan_start(source, shapes(RECIPE)))
    for model in (begun.model, begun.averaged):
        for name, leaf in named_weights(model, buffers=False).items():
            np.testing.assert_array_equal(leaf, np.full(leaf.shape, 3.0), err_msg=name)


def test_a_part_that_is_not_trained_is_there_whole_or_refused(source):
    longer = shapes(dataclasses.replace(RECIPE, tokens=8))
    of_decoder = lambda model: model.decoder
    with pytest.raises(
        ValueError,
        match=r"leaves as it is would be newly drawn: encoder\.registers \(\(5, 12\) there, \(8, 12\) here\)\. Give",
    ):
        plan_start(source, longer, trained=of_decoder)
    tables = ("encoder.registers", "decoder.positions")
    both = lambda model: (model.encoder.registers, model.decoder)
    assert len(plan_start(source, longer, trained=both).drawn) == len(tables)
    assert plan_start(source, shapes(RECIPE), trained=of_decoder).drawn == ()


def test_two_beginnings_at_once_are_refused():
    with pytest.raises(ValueError, match="--restore goes on with another run, --init-from begins a new one"):
        FlatDinoFlags(init_from="x", restore="y")


def test_a_decoder_of_features_begins_with_that_of_a_frozen_network():
    recipe = embedded_decoder()
    model = eqx.filter_eval_shape(image_decoder, recipe, key=jax.random.key(0))
    assert begins_with(recipe) == "embedded"
    start = plan_start("embedded", model)
    assert start.drawn == () and start.unused == () and start.share == 1.0
    for name, array in named_weights(embedded_network().decoder).items():
        np.testing.assert_array_equal(start.kept[name], np.asarray(array, np.float32))
    larger = eqx.filter_eval_shape(image_decoder, at_image_size(recipe, 128), key=jax.random.key(0))
    assert {said.split(" ")[0] for said in plan_start("embedded", larger).drawn} == {
        "last.weight",
        "last.bias",
    }
    for changed in (
        {"from_teacher": False},
        {"teacher": patch_teacher(64, 8), "tokens": 64, "latent_dim": 192},
    ):
        assert begins_with(dataclasses.replace(recipe, **changed)) is None
