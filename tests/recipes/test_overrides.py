"""`--set`: any field of any recipe by its path, read strictly, checked by the recipe's own rules, and named."""

import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.cli.command import training_command
from laminate.cli.plan_flags import plan_command
from laminate.recipes.__main__ import main as explain_or_list
from laminate.recipes.checks import folder_name
from laminate.recipes.families import families, find_family, from_json, to_json, to_tree
from laminate.recipes.flatdino.family import VAE
from laminate.recipes.flatdino.presets import embedded_vae, photographs_vae
from laminate.recipes.generator.family import GENERATOR
from laminate.recipes.generator.presets import photographs_dit
from laminate.recipes.image_decoder.family import IMAGE_DECODER
from laminate.recipes.image_decoder.presets import photographs_decoder
from laminate.recipes.latent import TokenizerId
from laminate.recipes.network import patch_teacher
from laminate.recipes.overrides import fields_of, override, require_kept, with_name
from laminate.recipes.resolve import require_asked
from laminate.recipes.serialization import plain

RECIPES = [make() for family in families() for make in family.names.presets.values()]
ALL = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)


@ALL
def test_every_field_is_listed_and_setting_it_to_what_it_is_changes_nothing(recipe):
    fields = fields_of(recipe)
    assert len({field.path for field in fields}) == len(fields) > 20
    for field in fields:
        assert field.kind and override(recipe, [f"{field.path}={field.text}"]) == recipe


@ALL
def test_every_leaf_of_the_recipe_is_a_path_and_the_json_says_no_others(recipe):
    def leaves(tree, prefix=""):
        for name, value in tree.items():
            yield from leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]

    paths = {field.path for field in fields_of(recipe)} | {"name"}
    assert set(leaves(plain(recipe))) == paths
    assert set(leaves(to_tree(recipe))) <= paths | {"family"}


@given(
    peak=st.floats(1e-4, 10.0),
    tokens=st.integers(1, 10**6),
    weight=st.none() | st.floats(0.0, 1e6),
    area=st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 1.0)),
)
def test_what_is_set_is_what_the_recipe_has_and_comes_back_from_json(peak, tokens, weight, area):
    settings = [
        f"schedule.peak={peak!r}",
        f"tokens={tokens}",
        f"bottleneck.kl_weight={'none' if weight is None else repr(weight)}",
        f"augment.crop_area={area[0]!r},{area[1]!r}",
    ]
    made = override(photographs_vae(), settings)
    assert (made.schedule.peak, made.tokens, made.bottleneck.kl_weight) == (peak, tokens, weight)
    assert made.augment.crop_area == area
    assert from_json(to_json(made)) == made
    untouched = {"schedule", "tokens", "bottleneck", "augment", "name"}
    for field in dataclasses.fields(made):
        if field.name not in untouched:
            assert getattr(made, field.name) == getattr(photographs_vae(), field.name)


def test_the_name_says_what_was_set_as_it_was_typed_each_path_once():
    made = override(photographs_vae(), ["schedule.peak=3e-4", "schedule.start=1e-5"])
    assert made.name == "embedded-16-128+schedule.peak=3e-4+schedule.start=1e-5"
    again = override(made, ["schedule.peak=4e-4"])
    assert again.name == "embedded-16-128+schedule.peak=4e-4+schedule.start=1e-5"
    assert override(made, ["schedule.peak=0.0003"]) == made
    assert with_name(photographs_vae(), {"a.b": "x/y z"}).name == "embedded-16-128+a.b=x-y-z"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("shedule.peak=1", "no such field. Did you mean schedule.peak"),
        ("peak=1", "Did you mean schedule.peak"),
        ("schedule=1", "it has parts of its own, set these: schedule.length, schedule.warmup"),
        ("tokens=1.5", "tokens must be int, got float 1.5. It takes a whole number."),
        ("tokens=true", "tokens must be int, got bool true"),
        ("tokens=many", 'tokens must be int, got str "many"'),
        ("tokens=0", "tokens must be at least 1, got 0"),
        ("schedule.peak=nan", "schedule.peak must be float"),
        ("schedule.peak=-1", "schedule.peak must be greater than 0"),
        ("schedule.peak=1e400", "schedule.peak must be a finite number"),
        (f"schedule.peak=1{'0' * 400}", "schedule.peak must be a finite number"),
        ("bottleneck.initial_logvar=-1e999", "bottleneck.initial_logvar must be a finite number"),
        ("optimizer.kind=sgd", "must be one of adamw, muon, schedule-free; got 'sgd'"),
        ("augment.crop_area=0.5", "augment.crop_area must hold 2 values, got 1"),
        ("encoder.heads=5", "transformer.heads must divide dim, got 5 heads for dim 128"),
        ("bottleneck.kind=vq", "bottleneck.kind must be one of gaussian, fsq; got 'vq'"),
        ("bottleneck.kind=fsq", "--set bottleneck.kind=fsq: it needs bottleneck.levels as well. Add --set"),
        ("bottleneck.latent_dim=3", "Did you mean bottleneck.features"),
        ("latent_dim=3", "Did you mean bottleneck.features"),
        ("teacher.weights=abc", "--set teacher.weights: it is found out of the weights of --teacher"),
        ("tokens", "write PATH=VALUE"),
        ("=3", "write PATH=VALUE"),
        ("name=x", "the recipe has no such field"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(setting, expected):
    with pytest.raises(ValueError, match="--set") as caught:
        override(photographs_vae(), [setting])
    assert expected in str(caught.value)


def test_two_values_for_one_field_are_refused():
    with pytest.raises(ValueError, match="--set tokens is given twice: 3 and 4"):
        override(photographs_vae(), ["tokens=3", "tokens=4"])


def test_rules_are_asked_when_everything_is_set():
    """A peak below the old start, and the start below it, in either order."""
    for settings in (["schedule.peak=1e-5", "schedule.start=1e-6", "schedule.final=0"],):
        for order in (settings, settings[::-1]):
            assert override(photographs_vae(), order).schedule.peak == 1e-5
    with pytest.raises(
        ValueError, match=r"--set schedule\.peak=1e-5: schedule\.start must lie in \[0\.0, 1e-05\]"
    ):
        override(photographs_vae(), ["schedule.peak=1e-5"])


def test_a_part_of_another_class_keeps_what_both_have():
    view = override(photographs_vae(), ["augment.view=squash-crop", "augment.flip_rate=0.25"]).augment
    assert (view.view, view.image_size, view.flip_rate, view.resize_ratio) == ("squash-crop", 64, 0.25, 1.5)
    made = override(photographs_vae(), ["bottleneck.kind=fsq", "bottleneck.levels=8,5,5"])
    assert made.bottleneck.levels == (8, 5, 5)
    with pytest.raises(ValueError, match=r"bottleneck\.features: the recipe has no such field"):
        override(photographs_vae(), ["bottleneck.kind=fsq", "bottleneck.features=3"])


def test_a_part_that_may_be_absent_is_left_out_by_none():
    without = override(find_family("ditb-dh").names.recipe("ditb-dh"), ["head=none"])
    assert without.head is None and without.name == "ditb-dh+head=none"
    assert override(without, ["head=none"]) == without
    with pytest.raises(ValueError, match=r"all of that part and --set head\.depth is in it: give one"):
        override(find_family("ditb-dh").names.recipe("ditb-dh"), ["head=none", "head.depth=3"])
    with pytest.raises(ValueError, match="bottleneck: it has parts of its own"):
        override(photographs_vae(), ["bottleneck=none"])


def test_a_list_of_any_length_is_emptied_by_none():
    named = dataclasses.replace(photographs_dit(), class_names=tuple("abcdefghij"))
    assert override(named, ["class_names=none"]).class_names == ()
    assert override(named, ["class_names="]).class_names == ()
    with pytest.raises(ValueError, match="must name at least one level"):
        override(
            find_family("baseline").names.recipe("baseline"),
            ["bottleneck.kind=fsq", "bottleneck.levels=none"],
        )


@pytest.mark.parametrize(
    ("recipe", "setting", "wanted"),
    [
        (photographs_dit(), "time_shift=3", "kappa"),
        (photographs_dit(), "min_one_minus_t=0.2", "floor"),
        (photographs_dit(), "latent_dim=3", "features"),
        (photographs_vae(), "bottleneck.latent_dim=3", "bottleneck.features"),
    ],
)
def test_the_name_of_an_attribute_leads_to_its_path(recipe, setting, wanted):
    with pytest.raises(ValueError, match=f"Did you mean {wanted}[ ?]"):
        override(recipe, [setting])


@pytest.mark.parametrize(
    ("recipe", "setting"),
    [
        (photographs_vae(), "teacher.weights=00"),
        (photographs_decoder(), "perceptual.weights=00"),
        (photographs_decoder(), "adversary.weights=00"),
        (photographs_dit(), 'tokenizer={"name": "x", "sha256": "00"}'),
        (
            dataclasses.replace(photographs_dit(), tokenizer=TokenizerId("mine", "11")),
            "tokenizer.sha256=00",
        ),
    ],
)
def test_what_is_found_out_of_weights_is_not_for_a_user_to_say(recipe, setting):
    with pytest.raises(ValueError, match=r"it is found out of .*, so leave it out\.$"):
        override(recipe, [setting])


@given(count=st.integers(1, 40), seed=st.integers(0, 10**9))
def test_any_number_of_settings_makes_a_name_that_a_folder_can_have_and_no_two_alike(count, seed):
    paths = [field.path for field in fields_of(photographs_vae()) if isinstance(field.value, float)]
    settings = {f"{paths[n % len(paths)]}.of.part.{n}": f"{seed + n}.123456789" for n in range(count)}
    one, other = (
        with_name(photographs_vae(), settings),
        with_name(photographs_vae(), settings | {"last": "1"}),
    )
    for made in (one, other, with_name(one, {"last": "1"})):
        assert len(made.name) <= 160 and made.name.startswith("embedded-16-128+")
        folder_name("name", made.name)
    assert one.name != other.name
    if count > 8:
        assert re.search(r"\+\d+-more-[0-9a-f]{12}$", one.name)


def test_a_part_that_is_absent_is_set_whole():
    head = {**to_tree(photographs_dit())["network"], "depth": 2}
    made = override(photographs_dit(), [f"head={json.dumps(head)}"])
    assert made.head.depth == 2
    deeper = override(photographs_dit(), [f"head={json.dumps({**head, 'depth': 3})}"])
    assert len({made.name, deeper.name, photographs_dit().name}) == 3
    assert made.name.startswith("photographs-dit+head=") and len(made.name) < 60


@pytest.mark.parametrize(("one", "other"), [("-4", "4"), ("1e+1", "1e-1"), ("-0.5", "0.5")])
def test_values_that_differ_in_a_sign_have_two_names(one, other):
    names = {override(photographs_vae(), [f"bottleneck.initial_logvar={v}"]).name for v in (one, other)}
    assert len(names) == 2


def test_what_data_or_a_tokenizer_decided_otherwise_is_refused():
    require_kept(["tokens=16", "schedule.peak=7"], override(photographs_dit(), ["schedule.peak=7"]))
    with pytest.raises(ValueError, match="--set tokens=24: it becomes 16, which the tokenizer"):
        require_kept(["tokens=24"], photographs_dit())


def resolved(*arguments):
    named = () if "--experiment" in arguments else ("--experiment", "embedded-16-128")
    return training_command(None, VAE, arguments=[*named, *arguments])[1]


def test_the_most_wanted_fields_have_flags_of_their_own():
    recipe = resolved("--lr", "5e-3", "--batch-size", "48", "--image-size", "32", "--tokens", "5")
    schedule, before = recipe.schedule, photographs_vae().schedule
    assert (schedule.peak, recipe.global_batch_size, recipe.tokens) == (5e-3, 48, 5)
    assert schedule.start / schedule.peak == pytest.approx(before.start / before.peak)
    assert (recipe.augment.image_size, recipe.teacher.image_size, recipe.teacher.patch_size) == (32, 32, 16)
    assert recipe.name == "embedded-16-128+lr=0.005+image_size=32+tokens=5"
    assert resolved("--global-batch-size", "48") == resolved("--batch-size", "48")


def test_at_another_size_pixels_take_the_place_of_a_network_that_knows_but_its_own():
    recipe = training_command(None, VAE, arguments=["--image-size", "128"])[1]
    assert recipe.teacher == patch_teacher(128, 16) and recipe.augment.image_size == 128
    assert training_command(None, VAE, arguments=["--image-size", "64"])[1] == embedded_vae()


@pytest.mark.parametrize(
    ("flag", "path", "value"),
    [
        ("--lr", "schedule.peak", "7e-3"),
        ("--tokens", "tokens", "8"),
        ("--image-size", "augment.image_size", "32"),
        ("--batch-size", "global_batch_size", "16"),
        ("--steps", "schedule.length", "40"),
    ],
)
def test_a_field_that_is_set_by_its_flag_and_by_its_path_is_refused(flag, path, value, capsys):
    with pytest.raises(SystemExit) as caught:
        resolved(flag, value, "--set", f"{path}={value}")
    assert caught.value.code == 2
    named = "--global-batch-size" if flag == "--batch-size" else flag
    assert f"{named} and --set {path} say the same: give one of them." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("family", "arguments", "expected"),
    [
        (VAE, ("--image-size", "33"), "--image-size 33: "),
        (VAE, ("--lr", "1e-9", "--set", "schedule.start=1"), "--set schedule.start=1: "),
        (GENERATOR, ("--tokens", "0"), "--tokens must be at least 1, got 0"),
        (IMAGE_DECODER, ("--image-size", "33"), "--image-size 33: "),
    ],
)
def test_a_flag_is_refused_by_its_own_name(family, arguments, expected, capsys):
    with pytest.raises(SystemExit):
        training_command(None, family, arguments=list(arguments))
    assert expected in capsys.readouterr().err


def test_what_a_flag_asked_for_and_a_tokenizer_decided_otherwise_is_refused_by_the_flags_name():
    flags = GENERATOR.flags(tokens=24)
    with pytest.raises(ValueError, match="--tokens 24: it becomes 16, which the tokenizer"):
        require_asked(flags, photographs_dit())
    with pytest.raises(ValueError, match="--image-size 32: it becomes 64, which the tokenizer"):
        require_asked(GENERATOR.flags(image_size=32), photographs_dit())


def test_what_stays_as_it_was_does_not_enter_the_name():
    before = photographs_vae()
    peak = f"{before.schedule.peak:g}"
    assert resolved("--lr", peak, "--tokens", "16", "--image-size", "64") == before
    assert resolved("--set", f"schedule.peak={peak}", "--set", "bottleneck.kind=gaussian") == before
    changed = resolved("--lr", peak, "--tokens", "8", "--set", f"optimizer.kind={before.optimizer.kind}")
    assert changed.name == "embedded-16-128+tokens=8"


def test_set_has_the_last_word_over_a_variant_and_another_familys_recipe_is_refused(capsys):
    assert resolved("--variant", "released", "--set", "reconstruction=mse").reconstruction == "mse"
    with pytest.raises(SystemExit) as caught:
        resolved("--set", "bottleneck.kind=fsq", "--set", "bottleneck.levels=5,5")
    assert caught.value.code == 2
    assert "is of another experiment than vae.py: experiments/fsq.py trains it" in capsys.readouterr().err


def test_help_shows_the_values_with_what_is_set_beside_it(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    settings = ("--set", "help", "--set", "bottleneck.kind=fsq", "--set", "bottleneck.levels=7,5,3")
    monkeypatch.setattr("sys.argv", ["laminate.recipes", "explain", "embedded-16-128", *settings])
    explain_or_list()
    assert "7,5,3" in capsys.readouterr().out
    for command in (resolved, lambda *given: plan_command(None, list(given))):
        with pytest.raises(SystemExit) as caught:
            command("--set", "tokens=23", "--set", "help", "--lr", "0.0123")
        assert caught.value.code == 0
        said = capsys.readouterr().out
        assert "23" in said and "0.0123" in said
    with pytest.raises(SystemExit) as caught:
        resolved("--set", "help", "--set", "tokenz=3")
    assert caught.value.code == 2 and "Did you mean tokens" in capsys.readouterr().err


def test_explaining_another_familys_recipe_is_refused_as_training_it_is(capsys, monkeypatch):
    settings = ("--set", "bottleneck.kind=fsq", "--set", "bottleneck.levels=5,5")
    monkeypatch.setattr("sys.argv", ["laminate.recipes", "explain", "embedded-16-128", *settings])
    with pytest.raises(SystemExit) as caught:
        explain_or_list()
    assert caught.value.code == 2
    assert "is of another experiment than vae.py: experiments/fsq.py trains it" in capsys.readouterr().err


def test_help_lists_paths_types_and_present_values(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit) as caught:
        resolved("--experiment", "long-32-bl-128", "--set", "help")
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for words in (
        "schedule.peak",
        "a number",
        "bottleneck.kind",
        "gaussian | fsq",
        "crop | squash",
        "0.0001",
    ):
        assert words in said
