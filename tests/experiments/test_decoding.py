"""The image decoder's experiment: two players in one state, on any mesh, resumed bit for bit; refused with a reason."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.recipes.command_line import decoder_command
from laminate.recipes.decoder import for_tokenizer
from laminate.recipes.encode_flags import EncodeFlags
from laminate.recipes.experiments import image_decoder
from laminate.recipes.generator import TokenizerId
from laminate.recipes.json_text import to_tree
from laminate.recipes.latents import load_tokenizer
from laminate.recipes.sharing import load_pretrained
from tests.experiments.jobs import (
    TINY,
    TINY_DECODER,
    TINY_FSQ,
    Job,
    experiment,
    fingerprints,
    metrics,
    one_line,
    write_generator,
    write_tokenizer,
)

SEEN = (
    "loss",
    "reconstruction_loss",
    "perceptual_loss",
    "adversarial_loss",
    "adversarial_weight",
    "discriminator_loss",
    "logits_gap",
    "grad_norm",
    "discriminator_grad_norm",
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "saved")


@pytest.fixture
def job(tmp_path, photos, tokenizer) -> Job:
    return Job(tmp_path, photos, "decoder", tokenizer)


def test_a_training_leaves_both_players_in_a_checkpoint_and_weights_pictures_and_a_report(job, capsys):
    job.main()
    last = capsys.readouterr().err.splitlines()[-1]
    expected = "adversary.png, curves.png, reconstructions.png"
    assert last == f"report: {job.run}/report.html (with {expected})"
    shared = load_pretrained(job.run)
    written = json.loads((job.run / "recipe.json").read_text())
    assert to_tree(shared.recipe).items() <= written.items()
    assert (shared.recipe.tokens, shared.recipe.features, written["tokenizer"]["name"]) == (3, 6, "tiny")
    assert shared.model(jnp.zeros((3, 6))).shape == (16, 16, 3)
    lines = metrics(job.run)
    validated = [line for line in lines if "val/loss" in line]
    assert [line["step"] for line in validated] == [3, 6]
    assert {"val/psnr", "val/ssim", "val/l1", "val/perceptual", "val/sharpness"} <= set(validated[0])
    assert all(np.isfinite(value) for line in lines for value in line.values())
    assert job.losses(name="discriminator_loss")[1] == job.losses(name="adversarial_weight")[1] == 0.0
    assert all(job.losses(name=name)[step] != 0.0 for name in SEEN for step in range(2, 7))
    kept = fingerprints(job.run, 6)
    for part in (".params", ".opt_state", ".ema", ".step"):
        for player in ("", ".discriminator"):
            assert any(name.startswith(player + part) for name in kept), (player, part, list(kept))
    vectors = [name for name in kept if name.startswith(".discriminator.buffers")]
    assert len(vectors) == 3 * 4, vectors  # one for each convolution of the heads on four maps


def begun(recipe=TINY_DECODER, **starts):
    """`recipe` whose adversary begins at other steps."""
    return dataclasses.replace(recipe, adversary=dataclasses.replace(recipe.adversary, **starts))


def test_losses_and_the_balance_are_those_of_one_device_on_any_mesh_and_in_parts(job, tmp_path):
    recipe = begun(discriminator_start=0, adversarial_start=0)
    for name, arguments in {"one": (), "many": ("--mesh", "2x2", "--device-batch-size", "1")}.items():
        job.main(*arguments, "--stop-after", "3", recipe=recipe, run=tmp_path / name)
    for name in SEEN:
        one, many = (job.losses(tmp_path / run, name) for run in ("one", "many"))
        assert list(one) == [1, 2, 3] and all(one.values())
        assert many == pytest.approx(one, rel=1e-4, abs=1e-6), name


def test_a_resumed_training_is_an_uninterrupted_one_bit_for_bit_for_both_players(job, tmp_path):
    job.main("--stop-after", "4", run=tmp_path / "whole")
    for step in ("2", "4"):  # the adversary acts from the second on
        job.main("--stop-after", step, run=tmp_path / "parts")
    whole, parts = (fingerprints(tmp_path / name, 4) for name in ("whole", "parts"))
    assert any(".discriminator.opt_state" in name for name in whole)
    assert any(".discriminator.buffers" in name for name in whole)
    assert parts == whole
    for name in SEEN:
        assert job.losses(tmp_path / "parts", name) == job.losses(tmp_path / "whole", name)


def test_without_an_adversary_the_plain_step_trains_it(job):
    job.main("--adversary", "none", "--stop-after", "1")
    lines = [line for line in metrics(job.run) if "train/loss" in line]
    assert all(line["train/loss"] > 0 and "train/discriminator_loss" not in line for line in lines)


def test_a_discriminator_that_diverges_is_named_with_the_last_good_checkpoint(job, capsys):
    schedule = dataclasses.replace(TINY_DECODER.schedule, warmup=3, decay=0, start=1e-5)
    recipe = begun(
        dataclasses.replace(TINY_DECODER, schedule=schedule),
        discriminator_start=0,
        adversarial_start=5,
        peak=1e30,
    )
    with pytest.raises(SystemExit) as caught:
        job.main("--checkpoint-every", "2", recipe=recipe)
    assert caught.value.code == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("decoder.py: train/discriminator_") and "not finite at step" in line
    assert f"The last good checkpoint is {job.run}/checkpoints/2." in line


# Refusals


@pytest.fixture
def refused(job, capsys):
    """The one line with which the experiment ends before anything is started."""

    def line(*arguments, recipe=None):
        with pytest.raises(SystemExit) as caught:
            job.main(*arguments, recipe=recipe)
        assert caught.value.code == 2
        assert not job.run.exists()
        return one_line(capsys.readouterr().err)

    return line


def test_another_tokenizer_than_the_one_it_was_trained_on_is_refused(refused, tmp_path, tokenizer):
    trained = for_tokenizer(TINY_DECODER, TINY, TokenizerId("before", "0123456789abcdef"))
    said = refused(recipe=trained)
    assert said.startswith(
        "decoder.py: The decoder 'tiny-decoder' belongs to the tokenizer before with the hash 0123456789ab, and this "
        "one is tiny with "
    )
    assert said.endswith("Give that tokenizer, or train a decoder on this one.")
    generator = write_generator(tmp_path / "generator", tokenizer)
    assert "no tokenizer: give the run of vae.py" in refused("--tokenizer", str(generator))


def test_latents_of_whole_numbers_are_read_without_the_noise_that_they_have_not(tmp_path):
    fsq = load_tokenizer(write_tokenizer(tmp_path / "fsq", recipe=TINY_FSQ), codes=True)
    recipe = for_tokenizer(TINY_DECODER, fsq.recipe, fsq.identity)
    decoder = experiment("decoder")
    frozen, reading = decoder.make_frozen(recipe, tokenizer=fsq), decoder.make_reading(recipe, jnp.float32)
    example = {"image": jnp.zeros((16, 16, 3), jnp.uint8)}
    read = jax.eval_shape(
        lambda e, k: reading.prepared(frozen, e, key=k, fresh=False), example, jax.random.key(0)
    )
    assert recipe.noise.kind == "none" and read.latents.shape == read.clean.shape == (3, 3)


def test_what_does_not_fit_is_refused_before_anything_is_started(refused, photos, tmp_path, capsys):
    recipe = dataclasses.replace(
        TINY_DECODER, patch_size=5, augment=dataclasses.replace(TINY_DECODER.augment, image_size=20)
    )
    assert "An image of 16 pixels is no whole number of patches of 5" in refused(recipe=recipe)
    wide = dataclasses.replace(TINY_DECODER.adversary, window=5)
    assert "adversary.window 5 must divide the image's 16 pixels" in refused(
        recipe=dataclasses.replace(TINY_DECODER, adversary=wide)
    )
    features = tmp_path / "features"
    settings = {"mesh": "1", "host_batch_size": 7, "data_workers": 1}
    experiment("encode").main(EncodeFlags(out=features, data=str(photos), teacher="patches-16-4", **settings))
    capsys.readouterr()
    assert "an image decoder is compared with images: give the images" in refused("--data", str(features))
    absent = refused("--perceptual", "lpips", "--lpips", str(tmp_path / "absent"))
    assert "There is no file or folder" in absent


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--experiment", "vit-m"], "Unknown decoder experiment 'vit-m'. Names are vit-{s|b|l|xl}"),
        (
            ["--experiment", "vit-s"],
            "vit-s compares images by LPIPS, whose weights are not there: give --lpips",
        ),
        (
            ["--experiment", "embedded-decoder", "--lpips", "x"],
            "compares images by pyramid; add --perceptual lpips",
        ),
        (["--experiment", "rae-b", "--tokenizer", "x", "--lpips", "y"], "reads features and no latents"),
        (["--experiment", "vit-s", "--lpips", "x", "--teacher", "dinov2-b"], "give it a --tokenizer"),
        (["--best-by", "rfid"], "--best-by rfid needs the weights of Inception-v3: give --inception"),
        (["--adversary-backbone", "x"], "the adversary is windows; add --adversary dino"),
    ],
)
def test_flags_that_mean_nothing_are_refused(job, capsys, arguments, expected):
    given = arguments if "--experiment" in arguments else job.arguments(*arguments)
    with pytest.raises(SystemExit) as caught:
        decoder_command(None, image_decoder, default="embedded-decoder", arguments=given)
    assert caught.value.code == 2
    assert expected in " ".join(capsys.readouterr().err.split())


def test_a_player_that_would_begin_after_the_end_is_refused(job, capsys):
    tree = to_tree(TINY_DECODER)
    tree["adversary"]["adversarial_start"] = 6
    (job.folder / "late.json").write_text(json.dumps(tree))
    with pytest.raises(SystemExit) as caught:
        job.command("--recipe", str(job.folder / "late.json"))
    assert caught.value.code == 2
    said = one_line(capsys.readouterr().err)
    assert "adversary.adversarial_start is 6, and the training ends after 6 steps: begin earlier" in said
