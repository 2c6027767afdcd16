"""From published weights to a tokenizer and its pixels: fetched, run inside the step, encoded, trained on, decoded."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import laminate
from laminate.cli.encode_flags import EncodeFlags
from laminate.data.prepared import read_prepared
from laminate.recipes.augment import SquashConfig
from laminate.recipes.families import from_json
from laminate.tokenizers import rae
from tests.experiments.jobs import TINY, experiment
from tests.pretrained import checkpoints
from tests.pretrained.hub_server import serve, sharded

STILL = dataclasses.replace(TINY, name="still", augment=SquashConfig(TINY.augment.image_size))


def encode(out, photos, **flags):
    settings = {"data": str(photos), "mesh": "2", "host_batch_size": 7, "shard_images": 10, "data_workers": 1}
    experiment("encode").main(EncodeFlags(out=out, **{**settings, **flags}))
    return out


def test_published_weights_are_fetched_taught_from_encoded_trained_on_decoded_and_shared(
    job, photos, tmp_path, monkeypatch, capsys
):
    weights = checkpoints.dinov2_weights()
    decoder = checkpoints.write(tmp_path / "decoder", checkpoints.decoder_weights(), checkpoints.DECODER)
    with serve(monkeypatch, tmp_path) as hub:
        hub.files = {("tiny/dinov2", name): data for name, data in sharded(weights, 2).items()}
        hub.files["tiny/dinov2", "config.json"] = json.dumps(checkpoints.DINOV2).encode()
        named = ("--teacher", "tiny/dinov2", "--pixel-decoder", str(decoder), "--steps", "20")
        job.main(*named, "--mesh", "2x2", recipe=STILL)
        features = encode(tmp_path / "features", photos, teacher="tiny/dinov2")
    teacher = from_json((job.run / "recipe.json").read_text()).teacher
    assert (teacher.patches, teacher.dim, teacher.depth, teacher.family) == (16, 12, 2, "dinov2")
    assert read_prepared(features).arrays.made_by["teacher"]["weights"] == teacher.weights != ""

    # From the records, without the teacher, the losses are the same.
    again = tmp_path / "again"
    job.main("--data", str(features), "--steps", "20", recipe=STILL, run=again)
    assert list(job.losses()) == list(range(1, 21))
    assert job.losses(again) == pytest.approx(job.losses(), rel=2e-5)
    assert "features 16x12 in float32: train 22, validation 2" in capsys.readouterr().err

    # To pixels, and elsewhere.
    folder = checkpoints.write(tmp_path / "snapshot", weights, checkpoints.DINOV2)
    autoencoder = rae.load(encoder=folder, decoder=decoder)
    tokenizer = laminate.from_pretrained(again).model
    moved = shutil.move(again / "tokenizer", tmp_path / "elsewhere")

    @jax.jit
    def rebuild(autoencoder, tokenizer, image):
        latents = tokenizer.encode(autoencoder.encoder(image))
        return latents, autoencoder.pixels(tokenizer.decode(latents))

    image = jax.nn.sigmoid(jnp.asarray(np.random.default_rng(0).normal(size=(20, 18, 3)), jnp.float32))
    here, there = (
        rebuild(autoencoder, one, image) for one in (tokenizer, laminate.from_pretrained(moved).model)
    )
    assert here[0].shape == (3, 6) and here[1].shape == (8, 8, 3)
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a, b)
