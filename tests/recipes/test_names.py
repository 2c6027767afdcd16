"""The grammars: `parse` and `format` are inverses, options have no order, and every refusal helps."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.recipes.flatdino import fsq_names, vae_names
from laminate.recipes.flatdino.family import FSQ, VAE
from laminate.recipes.flatdino.grammar import EPOCHS, SIZE_LETTERS
from tests.oracles.released_config import as_released_config, as_released_spec

GOLDEN = Path(__file__).parents[1] / "golden" / "04_flatdino_name_grammar.safetensors"
REORDERED_OR_BARE = {
    "fast-32-sb-128-kl3-hl",
    "fast-32-sb-128-tanh-er4",
    "fast-32-sb-L8555-er4-nd",
    "fast-32-sb-8555",
}


def golden_config():
    with GOLDEN.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(json.loads(file.read(length))["__metadata__"]["config"])


CONFIG = golden_config()
FROM_NAME = {"vae": VAE.names.recipe, "vq": FSQ.names.recipe}


def cases(*, accepted):
    return [
        (family, name)
        for family in FROM_NAME
        for name, config in CONFIG["parsed"][family].items()
        if ("error" not in config) == accepted
    ]


@pytest.mark.parametrize(("family", "name"), cases(accepted=True))
def test_a_name_resolves_to_the_values_of_the_released_code(family, name):
    recipe = FROM_NAME[family](name, variant="released")
    assert as_released_config(recipe) == CONFIG["parsed"][family][name]


@pytest.mark.parametrize(("family", "name"), cases(accepted=False))
def test_names_that_the_released_code_refuses_are_refused_unless_only_their_order_is_new(family, name):
    if name in REORDERED_OR_BARE:
        FROM_NAME[family](name)
        return
    with pytest.raises(ValueError, match=r"Did you mean [a-z].*Names are variant-tokens-xy-"):
        FROM_NAME[family](name)


@pytest.mark.parametrize("name", [name for name, spec in CONFIG["vae_spec"].items() if spec])
def test_the_name_alone_says_what_the_released_code_reads(name):
    assert as_released_spec(vae_names.parse(name)) == CONFIG["vae_spec"][name]


counts = st.integers(1, 10**9 - 1)
maybe_counts = st.none() | st.integers(0, 10**9 - 1)
exponents = st.none() | st.integers(0, 99)
mantissas = st.from_regex("[0-9]{0,7}[2-9]|[0-9]{1,7}1|0|", fullmatch=True)
weights = st.decimals(0, 99_999, places=5).map(float)
heads = {
    "variant": st.sampled_from(sorted(EPOCHS)),
    "tokens": counts,
    "encoder": st.sampled_from(SIZE_LETTERS),
    "decoder": st.sampled_from(SIZE_LETTERS),
    "half_depth": st.booleans(),
    "encoder_disposable": st.integers(0, 99),
    "decoder_disposable": st.integers(0, 99),
}
# Fields are drawn and names built in the tests: the run-time type checks around the package's classes use
# `random`, which strategies must not.
vae_fields = st.fixed_dictionaries(
    {
        **heads,
        "latent_dim": counts,
        "no_kl": st.booleans(),
        "kl_mantissa": mantissas,
        "kl_exponent": exponents,
        "anneal_thousands": maybe_counts,
        "free_bits": st.none() | weights,
        "kl_variance_exponent": exponents,
        "tanh": st.booleans(),
        "intermediate_layer": maybe_counts,
        "intermediate_weight": weights,
    }
).map(lambda fields: fields | ({"kl_mantissa": ""} if fields["kl_exponent"] is None else {}))
fsq_fields = st.fixed_dictionaries(
    {
        **heads,
        "levels": st.lists(st.integers(2, 9), min_size=1, max_size=12).map(tuple),
        "nested_dropout": st.booleans(),
    }
)


@given(vae_fields)
def test_parse_undoes_format_of_a_vae_name(fields):
    spec = vae_names.VaeName(**fields)
    assert vae_names.parse(vae_names.format(spec)) == spec


@given(fsq_fields)
def test_parse_undoes_format_of_an_fsq_name(fields):
    spec = fsq_names.FsqName(**fields)
    assert fsq_names.parse(fsq_names.format(spec)) == spec


def shuffled(draw, name, head):
    words = name.split("-")
    return "-".join(words[:head] + draw(st.permutations(words[head:])))


@given(st.data(), vae_fields)
def test_options_of_a_vae_name_have_no_order(data, fields):
    name = vae_names.format(vae_names.VaeName(**fields))
    assert vae_names.format(vae_names.parse(shuffled(data.draw, name, 4))) == name


@given(st.data(), fsq_fields)
def test_options_of_an_fsq_name_have_no_order_and_the_l_may_be_missing(data, fields):
    name = fsq_names.format(fsq_names.FsqName(**fields))
    bare = shuffled(data.draw, name, 4).replace("L", "")
    assert fsq_names.format(fsq_names.parse(bare)) == name


@given(vae_fields)
def test_repeating_an_option_is_refused(fields):
    name = vae_names.format(vae_names.VaeName(**fields | {"tanh": True}))
    with pytest.raises(ValueError, match="given twice"):
        vae_names.parse(name + "-tanh")


@given(st.text(alphabet="fastlong-0123456789bskdhr.L", max_size=40))
def test_any_text_parses_or_is_refused_with_suggestions_that_parse(text):
    try:
        vae_names.parse(text)
    except ValueError as error:
        suggested = str(error).split("Did you mean ")[1].split("?")[0].split(" or ")
        for name in suggested:
            VAE.names.recipe(name) if name in vae_names.STATICS else vae_names.parse(name)


@pytest.mark.parametrize(
    ("option", "weight"),
    [
        ("kl3", 1e-3),
        ("25kl7", 2.5e-7),
        ("375kl6", 3.75e-6),
        ("0kl3", 0.0),
        ("05kl3", 0.5e-3),
        ("nokl-kl3", 0.0),
    ],
)
def test_a_mantissa_has_its_point_after_the_first_digit(option, weight):
    assert vae_names.parse(f"fast-32-sb-128-{option}").kl_weight == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize(
    ("digits", "weight"), [("05", 0.5), ("005", 0.05), ("0.5", 0.5), ("1", 1.0), ("10", 10.0), ("0", 0.0)]
)
def test_leading_zeros_of_the_intermediate_weight_are_decimals(digits, weight):
    assert vae_names.parse(f"fast-32-sb-128-il4-iw{digits}").intermediate_weight == weight


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("fat-32-sb-128", "fast-32-sb-128"),
        ("lon-32-bl-128", "long-32-bl-128"),
        ("FAST-32-sb-128", "fast-32-sb-128"),
        ("fast-32-sb-128-taanh", "fast-32-sb-128-tanh"),
        ("fast-32-sb-128-an5", "fast-32-sb-128-an5k"),
        ("fast-32-sb-128-klv3", "fast-32-sb-128-klvar3"),
        ("fast-32-xb-128", "fast-32-bb-128"),
        ("fast-32-sb", "fast-32-sb-128"),
        ("fast-32-sb-128-er4-er5", "fast-32-sb-128-er4"),
        ("embeded-32-64", "embedded-16-128"),
    ],
)
def test_a_misspelt_name_gets_the_one_that_was_meant(wrong, meant):
    with pytest.raises(ValueError) as refused:
        VAE.names.recipe(wrong)
    assert meant in str(refused.value).split("Did you mean ")[1].split("?")[0].split(" or ")
    assert "\n" not in str(refused.value)


def test_a_name_of_the_other_family_is_sent_there():
    with pytest.raises(ValueError, match=r"experiments/fsq\.py"):
        VAE.names.recipe("fast-32-sb-L8555")
    with pytest.raises(ValueError, match=r"experiments/vae\.py"):
        FSQ.names.recipe("fast-32-sb-128")
    with pytest.raises(ValueError, match=r"experiments/vae\.py"):
        FSQ.names.recipe("fast-32-sb-8555-kl3")


def test_a_name_whose_values_cannot_be_is_refused_with_the_cause():
    with pytest.raises(ValueError, match=r"long-32-bl-128-il20.*layers 0 to 11"):
        VAE.names.recipe("long-32-bl-128-il20")
    with pytest.raises(ValueError, match=r"below 2\^31"):
        FSQ.names.recipe("fast-32-bb-L99999999999")


def test_the_readme_s_name_without_l_is_four_channels():
    recipe = FSQ.names.recipe("fast-32-bb-8555-nd")
    assert recipe.name == "fast-32-bb-L8555-nd"
    assert recipe.bottleneck.levels == (8, 5, 5, 5)
