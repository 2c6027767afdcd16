"""The generator's experiment: on any tokenizer, mesh and data; refused with the wrong ones."""

import json

import numpy as np
import pytest

from laminate.recipes.json_text import to_tree
from laminate.recipes.sharing import load_pretrained
from tests.experiments.jobs import Job, fingerprints, metrics, write_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "saved")


@pytest.fixture
def job(tmp_path, photos, tokenizer) -> Job:
    return Job(tmp_path, photos, "generator", tokenizer)


def test_a_training_leaves_samples_weights_and_a_report(job, capsys):
    job.main()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"report: {job.run}/report.html (with curves.png, samples.png)"
    assert sorted(path.name for path in (job.run / "samples").iterdir()) == ["00000003.png", "00000006.png"]
    shared = load_pretrained(job.run)
    written = json.loads((job.run / "recipe.json").read_text())
    assert to_tree(shared.recipe).items() <= written.items()
    assert (shared.recipe.tokens, shared.recipe.features, shared.recipe.classes) == (3, 6, 2)
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
