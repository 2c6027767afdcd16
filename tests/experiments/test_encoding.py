"""``experiments/encode.py``: what is in its records, how it is stopped and shared, and what trainings make of them."""

import dataclasses
import json
import shutil
import socket
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import laminate
from laminate.cli.command import flags_command
from laminate.cli.encode_flags import EncodeFlags
from laminate.data.array_schema import ReadArray
from laminate.data.array_writer import STATISTICS, ArrayFolder
from laminate.data.augment import RandomResizedCrop, Squash
from laminate.data.check import check
from laminate.data.evaluation import evaluation_batches
from laminate.data.prepared import read_prepared
from laminate.data.sources import open_records
from laminate.pretrained.patches import Patches
from laminate.pretrained.teachers import load_teacher
from laminate.recipes.augment import SquashConfig
from laminate.recipes.flatdino.modules import flatdino
from laminate.recipes.network import find_teacher
from laminate.runs.setup import setup
from tests.experiments.jobs import ROOT, TINY, experiment, tree, write_photos
from tests.pretrained import checkpoints

RNG = np.random.default_rng(0)


def encode(out, data, **flags):
    settings = {
        "teacher": "patches-16-4",
        "mesh": "2",
        "host_batch_size": 7,
        "shard_images": 10,
        "data_workers": 1,
    }
    experiment("encode").main(EncodeFlags(out=out, data=str(data), **{**settings, **flags}))
    return out


def arrays(folder, split="train"):
    records = open_records(str(folder), split)
    read, field = ReadArray(records.manifest.arrays), records.manifest.field
    return np.stack([read(records[i].image, RNG)[field] for i in range(len(records))])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A folder of a small random DINOv2."""
    folder = tmp_path_factory.mktemp("weights") / "dinov2"
    return checkpoints.write(folder, checkpoints.dinov2_weights(), checkpoints.DINOV2)


@pytest.fixture(scope="module")
def features(teacher, photos, tmp_path_factory):
    """Its features of the pictures, with those of its last layer."""
    return encode(tmp_path_factory.mktemp("encoded") / "features", photos, teacher=str(teacher), layer=1)


def with_teacher(folder, **changed):
    """The tiny recipe on that teacher, whose views are not random."""
    augment = SquashConfig(TINY.augment.image_size)
    return dataclasses.replace(
        TINY, name="taught", teacher=find_teacher(str(folder)), augment=augment, **changed
    )


# What is written


def test_records_hold_what_the_teacher_says_of_the_still_view_with_label_key_and_statistics(
    features, teacher, photos
):
    records, images = open_records(str(features), "train"), open_records(str(photos), "train")
    facts = records.manifest.arrays
    assert (facts.field, facts.shape, facts.dtype, facts.views) == ("features", (2, 16, 12), "float32", 1)
    assert facts.view == "Squash(size=16, kernel='area', flip=False)"
    assert facts.made_by["layer"] == 1
    assert [(r.key, r.label) for r in records] == [(r.key, r.label) for r in images]
    assert records.manifest.classes == images.manifest.classes
    assert records.manifest.source == f"features of {images.manifest.source}"
    batch = next(open_run_batches(photos))
    taught = jax.jit(jax.vmap(lambda t, x: t.taps(x, (1,)), in_axes=(None, 0)))
    final, taps = taught(load_teacher(teacher), batch["image"].astype(jnp.float32) / 255)
    held = arrays(features, "validation")
    np.testing.assert_allclose(held, np.stack([final, taps[:, 0]], axis=1)[:2], atol=2e-5)
    statistics = load_file(features / STATISTICS)
    seen = arrays(features).reshape(22, 32, 12).astype(np.float64)
    np.testing.assert_allclose(statistics["train.mean"], seen.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(statistics["train.variance"], seen.var(axis=0), atol=1e-12)
    assert check(features).faults == ()


def open_run_batches(photos):
    return evaluation_batches(
        open_records(str(photos), "validation"), global_batch_size=2, augment=Squash(16), threads=1
    )


def test_random_views_are_those_of_training_and_an_epoch_is_still_one_of_images(photos, tmp_path):
    folder = encode(tmp_path / "views", photos, views=3, seed=5)
    records, images = open_records(str(folder), "train"), open_records(str(photos), "train")
    assert (len(records), records.manifest.images) == (66, 22)
    assert [records[i].key for i in range(6)] == [images[i // 3].key for i in range(6)]
    view = RandomResizedCrop(16)(images[4].image, np.random.default_rng([5, 4, 2]))["image"]
    pixels = find_pixels(jnp.asarray(arrays(folder)[14]))
    np.testing.assert_allclose(pixels, view / 255, atol=1e-5)
    assert len(open_records(str(folder), "validation")) == 2


def find_pixels(features):
    return Patches(16, 4).pixels(features)


def test_latents_are_the_normalised_ones_and_can_be_made_of_features(photos, teacher, features, tmp_path):
    recipe = with_teacher(teacher)
    shapes = eqx.filter_eval_shape(flatdino, recipe, key=jax.random.key(0))
    model = jax.tree.map(
        lambda leaf: jnp.asarray(RNG.normal(size=leaf.shape) * 0.5 + 0.1, leaf.dtype), shapes
    )
    saved = str(laminate.save_pretrained(model, tmp_path / "saved", recipe=recipe))
    options = {"what": "latents", "tokenizer": saved, "teacher": None}
    latents = arrays(encode(tmp_path / "latents", photos, **options))
    wanted = jax.jit(jax.vmap(model.encode))(jnp.asarray(arrays(features)[:, 0]))
    np.testing.assert_allclose(latents, wanted, atol=2e-4)
    again = encode(tmp_path / "again", features, **options, dtype="bfloat16")
    np.testing.assert_allclose(arrays(again).astype(np.float32), wanted, rtol=1e-2, atol=1e-2)
    made_by = read_prepared(again).arrays.made_by
    assert made_by["tokenizer"] == read_prepared(tmp_path / "latents").arrays.made_by["tokenizer"] != ""


# Stopped, shared, refused


def test_an_interrupted_encoding_goes_on_and_leaves_the_same_files(photos, tmp_path, monkeypatch, capsys):
    whole = encode(tmp_path / "whole", photos)
    write, written = ArrayFolder.write, []

    def stopped(self, job, *rest):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(job.file)
        return write(self, job, *rest)

    out = tmp_path / "out"
    monkeypatch.setattr(ArrayFolder, "write", stopped)
    with pytest.raises(SystemExit) as caught:
        encode(out, photos)
    assert caught.value.code == 0 and "the same command goes on" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="was interrupted"):
        open_records(str(out), "train")
    kept = tree(out)
    monkeypatch.setattr(
        ArrayFolder, "write", lambda self, job, *rest: written.append(job.file) or write(self, job, *rest)
    )
    encode(out, photos)
    assert len(written) == len(set(written)) == len(read_prepared(whole).shards) == 4
    assert read_prepared(out) == read_prepared(whole)
    assert {name: kept[name] for name in written[:2]} == {name: tree(out)[name] for name in written[:2]}
    assert (out / STATISTICS).read_bytes() == (whole / STATISTICS).read_bytes()
    before = tree(out)
    encode(out, photos)  # all is there
    assert tree(out) == before


def test_hosts_share_the_shards_and_leave_the_files_of_one(photos, tmp_path):
    alone = encode(tmp_path / "alone", photos, mesh="1")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, str(ROOT / "experiments" / "encode.py"), str(tmp_path / "shared")]
    command += ["--data", str(photos), "--teacher", "patches-16-4", "--mesh", "1", "--host-batch-size", "7"]
    command += [
        "--shard-images",
        "10",
        "--coordinator",
        f"127.0.0.1:{port}",
        "--hosts",
        "2",
        "--data-workers",
        "1",
    ]
    running = [
        subprocess.Popen(
            [*command, "--host", str(host)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for host in range(2)
    ]
    said = [process.communicate(timeout=240) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert "train 22, validation 2" in said[0][1]
    assert read_prepared(tmp_path / "shared") == read_prepared(alone)


def test_bad_images_are_left_out_named_and_bounded(tmp_path, photos, capsys):
    data = write_photos(tmp_path / "data", classes=("a",), each=12)
    for name in ("03.jpg", "07.jpg"):
        (data / "a" / name).write_bytes(b"no picture")
    folder = encode(tmp_path / "out", data)
    assert "2 images left out" in capsys.readouterr().err
    assert {skip.key for skip in read_prepared(folder).skipped} == {"a/03.jpg", "a/07.jpg"}
    assert sum(shard.count for shard in read_prepared(folder).shards) == 10
    with pytest.raises(SystemExit) as caught:
        encode(tmp_path / "strict", data, max_bad_images=1)
    assert caught.value.code == 2
    assert "2 images of" in (said := capsys.readouterr().err) and "cannot be read" in said


def test_a_folder_of_something_else_and_flags_that_mean_nothing_are_refused(
    photos, features, tmp_path, capsys
):
    for out, options, words in (
        (photos, {}, "is not empty and holds no encoded data"),
        (features, {}, "holds other prepared data"),
        (tmp_path / "a", {"teacher": "clip"}, "Unknown teacher 'clip'"),
        (tmp_path / "b", {"mesh": "16"}, "needs 16 devices"),
    ):
        with pytest.raises(SystemExit) as caught:
            encode(out, photos, **options)
        assert caught.value.code == 2 and words in capsys.readouterr().err
    for arguments, words in (
        (["x", "--what", "latents"], "--what latents and --tokenizer belong together"),
        (["x", "--tokenizer", "y"], "--what latents and --tokenizer belong together"),
        (["x", "--what", "latents", "--tokenizer", "y", "--layer", "3"], "--layer is for features"),
        (["x", "--shard-images", "0"], "--shard-images must be at least 1"),
    ):
        with pytest.raises(SystemExit) as caught:
            flags_command(None, EncodeFlags, arguments=arguments)
        assert caught.value.code == 2 and words in " ".join(capsys.readouterr().err.split())


# Trainings


def test_an_intermediate_layer_is_rebuilt_too_from_images_and_from_records_alike(job, teacher, features):
    recipe = with_teacher(teacher, intermediate_layer=1, intermediate_weight=0.5)
    job.main("--stop-after", "2", recipe=recipe)
    again = job.folder / "again"
    job.main("--stop-after", "2", "--data", str(features), recipe=recipe, run=again)
    assert job.losses(again) == pytest.approx(job.losses(), rel=2e-5)
    first = json.loads((job.run / "metrics.jsonl").read_text().splitlines()[0])
    small = first["train/kl_weight"] * first["train/kl_loss"]
    terms = first["train/recon_loss"] + 0.5 * first["train/intermediate_loss"] + small
    assert first["train/loss"] == pytest.approx(terms, rel=1e-5)
    assert first["train/intermediate_loss"] > 0.0


def test_a_resume_with_other_weights_is_refused(job, teacher, tmp_path):
    copy = shutil.copytree(teacher, tmp_path / "copy")
    recipe = with_teacher(copy)
    setup(*job.command(recipe=recipe)).folder.close()
    shutil.rmtree(copy)
    checkpoints.write(copy, checkpoints.dinov2_weights(scale=0.31), checkpoints.DINOV2)
    with pytest.raises(
        ValueError, match=r"run of another recipe: teacher\.weights: \w{64} \(saved\), \w{64} \(now\)"
    ):
        setup(*job.command(recipe=recipe))
    stored = ("--recipe", str(job.run / "recipe.json"), "--run-dir", str(tmp_path / "new"))
    with pytest.raises(
        ValueError, match=r"The weights of the teacher '.*copy' have changed: their hash is \w{12}, "
    ):
        setup(*job.command(*stored))


def test_records_of_another_teacher_layer_or_kind_are_refused(job, teacher, features, photos, tmp_path):
    layer = with_teacher(teacher, intermediate_layer=0)
    with pytest.raises(
        ValueError, match=r"rebuilds layer 0 of the teacher, and --data holds layer 1: .* --layer 0"
    ):
        setup(*job.command("--data", str(features), recipe=layer))
    given = ("--data", str(features), "--teacher", "patches-16-4")
    with pytest.raises(
        ValueError, match=r"holds features of the teacher '.*dinov2' \(16 of 12 numbers, in float32\)"
    ):
        setup(*job.command(*given))
    with pytest.raises(SystemExit):
        job.command("--data", str(features), "--teacher-dtype", "bfloat16")
    _, taken = job.command("--data", str(features))  # without --teacher, it is that of the records
    assert taken.teacher.weights == read_prepared(features).arrays.made_by["teacher"]["weights"]
    assert not job.run.exists()
