"""The generator's experiment: on any tokenizer, mesh and data; refused with the wrong ones."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from laminate.cli.encode_flags import EncodeFlags
from laminate.recipes.augment import SquashConfig
from laminate.recipes.families import to_tree
from laminate.runs.pretrained import load_pretrained
from tests.experiments.decoders import OF_LATENTS, write_decoder
from tests.experiments.jobs import (
    TINY_DIT,
    TINY_FSQ,
    Job,
    experiment,
    fingerprints,
    metrics,
    write_photos,
    write_tokenizer,
)


@pytest.fixture
def job(tmp_path, photos, tokenizer) -> Job:
    return Job(tmp_path, photos, "generator", tokenizer)


def test_a_training_leaves_decoded_samples_weights_and_a_report(job, tokenizer, tmp_path, capsys):
    decoder = write_decoder(tmp_path / "decoder", OF_LATENTS, tokenizer)
    (job.run / "samples").mkdir(parents=True)
    for foreign in (".DS_Store", "._00000003.png", "a.png", "3.png"):
        (job.run / "samples" / foreign).write_text("not ours")
    job.main("--decoder", str(decoder))
    assert not re.search(r"samples/(?![0-9]{8}\.png)", (job.run / "report.html").read_text())
    for foreign in (".DS_Store", "._00000003.png", "a.png", "3.png"):
        (job.run / "samples" / foreign).unlink()
    said = capsys.readouterr().err
    assert f"samples: decoded by {decoder}\n" in said
    assert said.splitlines()[-2:] == [
        f"report: {job.run}/report.html (with curves.png, samples.png)",
        f"next: python experiments/sample.py --generator {job.run}  # images",
    ]
    checked = json.loads((job.run / "check.json").read_text())
    assert checked["check/samples"] == 20 and 0.0 <= checked["check/right"] <= 1.0
    assert "What the samples are" in (job.run / "report.html").read_text()
    assert load_pretrained(job.run).config["metrics"]["check/right"] == checked["check/right"]
    assert sorted(path.name for path in (job.run / "samples").iterdir()) == ["00000003.png", "00000006.png"]
    shared = load_pretrained(job.run)
    written = json.loads((job.run / "recipe.json").read_text())
    assert to_tree(shared.recipe).items() <= written.items()
    assert (shared.recipe.tokens, shared.recipe.latent_dim, shared.recipe.classes) == (3, 6, 2)
    assert shared.recipe.augment.image_size == 16
    assert written["tokenizer"]["name"] == "tiny"
    lines = metrics(job.run)
    assert [line["step"] for line in lines if "val/loss" in line] == [3, 6]
    assert all(np.isfinite(line["train/loss"]) for line in lines if "train/loss" in line)


def test_losses_are_those_of_one_device_on_any_mesh(job, tmp_path):
    for mesh in ("1x1", "2x2"):
        job.main("--mesh", mesh, "--stop-after", "3", run=tmp_path / mesh)
    one, four = job.losses(tmp_path / "1x1"), job.losses(tmp_path / "2x2")
    assert list(one) == [1, 2, 3]
    assert four == pytest.approx(one, rel=1e-5)


def test_a_resumed_training_is_an_uninterrupted_one_bit_for_bit(job, tmp_path):
    job.main("--stop-after", "4", run=tmp_path / "whole")
    job.main("--stop-after", "2", run=tmp_path / "parts")
    job.main("--stop-after", "4", run=tmp_path / "parts")
    assert fingerprints(tmp_path / "parts", 4) == fingerprints(tmp_path / "whole", 4)
    assert job.losses(tmp_path / "parts") == job.losses(tmp_path / "whole")


def encode(out, data, **flags):
    settings = {"mesh": "1", "host_batch_size": 7, "data_workers": 1}
    experiment("encode").main(EncodeFlags(out=out, data=str(data), **settings, **flags))
    return out


def test_latents_encoded_once_train_as_the_images_do_and_others_are_refused(
    job, tmp_path, photos, tokenizer, capsys
):
    still = replace(TINY_DIT, name="still", augment=SquashConfig(TINY_DIT.augment.image_size))
    latents = encode(tmp_path / "latents", photos, what="latents", tokenizer=str(tokenizer))
    for name, data in (("images", photos), ("latents", latents)):
        job.main("--data", str(data), "--stop-after", "3", recipe=still, run=tmp_path / name)
    assert job.losses(tmp_path / "latents") == pytest.approx(job.losses(tmp_path / "images"), rel=1e-5)
    assert metrics(tmp_path / "latents")[-1]["step"] == 3
    features = encode(tmp_path / "features", photos, teacher="patches-16-4")
    other = write_tokenizer(tmp_path / "other", seed=5)
    for arguments, recipe, expected in (
        (("--data", str(features)), still, "holds features of"),
        (("--data", str(latents)), replace(still, normalize=False), "asks for raw latents"),
        (("--data", str(latents), "--tokenizer", str(other)), still, "by a tokenizer with the hash"),
    ):
        with pytest.raises(SystemExit) as caught:
            job.main(*arguments, recipe=recipe, run=tmp_path / "refused")
        assert caught.value.code == 2
        assert expected in capsys.readouterr().err
        assert not (tmp_path / "refused").exists()


def test_what_is_no_decoder_of_the_tokenizer_is_refused(job, tokenizer, tmp_path, capsys):
    other = write_decoder(tmp_path / "decoder", OF_LATENTS, write_tokenizer(tmp_path / "tokenizer", seed=5))
    for source, expected in (
        (other, "belongs to the tokenizer tiny with the hash"),
        (tokenizer, "and no image decoder: give the run of decoder.py"),
    ):
        with pytest.raises(SystemExit) as caught:
            job.main("--decoder", str(source))
        assert caught.value.code == 2
        assert expected in capsys.readouterr().err
        assert not job.run.exists()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"statistics": False}, "has no statistics of its latents"),
        ({"recipe": TINY_FSQ}, "is an FSQ tokenizer"),
    ],
)
def test_a_tokenizer_without_statistics_or_of_whole_numbers_is_refused(
    job, tmp_path, capsys, written, expected
):
    other = write_tokenizer(tmp_path / "other", **written)
    with pytest.raises(SystemExit) as caught:
        job.main("--tokenizer", str(other))
    assert caught.value.code == 2
    assert expected in capsys.readouterr().err
    assert not job.run.exists()


def test_a_run_goes_on_with_its_own_tokenizer_and_classes_alone(job, tmp_path, capsys):
    job.main("--stop-after", "1")
    other = write_tokenizer(tmp_path / "other", seed=3)
    three = write_photos(tmp_path / "three", classes=("a", "b", "c"), each=8)
    again = ("--recipe", str(job.run / "recipe.json"), "--run-dir", str(tmp_path / "again"))
    for more, expected in (
        (("--tokenizer", str(other)), "tokenizer.sha256: "),
        ((*again, "--tokenizer", str(other)), "belongs to the tokenizer tiny with the hash"),
        ((*again, "--data", str(three)), "is for 2 classes, and folder"),
    ):
        with pytest.raises(SystemExit) as caught:
            job.main(*more)
        assert caught.value.code == 2
        assert expected in capsys.readouterr().err


def test_overfitting_sees_one_batch_and_unconditional_training_no_labels(job, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "laminate.runs.training.fit",
        lambda step, state, frozen, batches, **_: seen.extend(next(batches) for _ in range(3)) or state,
    )
    job.main("--overfit")
    assert all((batch["image"] == seen[0]["image"]).all() for batch in seen)
    assert json.loads((job.run / "recipe.json").read_text())["run"]["overfit"] is True
    job.main("--unconditional", run=tmp_path / "free")
    assert json.loads((tmp_path / "free" / "recipe.json").read_text())["classes"] == 0


@pytest.mark.parametrize("optimizer", ["muon", "schedule-free"])
def test_other_optimisers_train_on_any_mesh(job, tmp_path, optimizer):
    for mesh in ("1x1", "2x2"):
        job.main("--mesh", mesh, "--stop-after", "2", "--optimizer", optimizer, run=tmp_path / mesh)
    assert job.losses(tmp_path / "2x2") == pytest.approx(job.losses(tmp_path / "1x1"), rel=1e-4)


def test_a_process_of_its_own_simulates_the_devices_that_the_mesh_asks_for(job):
    """Refused after the devices, the tokenizer and the data are there, for a share that four devices have."""
    process = job.process(*job.arguments("--mesh", "2x2", "--device-batch-size", "3"))
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2, said
    assert "A device's share of 2 examples cannot be cut into micro-batches of 3" in " ".join(said.split())
