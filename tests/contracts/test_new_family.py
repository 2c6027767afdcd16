"""A family that the library does not know is one file: nothing of `src/` changes for it.

`toy_family.py` is that file. Everything below goes through the code that all families share.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import laminate
from laminate.cli.command import training_command
from laminate.cli.plan_flags import plan_command
from laminate.planning.devices import has_compiler
from laminate.recipes import families
from laminate.recipes.__main__ import main as recipes_command
from laminate.runs.experiment import load_experiment
from laminate.runs.load_tokenizer import load_tokenizer
from tests.experiments.jobs import RECIPES, Job, experiment, fingerprints, metrics, write_photos

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).parent / "toy_family.py"


@pytest.fixture(scope="module", autouse=True)
def toy():
    """The toy, known to this process for these tests alone."""
    before = families.families()
    yield load_experiment(str(FILE), beside=__file__)
    assert families.families()[: len(before)] == before
    families._JOINED.clear()
    sys.modules.pop("experiment_toy_family")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "pictures", classes=("cats", "dogs"), each=12)


@pytest.fixture(scope="module")
def trained(toy, photos, tmp_path_factory) -> Path:
    """A finished run of the toy, of six steps."""
    return run(toy, tmp_path_factory.mktemp("toy"), photos, "whole")


def run(toy, folder: Path, photos: Path, name: str, *more: str) -> Path:
    arguments = ["--experiment", "patches-4-5", "--data", str(photos), "--run-dir", str(folder / name)]
    arguments += ["--mesh", "2x2", "--log-every", "1", "--data-workers", "1", *more]
    toy.main(*training_command(toy.__doc__, toy.TOY, arguments=arguments))
    return folder / name


def test_it_is_one_file_of_less_than_150_lines():
    assert len(FILE.read_text().splitlines()) < 150


def test_it_trains_and_leaves_weights_a_card_and_a_report(trained):
    assert len([line for line in metrics(trained) if "train/loss" in line]) == 6
    validated = {line["step"]: line["val/loss"] for line in metrics(trained) if "val/loss" in line}
    assert list(validated) == [3, 6] and validated[6] < validated[3]
    card = (trained / "tokenizer" / "README.md").read_text()
    assert "pipeline_tag: image-to-image\ntags: [jax, equinox, image-tokenizer, toy]\n" in card
    page = (trained / "report.html").read_text()
    assert "<h1>Patch autoencoder patches-4-5 on pictures-" in page and "16 tokens of 5" in page
    assert (trained / "pairs.png").stat().st_size > 1000
    assert json.loads((trained / "recipe.json").read_text())["family"] == "toy"


def test_a_stopped_run_goes_on_bit_for_bit(toy, trained, photos, tmp_path):
    stopped = run(toy, tmp_path, photos, "parts", "--stop-after", "4")
    assert not (stopped / "report.html").exists()
    run(toy, tmp_path, photos, "parts")
    assert fingerprints(stopped, 6) == fingerprints(trained, 6)


def test_another_recipe_in_its_folder_is_refused_with_the_field_that_differs(
    toy, trained, photos, tmp_path, capsys
):
    shutil.copytree(trained, tmp_path / "run")
    with pytest.raises(SystemExit) as caught:
        run(toy, tmp_path, photos, "run", "--set", "dim=6")
    assert caught.value.code == 2
    assert "dim: 5 (saved), 6 (now)" in capsys.readouterr().err


def test_what_is_saved_is_loaded_and_is_a_tokenizer_for_everyone_else(trained):
    loaded = load_tokenizer(trained)
    assert (loaded.latent.tokens, loaded.latent.latent_dim, loaded.latent.teacher) == (16, 5, None)
    model = laminate.from_pretrained(trained).model
    image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    latents = model.encode({"image": image}, dtype=jnp.dtype(jnp.float32))
    assert latents.shape == (16, 5)
    assert model.image(latents, dtype=jnp.dtype(jnp.float32)).shape == (16, 16, 3)
    assert jax.tree.all(jax.tree.map(np.array_equal, model, loaded.model))


def test_a_generator_draws_its_latents_without_knowing_it(trained, photos, tmp_path, capsys):
    job = Job(tmp_path, photos, "generator", trained)
    job.main(recipe=RECIPES["generator"])
    assert f"samples: decoded by {load_tokenizer(trained).recipe.name} itself\n" in capsys.readouterr().err
    sample = experiment("sample")
    flags = sample.SampleFlags(generator=str(job.run), total=2, steps=2, out=tmp_path / "drawn", mesh="1")
    sample.main(flags)
    assert (tmp_path / "drawn" / "grid.png").stat().st_size > 500


def test_its_names_are_explained_and_its_fields_listed(monkeypatch, capsys):
    def said(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["laminate.recipes", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        recipes_command()
        return capsys.readouterr().out

    assert "Patch autoencoder patches-8-3" in said("explain", "patches-8-3")
    assert "python experiments/toy_family.py --experiment tiny --set dim=7" in said(
        "explain", "tiny", "--set", "dim=7"
    )
    assert "schedule.peak" in said("explain", "tiny", "--set", "help")
    assert "toy_family.py (--family toy)" in said("list")
    assert '"family": "toy"' in said("explain", "patches-2-9", "--json")


def test_it_is_planned_for_a_slice_by_the_same_command(tmp_path, capsys):
    flags = plan_command(
        None,
        [
            *("--script", str(FILE), "--experiment", "patches-4-5", "--topology", "v5e:4x8"),
            *("--mesh", "4x8", "--batch-size", "64", "--out", str(tmp_path)),
        ],
    )
    plan = experiment("plan")
    if not has_compiler():
        with pytest.raises(SystemExit) as caught:
            plan.main(flags)
        assert caught.value.code == 2 and "pip install -e '.[tpu]'" in capsys.readouterr().err
        return
    plan.main(flags)
    written = json.loads((tmp_path / "plan.json").read_text())
    assert written["fits"] and written["parameters"] == 48 * 5 + 5 + 5 * 48 + 48


def test_its_own_command_answers_help_and_refuses_other_names():
    command = [sys.executable, str(FILE)]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0 and "--set" in done.stdout
    done = subprocess.run(
        [*command, "--experiment", "patches-4"], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 2 and "names are patches-PATCH-DIM" in done.stderr


def test_a_family_that_collides_with_another_is_refused(toy):
    with pytest.raises(ValueError, match="collides with 'toy'"):
        families.join(toy.TOY)
