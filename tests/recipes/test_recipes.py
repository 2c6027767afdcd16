"""The recipes: the paper's numbers, checks of every field, the JSON round trip."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.recipes.augment import RandomResizedCropConfig
from laminate.recipes.bottleneck import FsqBottleneck, GaussianBottleneck, normalised_kl_weight
from laminate.recipes.families import from_json, to_json, to_tree
from laminate.recipes.flatdino.family import FSQ, VAE
from laminate.recipes.flatdino.presets import FSQ_PRESETS, VAE_PRESETS, photographs_fsq, photographs_vae
from laminate.recipes.flatdino.recipe import released
from laminate.recipes.generator.family import GENERATOR
from laminate.recipes.image_decoder.family import IMAGE_DECODER
from laminate.recipes.network import TeacherConfig, VitConfig, find_teacher, patch_teacher
from laminate.recipes.sizes import SIZES
from laminate.recipes.training import Optimizer, Schedule
from laminate.train.durable import differences

RECIPES = [
    *(make() for make in VAE_PRESETS.values()),
    *(make() for make in FSQ_PRESETS.values()),
    VAE.names.recipe("med-16-ts-24-hl-25kl7-an5k-fb0.1-klvar3-er4-dr2-tanh-il4-iw05"),
    VAE.names.recipe("long-32-bl-128-nokl", variant="released"),
    FSQ.names.recipe("ext-64-sb-L88865-nd-er1-dr3"),
]
VIT = VitConfig(dim=24, depth=2, heads=3, hidden=40)


@pytest.mark.parametrize(
    ("numbers", "weight"), [(256, 2e-6), (512, 1e-6), (1024, 5e-7), (2048, 2.5e-7), (4096, 1.25e-7)]
)
def test_the_kl_weight_is_table_4_of_the_paper(numbers, weight):
    assert normalised_kl_weight(16, numbers // 16) == pytest.approx(weight, rel=1e-12)


def test_the_paper_s_recipe_is_tables_5_and_6():
    recipe = VAE.names.recipe("long-32-bl-128")
    assert (recipe.encoder.dim, recipe.encoder.depth, recipe.encoder.heads) == (768, 12, 12)
    assert (recipe.decoder.dim, recipe.decoder.depth, recipe.decoder.heads) == (1024, 24, 16)
    assert (recipe.encoder.hidden, recipe.decoder.hidden) == (2048, 2731)
    assert (recipe.encoder.mlp, recipe.encoder.norm) == ("swiglu", "layer")
    assert recipe.optimizer == Optimizer(
        betas=(0.9, 0.999), weight_decay=0.02, clip_norm=10.0, ema_decay=None
    )
    assert (recipe.schedule.length, recipe.schedule.warmup, recipe.schedule.decay) == (150, 5, 22)
    assert (recipe.schedule.start, recipe.schedule.peak, recipe.schedule.final) == (1e-6, 1e-4, 1e-8)
    assert (recipe.schedule.kind, recipe.schedule.decay_shape) == ("wsd", "cosine")
    assert (recipe.global_batch_size, recipe.reconstruction) == (512, "mse")
    assert recipe.bottleneck == GaussianBottleneck(latent_dim=128)
    assert recipe.compression == 48.0


def test_the_released_code_differs_in_loss_decay_and_width_only():
    paper = VAE.names.recipe("long-32-bl-128")
    assert differences(to_tree(paper), to_tree(released(paper)), names=("paper", "released")) == [
        "decoder.hidden: 2731 (paper), 4096 (released)",
        "encoder.hidden: 2048 (paper), 3072 (released)",
        "reconstruction: mse (paper), huber (released)",
        "schedule.decay_shape: cosine (paper), linear (released)",
    ]
    assert released(released(paper)) == released(paper)


def test_without_kl_the_paper_variant_takes_the_mean_and_the_released_code_samples():
    assert VAE.names.recipe("fast-32-sb-128-nokl").bottleneck.deterministic
    assert not VAE.names.recipe("fast-32-sb-128-nokl", variant="released").bottleneck.deterministic


@pytest.mark.parametrize("letter", sorted(SIZES))
def test_a_gated_mlp_of_the_matched_width_has_the_parameters_of_a_plain_one(letter):
    size = SIZES[letter]
    assert abs(3 * size.matched_hidden - 2 * size.hidden) <= 2


@pytest.mark.parametrize(
    ("name", "total", "warmup", "decay", "decay_start"),
    [
        ("fast-32-sb-128", 125113, 12510, 12510, 112603),
        ("med-32-sb-128", 250227, 12510, 37530, 212697),
        ("long-32-sb-128", 375341, 12510, 55044, 320297),
        ("ext-32-sb-128", 750683, 12510, 187650, 563033),
    ],
)
def test_epochs_become_the_steps_of_the_released_code(name, total, warmup, decay, decay_start):
    recipe = VAE.names.recipe(name)
    counts = recipe.schedule.counts(examples=1_281_167, global_batch_size=recipe.global_batch_size)
    assert (counts.total, counts.warmup, counts.decay, counts.decay_start) == (
        total,
        warmup,
        decay,
        decay_start,
    )
    assert counts.per_epoch == 2502
    assert counts.validate_every == 5 * 2502


@given(st.integers(1, 400), st.integers(0, 40), st.integers(0, 40), st.integers(1, 5000))
def test_a_schedule_squeezed_to_steps_keeps_its_shares(length, warmup, decay, steps):
    schedule = Schedule(length=length + warmup + decay, warmup=warmup, decay=decay, validate_every=3)
    squeezed = schedule.in_steps(steps)
    counts = squeezed.counts(examples=10, global_batch_size=64)
    assert counts.total == steps
    assert counts.warmup <= steps * warmup / schedule.length < counts.warmup + 1
    assert counts.decay <= steps * decay / schedule.length < counts.decay + 1
    assert counts.validate_every >= 1


def test_an_epoch_shorter_than_a_batch_is_refused():
    with pytest.raises(ValueError, match="100 images is shorter than one global batch of 512"):
        VAE.names.recipe("fast-32-sb-128").schedule.counts(examples=100, global_batch_size=512)


def test_the_embedded_recipes_compress_at_least_six_times():
    assert photographs_vae().compression >= 6
    assert photographs_fsq().compression >= 6


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_json_gives_back_the_same_recipe(recipe):
    assert from_json(to_json(recipe)) == recipe


@pytest.mark.parametrize("first", RECIPES, ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("second", RECIPES, ids=lambda recipe: recipe.name)
def test_two_recipes_have_no_differences_exactly_if_they_are_equal(first, second):
    assert (differences(to_tree(first), to_tree(second)) == []) == (first == second)


def edited(**changes):
    """The embedded recipe's JSON with dotted fields replaced; a value of `...` removes the field."""
    tree = json.loads(to_json(photographs_vae()))
    for path, value in changes.items():
        *parents, leaf = path.split("__")
        node = tree
        for parent in parents:
            node = node[parent]
        if value is ...:
            del node[leaf]
        else:
            node[leaf] = value
    return json.dumps(tree)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": ...}, r"misses tokens"),
        ({"encoder__depth": ...}, r"misses encoder\.depth"),
        ({"encoder__dept": 3}, r"has unknown encoder\.dept\."),
        ({"encoder__depth": "3"}, r'encoder\.depth must be int, got str "3"'),
        ({"encoder__depth": True}, r"encoder\.depth must be int, got bool true"),
        ({"encoder__mlp": "relu"}, r"encoder\.mlp must be one of swiglu, gelu, gelu-exact; got 'relu'"),
        ({"encoder": None}, r"encoder must be an object, got null"),
        ({"bottleneck__kind": "vq"}, r'bottleneck must say "kind": one of gaussian, fsq; got \'vq\''),
        ({"bottleneck": 3}, r"bottleneck must be an object, got int 3"),
        ({"optimizer__betas": [0.9]}, r"optimizer\.betas must hold 2 values, got 1"),
        ({"optimizer__betas": 0.9}, r"optimizer\.betas must be a list"),
        ({"optimizer__betas": [0.9, "x"]}, r"optimizer\.betas\[1\] must be float"),
        ({"tokens": 0}, r"tokens must be at least 1, got 0"),
        (
            {"family": "gan"},
            r'must say "family": one of flatdino, generator, decoder, masked-autoencoder, vitok, dino-sae, '
            r"autoencoder; got 'gan'",
        ),
    ],
)
def test_wrong_json_is_refused_with_the_field_named(changes, message):
    with pytest.raises(ValueError, match=message):
        from_json(edited(**changes))


def test_text_that_is_no_recipe_is_refused():
    with pytest.raises(ValueError, match="line 1, column 2"):
        from_json("{tokens: 3")
    with pytest.raises(ValueError, match="must be a JSON object"):
        from_json("[1]")


def test_whole_numbers_stand_for_floats_in_json():
    assert from_json(edited(intermediate_weight=2)).intermediate_weight == 2.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: VitConfig(dim=24, depth=2, heads=5, hidden=40),
            "heads must divide dim, got 5 heads for dim 24",
        ),
        (lambda: VitConfig(dim=0, depth=2, heads=1, hidden=40), "dim must be at least 1, got 0"),
        (lambda: replace(VIT, drop_path_rate=1.0), r"drop_path_rate must lie in \[0, 1\)"),
        (lambda: replace(VIT, norm_eps=0.0), "norm_eps must be greater than"),
        (lambda: TeacherConfig("dinov2-b", image_size=224, patches=255, dim=768), "square number, got 255"),
        (lambda: TeacherConfig("dinov2-b", image_size=225, patches=256, dim=768), "multiple of 16"),
        (lambda: TeacherConfig("patches", image_size=64, patches=64, dim=64), "must be 3 x 8²"),
        (lambda: patch_teacher(64, 7), "must divide the image size"),
        (lambda: find_teacher("dino"), "Unknown teacher 'dino'. Known: embedded, patches"),
        (lambda: GaussianBottleneck(latent_dim=0), "features must be at least 1"),
        (lambda: GaussianBottleneck(latent_dim=3, kl_weight=-1.0), "kl_weight must be at least 0"),
        (lambda: FsqBottleneck(levels=()), "at least one level"),
        (lambda: FsqBottleneck(levels=(8, 1)), r"must lie in \[2, 1000\], got 1"),
        (lambda: FsqBottleneck(levels=(8,) * 11), r"below 2\^31, got 8589934592 from 11 levels"),
        (lambda: RandomResizedCropConfig(crop_area=(0.5, 1.5)), r"crop_area\[1\]"),
        (lambda: RandomResizedCropConfig(crop_ratio=(2.0, 1.0)), r"crop_ratio\[1\]"),
        (lambda: RandomResizedCropConfig(flip_rate=2.0), "flip_rate"),
        (lambda: Schedule(length=10, warmup=6, decay=5, validate_every=1), r"6 \+ 5 > 10 epochs"),
        (
            lambda: Schedule(length=10, warmup=1, decay=5, validate_every=0),
            "validate_every must be at least 1",
        ),
        (lambda: Schedule(length=9, warmup=1, decay=5, validate_every=1, final=1.0), "final must lie in"),
        (lambda: Optimizer(betas=(0.9, 1.0)), r"betas must lie in \[0, 1\)"),
        (lambda: Optimizer(clip_norm=0.0), "clip_norm must be greater than"),
        (lambda: Optimizer(ema_decay=1.0), "ema_decay must lie in"),
        (lambda: replace(photographs_vae(), tokens=0), "tokens must be at least 1"),
        (lambda: replace(photographs_vae(), global_batch_size=0), "global_batch_size must be at least 1"),
        (lambda: replace(photographs_vae(), name="a/b"), "name must be letters"),
        (lambda: replace(photographs_vae(), intermediate_layer=0), "teacher 'patches' has no layers"),
        (lambda: replace(FSQ.names.recipe("baseline"), intermediate_layer=3), "belongs to the Gaussian"),
    ],
)
def test_impossible_values_are_refused_with_the_field_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_teachers_are_found_by_name():
    dinov2 = TeacherConfig("dinov2-b", image_size=224, patches=256, dim=768, depth=12, family="dinov2")
    assert find_teacher("dinov2-b") == dinov2
    assert find_teacher("dinov2-b", image_size=448).patches == 1024
    assert find_teacher("patches") == patch_teacher(64, 8)
    assert find_teacher("patches-32-4") == TeacherConfig("patches", image_size=32, patches=64, dim=48)


@pytest.mark.parametrize(
    "recipe",
    [
        VAE.names.recipe("embedded-16-128"),
        GENERATOR.names.recipe("embedded-dit"),
        GENERATOR.names.recipe("ditxl"),
    ],
)
@given(steps=st.integers(1, 100_000))
def test_a_shorter_training_averages_over_fewer_steps(recipe, steps):
    """What the initial weights are of the average at the end: at most what they are after the full length."""
    before, now = recipe.optimizer.ema_decay, recipe.in_steps(steps).optimizer.ema_decay
    assert 0.0 <= now <= before
    if recipe.schedule.unit == "epochs":
        assert now**steps <= np.exp(-9.99) or now == before
        assert now == before or now**steps == pytest.approx(np.exp(-10.0))
        return
    length = recipe.schedule.length
    assert now**steps == pytest.approx(before**length, rel=1e-6) if steps < length else now == before


def test_the_average_of_a_short_run_of_a_long_recipe_is_not_of_its_initial_weights():
    recipe = GENERATOR.names.recipe("ditxl")
    assert recipe.optimizer.ema_decay**1000 == pytest.approx(
        0.6065, abs=1e-3
    )  # untouched: 61 % of the average
    assert recipe.in_steps(1000).optimizer.ema_decay ** 1000 < 1e-4
    assert recipe.in_steps(10**6).optimizer == recipe.optimizer
    decoder = IMAGE_DECODER.names.recipe("vit-s")
    averaged = replace(decoder.adversary.optimizer, ema_decay=0.999)
    both = replace(decoder, adversary=replace(decoder.adversary, optimizer=averaged)).in_steps(1600)
    for one in (both.optimizer, both.adversary.optimizer):
        assert one.ema_decay == pytest.approx(np.exp(-10 / 1600))
    plain = replace(recipe, optimizer=replace(recipe.optimizer, ema_decay=None))
    assert plain.in_steps(10).optimizer.ema_decay is None


def test_a_recipe_from_before_several_codebooks_has_one_and_is_written_as_it_was():
    one = FSQ.names.recipe("fast-32-bb-8555")
    assert '"codebooks"' not in to_json(one) and from_json(to_json(one)).bottleneck.codebooks == 1
    several = replace(one, bottleneck=replace(one.bottleneck, codebooks=3))
    assert '"codebooks": 3' in to_json(several) and several.bottleneck.width == 12
    assert several.bottleneck.bits(7) == pytest.approx(3 * one.bottleneck.bits(7))
