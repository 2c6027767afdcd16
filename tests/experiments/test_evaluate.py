"""`evaluate.py`: one JSON with all that a figure depends on, one picture, and one line for what cannot be measured."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from laminate.cli.evaluate_flags import Compare, Generate, Probe, Protocols, Reconstruct, Show
from laminate.runs.open_sampler import sampler_params
from tests.experiments.jobs import TINY_DIT, experiment, one_line, write_generator, write_photos


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Training and held-out pictures of two classes."""
    folder = tmp_path_factory.mktemp("split")
    for split, each in (("train", 6), ("val", 4)):
        write_photos(folder / split, classes=("cats", "dogs"), each=each)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(flags) -> None:
    experiment("evaluate").main(flags)


def result(folder: Path) -> dict:
    held = json.loads((folder / "evaluation.json").read_text())
    with Image.open(folder / "evaluation.png") as picture:
        assert picture.width > 200
    return held


def test_reconstructions_of_held_out_images_are_measured_one_by_one_and_as_a_set(
    tokenizer, pictures, here, capsys
):
    evaluate(Reconstruct(tokenizer=str(tokenizer), data=str(pictures), out=Path("out"), device_batch_size=1))
    held = result(here / "out")
    figures = {one["name"]: one for one in held["results"]}
    assert {"psnr", "ssim", "fd@embedded", "cmmd@embedded", "precision@embedded"} <= set(figures)
    each = held["images"]["psnr"]
    assert len(each) == len(held["images"]["keys"]) == 8
    np.testing.assert_allclose(figures["psnr"]["value"], np.mean(each), rtol=1e-6)
    assert figures["fd@embedded"]["protocol"]["samples"] == 8
    assert held["subject"]["weights"] and held["software"]["versions"]
    assert "too few for 192 features" in figures["fd@embedded"]["remarks"][0]
    assert "psnr" in capsys.readouterr().out
    evaluate(Show(files=(Path("out"), Path("out"))))
    assert "measured alike" in capsys.readouterr().err


def test_classes_are_told_by_latents_and_refused_where_there_are_none(tokenizer, pictures, here, capsys):
    evaluate(Probe(tokenizer=str(tokenizer), data=str(pictures), neighbours=(3, 50), device_batch_size=1))
    held = (
        result(here / "evaluation" / "probe")
        if (here / "evaluation").exists()
        else result(tokenizer / "evaluation" / "probe")
    )
    figures = {one["name"]: one for one in held["results"]}
    assert {"knn-3/latents", "linear/latents", "knn-50/pixels at 8 x 8"} <= set(figures)
    assert "only 12 known images" in figures["knn-50/latents"]["remarks"][0]
    assert 0 <= figures["linear/latents"]["value"] <= 100
    one_class = here / "alone"
    write_photos(one_class, classes=("cats",), each=12)
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        evaluate(Probe(tokenizer=str(tokenizer), data=str(one_class)))
    assert left.value.code == 2
    assert "classes, and two are what can be told apart" in one_line(capsys.readouterr().err)


def test_samples_are_drawn_or_given_and_held_against_real_images(tokenizer, pictures, here, capsys):
    generator = write_generator(here / "generator", tokenizer)
    evaluate(
        Generate(
            generator=str(generator),
            tokenizer=str(tokenizer),
            data=str(pictures),
            total=8,
            out=Path("drawn"),
            device_batch_size=1,
        )
    )
    assert not (here / "drawn" / "drawn").exists()  # what was drawn is kept until it is measured, no longer
    held = result(here / "drawn")
    figures = {one["name"]: one for one in held["results"]}
    assert figures["fd@embedded"]["protocol"]["samples"] == 8
    assert figures["fd@embedded"]["floor"] is not None
    assert "seed" in figures["mind@embedded"]["protocol"]
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), np.uint8)
    np.savez("given.npz", arr_0=images)
    evaluate(
        Generate(
            generator=str(generator),
            samples="given.npz",
            data=str(pictures),
            out=Path("given"),
            device_batch_size=1,
        )
    )
    assert result(here / "given")["subject"]["samples"] == "given in given.npz"


def test_two_sets_are_compared_and_what_does_not_fit_is_one_line(pictures, here, capsys):
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), np.uint8)
    np.savez("a.npz", arr_0=images)
    evaluate(Compare(first=f"{pictures}@train", second="a.npz", out=Path("out"), device_batch_size=1))
    held = result(here / "out")
    assert {one["protocol"]["samples"] for one in held["results"]} == {12, 9}
    np.savez("moments.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    np.savez("large.npz", arr_0=images.repeat(2, axis=1).repeat(2, axis=2))
    np.savez("wide.npz", arr_0=images.repeat(2, axis=2))
    assert {one["protocol"]["reference"] for one in held["results"]} == {"a.npz"}
    capsys.readouterr()
    refused = {
        ("a.npz", "moments.npz"): "they are of different networks",
        ("a.npz", "large.npz"): "compare equal ones",
        ("wide.npz", f"{pictures}@train"): "wide.npz has images of 16 x 32 and",
        ("a.npz", "nowhere"): "no data at 'nowhere'",
    }
    for (first, second), said in refused.items():
        with pytest.raises(SystemExit) as left:
            evaluate(Compare(first=first, second=second, device_batch_size=1))
        assert left.value.code == 2 and said in one_line(capsys.readouterr().err)
    with pytest.raises(SystemExit) as left:
        evaluate(Compare(first="a.npz", second="a.npz", protocol="fd-dinov2@dgm", device_batch_size=1))
    assert left.value.code == 2 and "is not followed: network: " in one_line(capsys.readouterr().err)


def test_without_sets_what_the_generator_drew_is_held_against_held_out_images(here, monkeypatch, capsys):
    with pytest.raises(ValueError, match="two sets are compared, and this is one"):
        Compare(first="a.npz")
    (here / "run" / "drawn").mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), np.uint8)
    np.savez(here / "run" / "drawn" / "samples.npz", arr_0=images)
    monkeypatch.setattr(experiment("evaluate"), "trained_first", lambda *_, **__: "run")
    evaluate(Compare(total=9, device_batch_size=2))
    held = result(here / "run" / "evaluation" / "compare")
    assert held["subject"]["first"] == "run/drawn/samples.npz"
    assert held["subject"]["second"].endswith("@validation")
    assert "comparing run/drawn/samples.npz, drawn by run, with the held-out" in capsys.readouterr().err


def test_protocols_are_listed_and_guidance_needs_a_null_class(capsys):
    evaluate(Protocols())
    assert "gfid@adm-256" in capsys.readouterr().out
    evaluate(Protocols(names=("sfid@adm-256",)))
    assert "Mixed_6d.branch1x1" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        evaluate(Protocols(names=("nothing",)))
    assert "There is no protocol 'nothing'" in one_line(capsys.readouterr().err)
    alone = dataclasses.replace(TINY_DIT, classes=0)
    usual = Generate(steps=3)
    assert float(sampler_params(TINY_DIT, usual, seed=0).scale) == TINY_DIT.guidance.scale
    assert float(sampler_params(alone, usual, seed=0).scale) == 1.0
    with pytest.raises(ValueError, match="needs classes and a null class"):
        sampler_params(alone, Generate(scale=2.0), seed=0)
    with pytest.raises(ValueError, match="--total, --solver is for images that are drawn"):
        Generate(samples="given.npz", total=4, solver="heun")
