"""Generator names, the networks that they mean, and the paper's Tables 7 to 9."""

from dataclasses import replace
from decimal import Decimal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.analysis.generation import FlowConfig
from laminate.flow import dimension_shift
from laminate.nn import LabelEmbed
from laminate.recipes.families import from_json, to_json
from laminate.recipes.flatdino.family import VAE
from laminate.recipes.generator import names as generator_names
from laminate.recipes.generator.costs import generator_flops, generator_parameters
from laminate.recipes.generator.family import GENERATOR
from laminate.recipes.generator.modules import generator
from laminate.recipes.generator.presets import LIGHTNING, named_generator
from laminate.recipes.generator.recipe import Guidance
from laminate.recipes.latent import LatentSpec, TokenizerId, for_latents
from laminate.recipes.network import PRETRAINED_TEACHERS
from laminate.runs.load_generator import Generator, require_alike
from laminate.types import is_buffer
from tests.oracles.printed_costs import printed_costs

fields = st.fixed_dictionaries(
    {
        "size": st.sampled_from(sorted(LIGHTNING)),
        "head": st.booleans(),
        "kappa": st.none() | st.decimals("0.001", 99_999, places=3).map(float),
        "predict_data": st.booleans(),
        "normalize": st.booleans(),
    }
)


@given(values=fields, order=st.randoms(use_true_random=False))
def test_parse_and_format_are_inverses_and_options_have_no_order(values, order):
    spec = generator_names.GeneratorName(**values)
    name = generator_names.format(spec)
    assert generator_names.parse(name) == spec
    first, *options = name.split("-")
    order.shuffle(options)
    assert generator_names.format(generator_names.parse("-".join([first, *options]))) == name


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("dit-b", "'dit' is not"),
        ("ditm", "'ditm' is not"),
        ("ditxl_dh", "did you mean ditxl-dh"),
        ("ditb-kappa", "no option 'kappa'"),
        ("ditb-kappaF", "no option 'kappaF'"),
        ("ditb-kappa0", "greater than 0"),
        ("ditb-kappa1.2.3", "no option"),
        ("ditb-dh-dh", "given twice"),
        ("ditb-kappa2-kappa3", "given twice"),
        ("", "is not dit"),
    ],
)
def test_wrong_names_are_refused_with_the_fault_and_a_repair(name, fault):
    with pytest.raises(ValueError, match=r"Did you mean dit[a-z]") as caught:
        named_generator(name)
    assert fault.lower() in str(caught.value).lower()


def trained(module):
    leaves = jax.tree.leaves(module, is_leaf=is_buffer)
    return sum(int(np.prod(leaf.shape)) for leaf in leaves if isinstance(leaf, jax.ShapeDtypeStruct))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("dits", 33_059_072),
        ("ditb", 130_703_744),
        ("ditl", 458_423_440),
        ("ditxl", 675_478_016),
        ("dits-dh", 193_501_652),
        ("ditb-dh", 291_010_004),
        ("ditl-dh", 618_323_432),
        ("ditxl-dh", 835_058_132),
    ],
)
def test_networks_have_the_parameters_of_the_released_ones(name, parameters):
    recipe = named_generator(name)
    network = eqx.filter_eval_shape(lambda key: generator(recipe, key=key), jax.random.key(0))
    assert trained(network) == parameters
    assert generator_parameters(recipe) == parameters


@given(tokens=st.integers(1, 40), features=st.integers(1, 40), classes=st.integers(0, 30), head=st.booleans())
def test_counted_parameters_are_those_of_the_modules(tokens, features, classes, head):
    recipe = replace(latent_recipe("dits-dh" if head else "dits", tokens, features), classes=classes)
    network = eqx.filter_eval_shape(lambda key: generator(recipe, key=key), jax.random.key(0))
    assert trained(network) == generator_parameters(recipe)


def test_the_shift_is_the_names_or_that_of_the_latent():
    assert named_generator("ditxl-kappa3").resolved_time_shift == 3.0
    recipe = latent_recipe("ditb", 64, 768)
    assert recipe.resolved_time_shift == dimension_shift(64 * 768) == pytest.approx(3.46410162)
    assert replace(recipe, time_shift_base=None).resolved_time_shift == 1.0
    assert recipe.resolved_min_one_minus_t == pytest.approx(1 / (50 * recipe.resolved_time_shift))
    assert replace(recipe, min_one_minus_t=0.05).resolved_min_one_minus_t == 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_shift": 0.0}, "kappa"),
        ({"steps": 0}, "steps"),
        ({"min_one_minus_t": 0.0}, "floor"),
        ({"classes": -1}, "classes"),
        ({"class_dropout": 1.0}, "class_dropout"),
        ({"classes": 0, "class_dropout": 0.0}, "null class"),
        ({"prediction": "noise"}, "prediction"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_impossible_recipes_are_refused(change, message):
    with pytest.raises(Exception, match=message):  # a wrong word is refused by its annotation first
        replace(named_generator("ditb"), **change)


def latent_recipe(name, tokens, features):
    return for_latents(named_generator(name), LatentSpec(tokens, features, 256))


# Model, latent, S; linear and attention of a layer, total (Table 7); backward, train (8); encoding, total (9).
TABLES = """
ditl     RAE      256  3.22        0.13         80.5   161.0  241.5  23.4  264.9
ditl     FlatDINO 32   0.40        0.002        9.7    19.4   29.1   49.4  78.5
ditxl    RAE      256  4.08        0.15         118.4  236.8  355.2  23.4  378.6
ditxl    FlatDINO 32   0.51        0.002        14.3   28.6   42.9   49.4  92.3
ditxl-dh RAE      256  4.08/12.88  0.15/0.27    144.7  289.4  434.1  23.4  457.5
ditxl-dh FlatDINO 32   0.51/1.61   0.002/0.004  17.5   35.0   52.5   49.4  101.9
"""
REDUCTIONS = {"ditl": ("8.3", "3.4"), "ditxl": ("8.3", "4.1"), "ditxl-dh": ("8.3", "4.5")}
TEACHER = PRETRAINED_TEACHERS["dinov2-b"]


def costs_of(name, tokens):
    compressed = tokens == 32
    recipe = latent_recipe(name, tokens, 128 if compressed else 768)
    tokenizer = VAE.names.recipe("long-32-bl-128") if compressed else None
    return printed_costs(recipe, teacher=TEACHER, tokenizer=tokenizer)


@pytest.mark.parametrize("row", TABLES.strip().splitlines())
def test_flops_are_those_of_the_papers_tables_7_to_9(row):
    name, _, tokens, linear, attention, *figures = row.split()
    costs = costs_of(name, int(tokens))
    assert "/".join(map(str, costs.linear)) == linear
    assert "/".join(map(str, costs.attention)) == attention
    totals = (costs.forward, costs.backward, costs.train, costs.encoding, costs.total)
    assert [str(total) for total in totals] == figures


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_are_those_of_the_paper(name):
    rae, flat = costs_of(name, 256), costs_of(name, 32)
    forward, train = (
        (a / b).quantize(Decimal("0.1")) for a, b in ((rae.forward, flat.forward), (rae.total, flat.total))
    )
    assert (str(forward), str(train)) == REDUCTIONS[name]


def test_exact_flops_are_the_sum_over_layers():
    assert generator_flops(named_generator("ditxl")) == 28 * 2 * 32 * 1152 * (6 * 1152 + 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": "late"}, "times"),
        ({"cosine_weight": -1.0}, "cosine_weight"),
        ({"class_names": ("a",)}, "1 names for 1000 classes"),
        ({"guidance": {"scale": -1.0}}, "guidance.scale"),
        ({"guidance": {"interval": (0.7, 0.2)}}, "guidance.interval"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(Exception, match=message):
        given = {name: Guidance(**value) if name == "guidance" else value for name, value in change.items()}
        replace(named_generator("dits"), **given)


@pytest.mark.parametrize("name", ["embedded-dit", "ditxl-dh-kappa3-xpred-norm"])
def test_a_generator_recipe_comes_back_from_json(name):
    recipe = replace(GENERATOR.names.recipe(name), tokenizer=TokenizerId("tok", "0" * 64))
    assert from_json(to_json(recipe)) == recipe


def test_a_trained_generator_takes_no_other_tokenizer():
    mine, other = TokenizerId("mine", "1" * 64), TokenizerId("other", "2" * 64)
    latent = LatentSpec(5, 7, 32)
    recipe = for_latents(named_generator("dits"), latent, mine)
    assert (recipe.tokens, recipe.latent_dim, recipe.augment.image_size) == (5, 7, 32)
    assert for_latents(recipe, latent, mine) == recipe
    with pytest.raises(ValueError, match="belongs to the tokenizer mine with the hash 111111111111"):
        for_latents(recipe, latent, other)
    with pytest.raises(
        ValueError, match="is for 5 tokens of 7 numbers, and the tokenizer has 6 of 7: give the"
    ):
        for_latents(recipe, LatentSpec(6, 7, 32), mine)


def test_names_are_explained_part_by_part():
    spec = generator_names.parse("ditb-norm-dh-kappa2.5")
    assert [part for part, _ in generator_names.meanings(spec)] == ["ditb", "dh", "kappa2.5", "norm"]
    assert generator_names.meanings(generator_names.parse("ditxl")) == (
        ("ditxl", "LightningDiT, extra large"),
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"prediction": "data"}, "prediction"),
        ({"min_one_minus_t": 0.25}, "floor"),
        ({"time_shift": 2.0}, "shift"),
        ({"time_shift_base": None}, "shift"),
        ({"steps": 25}, "steps"),
        ({"normalize": True}, "normalize"),
        ({"classes": 7}, "classes"),
        ({"tokens": 31}, "tokens"),
    ],
)
def test_a_generator_is_guided_only_by_one_whose_output_means_the_same(change, named):
    strong = Generator(None, latent_recipe("ditb", 32, 64), "strong")
    weak = Generator(None, replace(latent_recipe("dits", 32, 64), **change), "weak")
    with pytest.raises(ValueError, match=rf"differ in .*\b{named}\b"):
        require_alike(strong, weak)
    require_alike(strong, Generator(None, latent_recipe("dits", 32, 64), "smaller"))


def test_without_a_null_class_an_image_without_a_label_is_of_no_class():
    """And of the last one least of all, to which an index beyond the table is clamped."""
    recipe = replace(latent_recipe("dits", 3, 5), classes=4, class_dropout=0.0)
    flow = FlowConfig.of(recipe, np.dtype("float32"))
    embed = LabelEmbed(4, 6, null_class=False, key=jax.random.key(0))
    table = np.asarray(embed.table)
    for label in range(4):
        np.testing.assert_array_equal(embed(flow.label(jnp.asarray(label, jnp.int32))), table[label])
    for label in (-1, -2, 4, 99):
        np.testing.assert_array_equal(embed(flow.label(jnp.asarray(label, jnp.int32))), np.zeros(6))
    slope = jax.grad(lambda e: jnp.sum(e(flow.label(jnp.asarray(-1, jnp.int32)))))(embed)
    np.testing.assert_array_equal(slope.table, np.zeros_like(table))
    dropped = LabelEmbed(4, 6, key=jax.random.key(0))
    np.testing.assert_array_equal(dropped(flow.label(jnp.asarray(-1, jnp.int32))), dropped.table[4])
