"""The image decoder's experiment: two players in one state, on any mesh, resumed bit for bit; refused with a reason."""

import dataclasses
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.analysis.decoding import summarise_decoding
from laminate.cli.command import training_command
from laminate.cli.encode_flags import EncodeFlags
from laminate.recipes.families import to_tree
from laminate.recipes.flatdino.family import latent_of
from laminate.recipes.image_decoder.family import IMAGE_DECODER
from laminate.recipes.image_decoder.modules import MODULES
from laminate.recipes.image_decoder.recipe import for_tokenizer
from laminate.recipes.latent import TokenizerId
from laminate.recipes.network import PLAIN
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.pretrained import load_pretrained
from laminate.runs.setup import setup
from laminate.train.checkpoint import Checkpoints
from laminate.train.export import named_weights
from laminate.types import split_buffers
from tests.experiments.jobs import (
    TINY,
    TINY_DECODER,
    TINY_FSQ,
    Job,
    experiment,
    fingerprints,
    metrics,
    one_line,
    write_tokenizer,
)

F32 = jnp.dtype(jnp.float32)
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


WHOLE = ("--checkpoint-every", "5")


@pytest.fixture
def job(tmp_path, photos, tokenizer) -> Job:
    return Job(tmp_path, photos, "decoder", tokenizer)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, photos, tokenizer) -> Job:
    """A training on one device, from beginning to end."""
    job = Job(tmp_path_factory.mktemp("finished"), photos, "decoder", tokenizer)
    job.main(*WHOLE)
    return job


def test_a_training_leaves_weights_pictures_and_a_report(finished):
    left = {"report.html", "curves.png", "adversary.png", "reconstructions.png", "training.png"}
    assert left <= set(os.listdir(finished.run))
    report = (finished.run / "report.html").read_text()
    for row in ("by the tokenizer itself", "images that it was trained on", "18 principal components of 22 "):
        assert row in report
    shared = load_pretrained(finished.run)
    written = json.loads((finished.run / "recipe.json").read_text())
    assert to_tree(shared.recipe).items() <= written.items()
    assert (shared.recipe.tokens, shared.recipe.latent_dim, written["tokenizer"]["name"]) == (3, 6, "tiny")
    assert jax.eval_shape(shared.model, jnp.zeros((3, 6))).shape == (16, 16, 3)
    lines = metrics(finished.run)
    validated = [line for line in lines if "val/loss" in line]
    assert [line["step"] for line in validated] == [3, 6]
    assert {"val/psnr", "val/ssim", "val/l1", "val/perceptual", "val/sharpness"} <= set(validated[0])
    assert all(np.isfinite(value) for line in lines for value in line.values())
    for name in SEEN:
        values = finished.losses(name=name)
        assert list(values) == [1, 2, 3, 4, 5, 6] and all(values.values()), name


def test_both_players_are_in_one_checkpoint(finished):
    kept = fingerprints(finished.run, 6)
    for part in (".params", ".opt_state", ".ema", ".step"):
        for player in ("", ".discriminator"):
            assert any(name.startswith(player + part) for name in kept), (player, part)
    vectors = [name for name in kept if name.startswith(".discriminator.buffers") and ".u." in name]
    assert len(vectors) == 3, kept.keys()  # one for each convolution


def test_a_resumed_training_is_an_uninterrupted_one_bit_for_bit_for_both_players(job, finished):
    for step in ("3", "5"):
        job.main("--stop-after", step)
    whole = fingerprints(finished.run, 5)
    assert any(name.startswith(".discriminator.opt_state") for name in whole)
    assert fingerprints(job.run, 5) == whole
    for name in SEEN:
        found, expected = job.losses(name=name), finished.losses(name=name)
        assert found == {step: expected[step] for step in range(1, 6)}


def test_losses_and_the_balance_are_those_of_one_device_on_any_mesh_and_in_parts(job, finished):
    job.main("--mesh", "2x2", "--device-batch-size", "1", "--stop-after", "2")
    for name in SEEN:
        one, many = finished.losses(name=name), job.losses(name=name)
        assert many == pytest.approx({step: one[step] for step in (1, 2)}, rel=2e-5, abs=1e-6), name


def begun(recipe=TINY_DECODER, **changed):
    """`recipe` with another adversary."""
    return dataclasses.replace(recipe, adversary=dataclasses.replace(recipe.adversary, **changed))


def test_a_discriminator_that_diverges_is_named_with_the_last_good_checkpoint(job, capsys):
    recipe = begun(adversarial_start=5, peak=1e30)
    with pytest.raises(SystemExit) as caught:
        job.main("--checkpoint-every", "1", recipe=recipe)
    assert caught.value.code == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("decoder.py: train/discriminator_") and "not finite at step 2" in line
    assert "train/loss" not in line and "train/grad_norm" not in line  # the decoder is well
    assert f"The last good checkpoint is {job.run}/checkpoints/1." in line


def test_without_an_adversary_one_player_is_trained_by_the_plain_step(job, tokenizer):
    _, recipe = job.command("--adversary", "none")
    speaking = load_tokenizer(tokenizer)
    recipe = for_tokenizer(recipe, speaking.latent, speaking.identity)
    frozen = MODULES.frozen(recipe, tokenizer=speaking)
    assert frozen.backbone is None and frozen.perceptual is None
    task = experiment("decoder").make_task(recipe, frozen, PLAIN)
    key, example = jax.random.key(0), {"image": jnp.zeros((16, 16, 3), jnp.uint8)}
    loss, terms = jax.eval_shape(
        lambda example, key: task.objective(
            task.build(key=key), frozen, example, step=jnp.zeros((), jnp.int32), key=key
        ),
        example,
        key,
    )
    assert (loss.shape, loss.dtype, set(terms)) == ((), F32, {"recon_loss", "perceptual_loss"})


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


def test_another_tokenizer_than_the_one_it_was_trained_on_is_refused(refused, finished):
    trained = for_tokenizer(TINY_DECODER, latent_of(TINY), TokenizerId("before", "0123456789abcdef"))
    said = refused(recipe=trained)
    assert said.startswith(
        "decoder.py: The decoder 'tiny-decoder' belongs to the tokenizer before with the hash 0123456789ab, and this "
        "one is tiny with "
    )
    assert said.endswith("Give that tokenizer, or train a decoder on this one.")
    assert "holds what decoder.py trains and no tokenizer: give the run of vae.py" in refused(
        "--tokenizer", str(finished.run)
    )


def test_latents_of_whole_numbers_are_read_without_the_noise_that_they_have_not(tmp_path):
    fsq = load_tokenizer(write_tokenizer(tmp_path / "fsq", recipe=TINY_FSQ), codes=True)
    recipe = for_tokenizer(TINY_DECODER, fsq.latent, fsq.identity)
    frozen, inputs = MODULES.frozen(recipe, tokenizer=fsq), experiment("decoder").make_inputs(recipe, F32)
    example = {"image": jnp.zeros((16, 16, 3), jnp.uint8)}
    read = jax.eval_shape(
        lambda e, k: inputs.prepared(frozen, e, key=k, fresh=False), example, jax.random.key(0)
    )
    assert recipe.noise.kind == "none" and read.inputs.shape == read.clean.shape == (3, 3)


def test_what_does_not_fit_is_refused_before_anything_is_started(refused, photos, tmp_path, capsys):
    recipe = dataclasses.replace(
        TINY_DECODER, patch_size=5, augment=dataclasses.replace(TINY_DECODER.augment, image_size=20)
    )
    assert "An image of 16 pixels is no whole number of patches of 5" in refused(recipe=recipe)
    for changed, expected in (
        ({"kind": "windows", "window": 5}, "adversary.window 5 must divide the image's 16 pixels"),
        ({"layers": 3}, "adversary.layers 3 needs images of 24 pixels or more, and these have 16"),
    ):
        assert expected in refused(recipe=begun(**changed))
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
        (
            ["--experiment", "vit-m"],
            "Unknown decoder experiment 'vit-m'. Did you mean vit-s or vit-l or vit-b? Names are vit-{s|b|l|xl}",
        ),
        (
            ["--experiment", "vit-s"],
            "vit-s compares images by LPIPS, whose weights are not there: give --lpips",
        ),
        (
            ["--experiment", "embedded-decoder", "--lpips", "x"],
            "compares images by embedded; add --perceptual lpips",
        ),
        (["--experiment", "rae-b", "--tokenizer", "x", "--lpips", "y"], "reads features and no latents"),
        (["--experiment", "vit-s", "--lpips", "x", "--teacher", "dinov2-b"], "give it a --tokenizer"),
        (["--best-by", "rfid"], "--best-by rfid needs the weights of Inception-v3: give --inception"),
        (["--adversary-backbone", "x"], "the adversary is patchgan; add --adversary dino"),
    ],
)
def test_flags_that_mean_nothing_are_refused(job, capsys, arguments, expected):
    given = arguments if "--experiment" in arguments else job.arguments(*arguments)
    with pytest.raises(SystemExit) as caught:
        training_command(None, IMAGE_DECODER, arguments=given)
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


def test_best_by_chooses_the_step_that_is_exported(job, finished, monkeypatch):
    """PSNR is made best in the middle, so the average of step 3 goes out; without the flag it is that of the last."""
    figures = iter([30.0, 20.0])
    monkeypatch.setattr(
        experiment("decoder"),
        "summarise_decoding",
        lambda sums: {**summarise_decoding(sums), "val/psnr": next(figures)},
    )
    job.main("--best-by", "psnr", "--keep", "9")

    def exported(run):
        return named_weights(load_pretrained(run).model, buffers=False)

    def averaged(step):
        like = jax.tree.map(jnp.asarray, split_buffers(load_pretrained(job.run).model)[0])
        checkpoints = Checkpoints(job.run / "checkpoints", recipe=None)
        return named_weights(checkpoints.restore(step, like, within=".ema").state)

    for name, leaf in averaged(3).items():
        np.testing.assert_array_equal(exported(job.run)[name], leaf, err_msg=name)
    for name, leaf in averaged(6).items():
        np.testing.assert_array_equal(exported(finished.run)[name], leaf, err_msg=name)
    assert any((averaged(3)[name] != averaged(6)[name]).any() for name in averaged(6))
    config = json.loads((job.run / "decoder" / "config.json").read_text())
    assert config["metrics"]["val/psnr"] == 30.0


def test_batch_norm_and_a_batch_in_parts_are_refused_before_anything_is_written(job):
    recipe = begun(kind="patchgan", patch_norm="batch")
    flags, resolved = job.command("--device-batch-size", "1", recipe=recipe)
    tokenizer = load_tokenizer(flags.tokenizer)
    with pytest.raises(ValueError, match=r"in(to)? \d+ parts.*--set adversary.patch_norm=group"):
        setup(flags, resolved, tokenizer=tokenizer)
    assert not job.run.exists()
