"""`--evaluate NAME=N`: figures by name every N steps on any mesh, and what cannot be measured is refused."""

import json

import numpy as np
import pytest

from laminate.cli.command import measurable
from laminate.evals.figure_names import KNOWN, figure_name
from laminate.recipes.flags import RunFlags
from laminate.recipes.flatdino.family import VAE
from laminate.recipes.generator.family import GENERATOR
from laminate.train.checkpoint import Checkpoints
from tests.experiments.jobs import Job, metrics, one_line


def figures(job: Job, name: str) -> dict[int, float]:
    return {line["step"]: line[f"val/{name}"] for line in metrics(job.run) if f"val/{name}" in line}


@pytest.mark.parametrize(
    ("family", "names", "said"),
    [
        (VAE, ("fd@embeded=5",), "no network here is called 'embeded'. Take fd@embedded"),
        (VAE, ("rfid@val50=5",), "There is no figure 'rfid@val50'. Did you mean rfid@val50k"),
        (VAE, ("gfid@adm-256=5",), "it is of images that a generator draws"),
        (VAE, ("knn@dino=5",), "which evaluate.py probe measures"),
        (VAE, ("rfid@val50k=5",), "sees the images: give its weights by --inception"),
        (VAE, ("cmmd@google=5",), "CLIP's vision transformer sees the images: give its weights by --clip"),
        (GENERATOR, ("psnr=5",), "held-out images that a tokenizer or a decoder gives back"),
    ],
)
def test_what_cannot_be_measured_in_a_training_is_refused_with_how_to_mend_it(family, names, said):
    with pytest.raises(ValueError, match=said.replace("[", r"\[")):
        measurable(RunFlags(evaluate=names), family)


@pytest.mark.parametrize("text", ["psnr", "psnr=0", "=3", "psnr=1.5", "psnr=-1"])
def test_a_name_without_steps_is_refused(text):
    with pytest.raises(ValueError, match=f"--evaluate {text}: give the name of a figure"):
        RunFlags(evaluate=(text,))


def test_every_name_is_of_some_training_or_of_probes_and_the_best_is_one_that_is_measured():
    assert all(figure_name(name).subjects for name in KNOWN)
    with pytest.raises(ValueError, match="--best-by psnr: that is not measured"):
        RunFlags(best_by="psnr")
    flags = RunFlags(evaluate=("prc@adm-256=5",), inception="weights", best_by="prc@adm-256")
    with pytest.raises(ValueError, match="its figures are two"):
        measurable(flags, GENERATOR)


def test_figures_stand_at_every_nth_step_and_at_the_end_choose_the_best_and_follow_no_mesh(
    tmp_path, photos, capsys
):
    asked = ("--evaluate", "fd@embedded=2", "--evaluate", "psnr=4", "--best-by", "psnr", "--keep", "9")
    alone, many = (Job(tmp_path / mesh, photos) for mesh in ("1", "2"))
    for job in (alone, many):
        job.folder.mkdir()
        job.main(*asked, "--mesh", job.folder.name)
    assert sorted(figures(alone, "fd@embedded")) == [2, 4, 6]
    assert sorted(figures(alone, "psnr")) == [4, 6] and sorted(figures(alone, "loss")) == [3, 6]
    for name in ("fd@embedded", "psnr"):
        mine, theirs = (list(figures(job, name).values()) for job in (alone, many))
        np.testing.assert_allclose(mine, theirs, rtol=1e-4)
    assert "step 2  val/fd@embedded" in capsys.readouterr().err
    saved = Checkpoints(alone.run / "checkpoints", recipe=None)
    psnr = figures(alone, "psnr")
    assert saved.best() == max(psnr, key=psnr.__getitem__)
    held = json.loads((alone.run / "evaluation" / "training" / "evaluation.json").read_text())
    assert {one["name"] for one in held["results"]} == {"fd@embedded", "psnr"}
    assert held["subject"]["step"] == 6 and held["results"][0]["protocol"]["network_sha256"]


def test_a_generator_is_measured_by_what_it_draws(tmp_path, photos, tokenizer, capsys):
    job = Job(tmp_path, photos, "generator", tokenizer)
    job.main("--evaluate", "mind@embedded=4", "--stop-after", "4")
    assert sorted(figures(job, "mind@embedded")) == [4]
    held = json.loads((job.run / "evaluation" / "training" / "evaluation.json").read_text())
    assert held["results"][0]["protocol"]["samples"] > 0
    assert held["results"][0]["protocol"]["reference"] == "training images"
    flags = ("--evaluate", "fd@embedded=2", "--decoder", "none")
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        job.command("--evaluate", "psnr=2", *flags[2:])
    assert left.value.code == 2 and "images that a generator draws" in one_line(capsys.readouterr().err)
