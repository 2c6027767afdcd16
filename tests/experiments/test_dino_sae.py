"""DINO-SAE's experiment: stages that follow each other, parts that stay as they are, any mesh, resumed bit for bit."""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import laminate
from laminate.cli.command import training_command
from laminate.recipes.dino_sae.family import DINO_SAE
from laminate.recipes.dino_sae.recipe import LatentNoise, require_former
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.train.export import named_weights
from tests.experiments.jobs import (
    RECIPES,
    TINY_SAE,
    TINY_SAE_2,
    Job,
    experiment,
    fingerprints,
    metrics,
    one_line,
    write_teacher,
)

F32 = jnp.dtype(jnp.float32)
SEEN = ("loss", "recon_loss", "perceptual_loss", "alignment_loss", "grad_norm")
SEEN_2 = (
    *("loss", "recon_loss", "perceptual_loss", "adversarial_loss", "discriminator_loss"),
    *("grad_norm", "discriminator_grad_norm"),
)
WHOLE = ("--checkpoint-every", "5")


@pytest.fixture(scope="module")
def frozen(tmp_path_factory) -> str:
    return str(write_teacher(tmp_path_factory.mktemp("frozen") / "saved"))


def on(frozen: str, recipe):
    return dataclasses.replace(recipe, teacher=dataclasses.replace(recipe.teacher, name=frozen))


@pytest.fixture
def job(tmp_path, photos) -> Job:
    return Job(tmp_path, photos, "dino_sae")


@pytest.fixture(scope="module")
def first(tmp_path_factory, photos, frozen) -> Job:
    """The first stage on one device, from beginning to end."""
    job = Job(tmp_path_factory.mktemp("first"), photos, "dino_sae")
    job.main(*WHOLE, recipe=on(frozen, TINY_SAE))
    return job


@pytest.fixture(scope="module")
def second(tmp_path_factory, photos, frozen, first) -> Job:
    """The second stage, from the first."""
    job = Job(tmp_path_factory.mktemp("second"), photos, "dino_sae")
    job.main("--init-from", str(first.run), *WHOLE, recipe=on(frozen, TINY_SAE_2))
    return job


def test_a_stage_leaves_a_tokenizer_pictures_and_a_report(first):
    assert {"report.html", "curves.png", "reconstructions.png", "tokenizer"} <= set(os.listdir(first.run))
    validated = [line for line in metrics(first.run) if "val/loss" in line]
    assert [line["step"] for line in validated] == [3, 6]
    assert {"val/psnr", "val/alignment", "val/perceptual"} <= set(validated[0])
    for name in SEEN:
        assert list(first.losses(name=name)) == [1, 2, 3, 4, 5, 6]


def test_its_tokenizer_is_one_for_everybody(second):
    loaded = load_tokenizer(second.run)
    assert (loaded.latent.tokens, loaded.latent.latent_dim, loaded.latent.normalised) == (16, 16, False)
    assert (loaded.latent.grid, loaded.latent.token_norm) == ((4, 4), 4.0)
    tokenizer = laminate.from_pretrained(second.run)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    tokens = tokenizer.encode_image(image)
    assert tokens.shape == (16, 16) and tokens.dtype == jnp.float32
    assert tokenizer.decode_image(tokens).size == (16, 16)


def test_a_generator_draws_its_tokens(second, photos, tmp_path, capsys):
    job = Job(tmp_path, photos, "generator", second.run)
    job.main(recipe=RECIPES["generator"])
    assert "samples: decoded by tiny-sae-2 itself\n" in capsys.readouterr().err


def test_what_a_stage_does_not_train_stays_bit_for_bit(first, second):
    before, after = (named_weights(load_tokenizer(job.run).model) for job in (first, second))
    assert before.keys() == after.keys()
    for name, leaf in before.items():
        same = np.array_equal(leaf, after[name])
        assert same == name.startswith("stem."), name
    kept = fingerprints(second.run, 6)
    assert not [name for name in kept if name.startswith((".opt_state", ".ema")) and "stem" in name]
    fresh = named_weights(experiment("dino_sae").stem_and_decoder(TINY_SAE, key=jax.random.key(0)))
    assert any(not np.array_equal(fresh[name], leaf) for name, leaf in before.items() if "stem" in name)


@pytest.mark.parametrize("stage", [1, 2])
def test_a_resumed_stage_is_an_uninterrupted_one_bit_for_bit(job, frozen, first, second, stage):
    whole, recipe, begin, seen = (
        (first, TINY_SAE, (), SEEN)
        if stage == 1
        else (second, TINY_SAE_2, ("--init-from", str(first.run)), SEEN_2)
    )
    for step in ("3", "5"):
        job.main("--stop-after", step, *begin, recipe=on(frozen, recipe))
    assert fingerprints(job.run, 5) == fingerprints(whole.run, 5)
    for name in seen:
        expected = whole.losses(name=name)
        assert job.losses(name=name) == {step: expected[step] for step in range(1, 6)}


@pytest.mark.parametrize(
    ("stage", "mesh", "parts"), [(1, "4x1", ()), (1, "1x4", ()), (2, "2x2", ("--device-batch-size", "1"))]
)
def test_losses_are_those_of_one_device_on_any_mesh_and_in_parts(
    job, frozen, first, second, stage, mesh, parts
):
    whole, recipe, seen = ((first, TINY_SAE, SEEN), (second, TINY_SAE_2, SEEN_2))[stage - 1]
    begin = () if stage == 1 else ("--init-from", str(first.run))
    job.main("--mesh", mesh, *parts, "--stop-after", "2", *begin, recipe=on(frozen, recipe))
    for name in seen:
        one, many = whole.losses(name=name), job.losses(name=name)
        assert many == pytest.approx({step: one[step] for step in (1, 2)}, rel=5e-5, abs=1e-6), name


def test_the_stages_of_a_schedule_follow_each_other_into_one_folder(
    job, frozen, first, second, monkeypatch, capsys
):
    recipes = {"tiny-sae": on(frozen, TINY_SAE), "tiny-sae-2": on(frozen, TINY_SAE_2)}
    monkeypatch.setattr("laminate.recipes.dino_sae.chain.LAST", {"embedded": "tiny-sae-2"})
    presets = {name: lambda one=one: one for name, one in recipes.items()}
    for module in ("chain", "presets"):
        monkeypatch.setattr(f"laminate.recipes.dino_sae.{module}.PRESETS", presets)
    chain = experiment("dino_sae")
    monkeypatch.setattr(chain, "resolve_recipe", lambda flags, family: recipes[flags.experiment])
    arguments = ["--data", str(job.photos), "--run-dir", str(job.run), "--mesh", "1", "--log-every", "1"]

    def run(*more: str) -> None:
        flags, _ = training_command(None, DINO_SAE, arguments=[*arguments, *more, *WHOLE])
        chain.main(flags, recipes["tiny-sae-2"])

    run("--stop-after", "2")
    assert set(os.listdir(job.run)) == {"stage-1"}
    run()
    assert fingerprints(job.run / "stage-1", 6) == fingerprints(first.run, 6)
    assert {"stage-1", "stage-2", "tokenizer", "report.html", "data.json"} == set(os.listdir(job.run))
    assert load_tokenizer(job.run).identity == load_tokenizer(second.run).identity
    capsys.readouterr()
    run()
    assert capsys.readouterr().err.count("complete: all 6 steps are in") == 2


@pytest.fixture
def refused(job, capsys):
    """The one line with which the experiment ends before anything is started."""

    def line(*arguments: str, recipe) -> str:
        with pytest.raises(SystemExit) as caught:
            job.main(*arguments, recipe=recipe)
        assert caught.value.code == 2
        assert not job.run.exists()
        return one_line(capsys.readouterr().err)

    return line


def test_a_stage_without_its_former_one_is_refused_unless_it_is_to_stand_alone(refused, frozen):
    said = refused(recipe=on(frozen, TINY_SAE_2))
    assert said.startswith("dino_sae.py: tiny-sae-2 begins with the weights of tiny-sae: give --init-from")
    assert "--stages" in said and "--alone" in said
    require_former(TINY_SAE_2, None, begins=None, alone=True)


def test_weights_of_another_network_are_refused(refused, frozen, first, tokenizer):
    other = dataclasses.replace(
        TINY_SAE_2, decoder=dataclasses.replace(TINY_SAE_2.decoder, widths=(8, 8, 16))
    )
    said = refused("--init-from", str(first.run), recipe=on(frozen, other))
    assert (
        "tiny-sae and tiny-sae-2 have different networks, decoder ConvDecoderConfig(widths=(4, 8, 16)" in said
    )
    said = refused("--init-from", str(tokenizer), recipe=on(frozen, TINY_SAE_2))
    assert "'tiny' is no stage of DINO-SAE, and tiny-sae-2 begins with one" in said


def noise_of(noise: LatentNoise, *, step: int, key: int = 0, ramp: int = 10):
    recipe = dataclasses.replace(TINY_SAE_2, noise=noise)
    made = experiment("dino_sae").latent_noise(
        recipe, ramp, (512, 16), step=jnp.asarray(step), key=jax.random.key(key)
    )
    return np.asarray(made)


def test_the_noise_grows_as_its_schedule_says_and_every_image_has_a_level_of_its_own():
    growing = LatentNoise(0.8, 1.2, 10)
    at = {step: noise_of(growing, step=step) for step in (0, 5, 10, 70)}
    for step, tau in ((5, 1.0), (10, 1.2), (70, 1.2)):
        np.testing.assert_allclose(at[step], at[0] * tau / 0.8, rtol=1e-5)
    levels = [noise_of(growing, step=0, key=key).std() / 0.8 for key in range(24)]
    assert max(levels) < 1.02 and min(levels) < 0.3 and max(levels) > 0.7
    np.testing.assert_array_equal(noise_of(LatentNoise(0.8, 0.8), step=3, ramp=0), at[0])


def test_a_whole_batch_may_share_its_level():
    shared = LatentNoise(1.0, 1.0, per="batch")
    levels = [noise_of(shared, step=3, key=key).std() for key in range(4)]
    np.testing.assert_allclose(levels, levels[0], rtol=0.05)
    assert abs(noise_of(shared, step=4).std() - levels[0]) > 0.01
