"""Paths, solvers and networks of a generator's recipe: what is written of them, what goes together, what is built."""

import json
from dataclasses import replace
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.analysis.generation import FlowConfig
from laminate.cli.command import training_command
from laminate.flow import EULER, HEUN, STRAIGHT, EulerProject, ExpMap, Sphere, UniPc, time_grid, unipc_grid
from laminate.models import FlatLatent, GridLatent, SharedDit
from laminate.nn import LayerNorm
from laminate.recipes.dino_sae.modules import usual_length
from laminate.recipes.families import from_json, to_json, to_tree
from laminate.recipes.generator.costs import generator_flops, generator_parameters
from laminate.recipes.generator.family import GENERATOR
from laminate.recipes.generator.flow import Guidance, SpherePath
from laminate.recipes.generator.modules import MODULES, generator, measured
from laminate.recipes.generator.names import parse_shared
from laminate.recipes.generator.presets import named_generator
from laminate.recipes.generator.recipe import SharedModulation
from laminate.recipes.latent import LatentSpec, LoadedTokenizer, TokenizerId
from laminate.recipes.modules import sampling_grid, solver
from laminate.recipes.network import VitConfig
from laminate.recipes.solvers import UniPcConfig
from laminate.tokenizers.normalization import Normalization
from laminate.types import is_buffer

SPHERE = replace(named_generator("dits-sphere"), tokens=6, latent_dim=16)
OPEN = SpherePath()
NAFLEX = VitConfig(24, 2, 3, 48, norm="rms", bias=False)
SHARED = replace(named_generator("dits"), network=NAFLEX, shared=SharedModulation(), tokens=6, latent_dim=5)


def shapes(recipe):
    return eqx.filter_eval_shape(lambda key: generator(recipe, key=key), jax.random.key(0))


def trained(module):
    leaves = jax.tree.leaves(module, is_leaf=is_buffer)
    return sum(int(np.prod(leaf.shape)) for leaf in leaves if isinstance(leaf, jax.ShapeDtypeStruct))


@pytest.mark.parametrize("name", ["embedded-dit", "ditxl-dh-kappa3-xpred-norm"])
def test_of_a_straight_path_nothing_more_is_written_than_before_there_were_others(name):
    tree = to_tree(GENERATOR.names.recipe(name))
    assert not {"path", "solver", "unipc", "shared", "grid"} & tree.keys()
    assert "rescale" not in tree["guidance"]
    assert from_json(json.dumps(tree)) == GENERATOR.names.recipe(name)


@pytest.mark.parametrize(
    "recipe",
    [
        replace(SPHERE, path=SpherePath(3.0, 0.2, 14.0), solver="euler-project"),
        replace(SHARED, grid=(2, 3), solver="unipc", unipc=UniPcConfig(3, "bh1", "noise", False, (0, 2))),
        replace(named_generator("dits"), guidance=Guidance(4.0, (0.1, 0.9), 0.7)),
    ],
    ids=["sphere", "shared", "rescaled"],
)
def test_whatever_else_is_said_comes_back(recipe):
    assert from_json(to_json(recipe)) == recipe


def asked(*arguments):
    return training_command(None, GENERATOR, arguments=list(arguments))[1]


def test_a_path_is_a_flag_and_its_numbers_are_fields():
    recipe = asked("--path", "sphere")
    assert recipe.name == "embedded-dit+path=sphere"
    assert recipe.path == SpherePath() and recipe.radius == pytest.approx(128**0.5)
    assert asked("--path", "straight") == asked()
    exact = asked("--set", "path.kind=sphere", "--set", "path.radius=3", "--set", "path.decode_radius=14")
    assert exact.path == SpherePath(3.0, decode_radius=14.0)
    assert asked("--experiment", "ditb-sphere", "--path", "straight").path == named_generator("ditb").path


@pytest.mark.parametrize(
    ("recipe", "change", "message"),
    [
        (SPHERE, {"solver": "heun"}, "no solver of the sphere path, whose solvers are expmap, euler-project"),
        (SHARED, {"solver": "expmap"}, "no solver of the straight path"),
        (SPHERE, {"latent_dim": 1}, "a token of one number has no direction"),
        (SHARED, {"grid": (2, 4)}, "must hold the 6 tokens, got 2 rows of 4"),
        (SHARED, {"head": NAFLEX}, "two kinds of networks"),
        (SHARED, {"network": replace(NAFLEX, bias=True)}, "have network.bias=false"),
        (SHARED, {"network": replace(NAFLEX, dim=30)}, "multiples of 4"),
    ],
)
def test_what_does_not_go_together_is_refused(recipe, change, message):
    with pytest.raises(ValueError, match=message):
        replace(recipe, **change)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpherePath(0.0), "path.radius"),
        (lambda: SpherePath(radial_weight=-1.0), "path.radial_weight"),
        (lambda: UniPcConfig(order=0), "unipc.order"),
        (lambda: UniPcConfig(uncorrected=(-1,)), "unipc.uncorrected"),
        (lambda: Guidance(rescale=1.5), "guidance.rescale"),
        (lambda: SharedModulation(registers=-1), "shared.registers"),
        (lambda: SharedModulation(window=0), "shared.window"),
        (lambda: SharedModulation(layer_scale=0.0), "shared.layer_scale"),
    ],
)
def test_impossible_numbers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_solver_is_the_paths_the_recipes_or_the_one_asked_for():
    straight = named_generator("dits")
    assert solver(straight) is EULER and solver(straight, "heun") is HEUN
    assert solver(SPHERE) == ExpMap(Sphere(4.0)) and solver(SPHERE, "euler-project") == EulerProject(
        Sphere(4.0)
    )
    recipe = replace(SHARED, solver="unipc", unipc=UniPcConfig(3), time_shift=3.0)
    assert solver(recipe) == UniPc(3) and solver(recipe, unipc=UniPcConfig(1, "bh1")) == UniPc(1, "bh1")
    np.testing.assert_array_equal(sampling_grid(recipe, steps=5).times, unipc_grid(5, shift=3.0).times)
    np.testing.assert_array_equal(sampling_grid(recipe, "heun").times, time_grid(50, time_shift=3.0).times)


def test_a_sphere_is_the_path_of_training_and_drawing_and_both_are_float32():
    float32 = np.dtype("float32")
    flow = FlowConfig.of(replace(SPHERE, path=SpherePath(decode_radius=14.0)), float32)
    assert flow.path == Sphere(4.0) and flow.normal_weight == 0.1
    noise = flow.noise(jax.random.key(0))
    np.testing.assert_allclose(jnp.linalg.norm(noise, axis=-1), 4.0, rtol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(flow.raw(None, noise), axis=-1), 14.0, rtol=1e-6)
    straight = FlowConfig.of(named_generator("dits"), float32)
    assert (straight.path, straight.normal_weight, straight.decode_scale) == (STRAIGHT, 0.0, 1.0)
    assert "half precision" in MODULES.float32(SPHERE) and not MODULES.float32(SHARED)


def test_drawn_tokens_are_brought_to_the_length_of_the_tokenizers_where_that_is_known():
    def length(latent, *, normalize=False, path=OPEN, std=2.0):
        statistics = Normalization(6, 16).measured(jnp.full((6, 16), 3.0), jnp.full((6, 16), std**2))
        model, identity = SimpleNamespace(normalization=statistics), TokenizerId("tok", "0" * 64)
        return measured(path, normalize, LoadedTokenizer(model, None, latent, "here", identity)).decode_radius

    raw = LatentSpec(6, 16, 32, normalised=False)
    assert length(LatentSpec(6, 16, 32)) == pytest.approx(4.0 * np.sqrt(9 + 4), abs=1e-4)
    assert length(LatentSpec(6, 16, 32), normalize=True) is None
    assert length(raw) is None and length(replace(raw, token_norm=14.0)) == 14.0
    assert length(replace(raw, token_norm=14.0), path=SpherePath(decode_radius=9.0)) == 9.0
    assert (
        measured(SHARED.path, True, LoadedTokenizer(None, None, raw, "", TokenizerId("", ""))) == SHARED.path
    )


def test_the_length_of_tokens_behind_a_norm_is_that_of_normal_numbers_under_its_scale_and_bias():
    affine = (jnp.linspace(0.2, 2.0, 7), jnp.linspace(-1.0, 1.0, 7))
    norm = eqx.tree_at(lambda n: (n.scale, n.bias), LayerNorm(7), affine)
    scale, bias = (np.asarray(one) for one in affine)
    tokens = np.random.default_rng(0).standard_normal((40_000, 7), np.float32) * scale + bias
    assert usual_length(norm) == pytest.approx(np.sqrt(np.mean(np.sum(tokens**2, axis=-1))), rel=0.01)
    bare = LayerNorm(7, scale=False, bias=False)
    np.testing.assert_allclose(
        np.linalg.norm(bare(jnp.asarray(tokens[:5])), axis=-1), usual_length(bare), rtol=1e-5
    )


@given(rows=st.integers(1, 6), columns=st.integers(1, 6), registers=st.integers(0, 2), cls=st.booleans())
def test_counted_parameters_of_shared_modulation_are_those_of_the_module(rows, columns, registers, cls):
    shared = SharedModulation(cls_token=cls, registers=registers, layer_scale=None if cls else 1e-4)
    recipe = replace(SHARED, shared=shared, tokens=rows * columns, grid=(rows, columns))
    network = shapes(recipe)
    assert isinstance(network, SharedDit) and network.shape == GridLatent(rows, columns, 5)
    assert trained(network) == generator_parameters(recipe)


@pytest.mark.parametrize(("name", "parameters"), [("L/256", 311_269_440), ("G-256", 1_170_197_632)])
def test_networks_of_vitoks_names_have_the_parameters_of_the_released_ones(name, parameters):
    recipe = named_generator(name)
    assert recipe.name == name.replace("/", "-") and from_json(to_json(recipe)) == recipe
    network = shapes(recipe)
    assert trained(network) == generator_parameters(recipe) == parameters
    assert network.shape == GridLatent(16, 16, 64)
    width = recipe.network.dim
    assert generator_flops(recipe) == recipe.network.depth * 256 * (
        4 * width**2 + 3 * width * recipe.network.hidden + 2 * 256 * width
    )
    assert [row[0] for row in GENERATOR.names.rows(name)] == [name[0], "256"]


def test_other_names_are_none_of_vitoks_and_wrong_ones_are_refused_with_what_is_wrong():
    assert parse_shared("dits-dh") is None and parse_shared("embedded-16") is None
    with pytest.raises(ValueError, match="no size"):
        named_generator("Lm3/256")
    with pytest.raises(ValueError, match="no ViTok generator"):
        named_generator("L/0")


def test_tokens_on_a_grid_have_its_places_and_others_those_of_a_sequence():
    flat, grid = (
        replace(named_generator("dits"), tokens=6),
        replace(named_generator("dits"), tokens=6, grid=(2, 3)),
    )
    assert shapes(flat).shape == FlatLatent(6, 128) and shapes(grid).shape == GridLatent(2, 3, 128)
    assert shapes(replace(SHARED, tokens=7)).shape == GridLatent(1, 7, 5)
