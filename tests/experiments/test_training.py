"""A whole experiment, from its flags to what lies in the run folder."""

import json

import numpy as np
import pytest

from laminate.recipes.families import to_tree
from laminate.runs.pretrained import load_pretrained
from tests.experiments.jobs import Job, metrics, tree


@pytest.mark.parametrize("family", ["vae", "fsq"])
def test_a_training_leaves_metrics_weights_pictures_and_a_report_and_names_them(
    family, tmp_path, photos, capsys
):
    job = Job(tmp_path, photos, family)
    job.main()
    said = capsys.readouterr().err.splitlines()
    codes = ("codebook.png",) * (family == "fsq")
    pictures = ", ".join(("ablation.png", *codes, "curves.png", "reconstructions.png", "training.png"))
    assert f"report: {job.run}/report.html (with {pictures})" in said
    following = [line.split("  #")[0] for line in said if line.startswith(("next: ", "or: "))]
    command = "python experiments/{} --tokenizer " + str(job.run)
    wanted = ["decoder.py", *(["generator.py"] if family == "vae" else []), "roundtrip.py IMAGE"]
    assert following == [
        f"{'or' if number else 'next'}: {command.format(script)}" for number, script in enumerate(wanted)
    ]
    page = (job.run / "report.html").read_text()
    assert all(line.split(": ", 1)[1] in page for line in following)
    assert {path.name for path in job.run.iterdir()} == {
        *("recipe.json", "data.json", "metrics.jsonl", "lock", "checkpoints", "tokenizer"),
        *("report.html", "ablation.png", *codes, "curves.png", "reconstructions.png", "training.png"),
    }
    shared = load_pretrained(job.run)
    assert to_tree(shared.recipe).items() <= json.loads((job.run / "recipe.json").read_text()).items()
    assert shared.config["data"]["name"].startswith(f"folder {photos}")
    if family == "vae":  # so short a training may leave every code of FSQ the same
        assert float(np.ptp(shared.model.normalization.std.value)) > 0.0
    lines = metrics(job.run)
    assert [line["step"] for line in lines if "train/loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "val/r2" in line] == [3, 6]
    assert {"train/lr", "train/grad_norm", "train/recon_loss"} < set(lines[0])
    if family == "fsq":
        assert {"val/loss_k1", "val/loss_k2"} < set(lines[-1])
    before = tree(job.run)
    job.main()
    after, said = tree(job.run), capsys.readouterr().err
    assert f"complete: all 6 steps are in {job.run}; --fresh starts over" in said
    assert [line.split("  #")[0] for line in said.splitlines()[-len(wanted) :]] == following
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed <= {"lock"}


@pytest.mark.parametrize("family", ["vae", "fsq"])
def test_losses_are_those_of_one_device_on_any_mesh(family, tmp_path, photos):
    job = Job(tmp_path, photos, family)
    for mesh in ("1x1", "4x2"):
        job.main("--mesh", mesh, "--stop-after", "4", run=tmp_path / mesh)
    one, eight = job.losses(tmp_path / "1x1"), job.losses(tmp_path / "4x2")
    assert list(one) == [1, 2, 3, 4]
    assert eight == pytest.approx(one, rel=1e-5)


def test_a_run_can_be_started_again_from_its_recipe(job):
    job.main("--stop-after", "3")
    again = job.folder / "again"
    job.main("--recipe", str(job.run / "recipe.json"), "--stop-after", "3", run=again)
    assert job.losses(again) == job.losses()
    written, repeated = ((run / "recipe.json").read_text() for run in (job.run, again))
    assert json.loads(written) == json.loads(repeated)


def test_fresh_starts_over_and_keeps_the_earlier_run_beside(job):
    job.main("--stop-after", "2")
    job.main("--stop-after", "1", "--fresh")
    assert list(job.losses()) == [1]
    assert list(job.losses(job.folder / "run.previous")) == [1, 2]
