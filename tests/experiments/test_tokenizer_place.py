"""A generator's run knows where its tokenizer lies, also when both are moved, and takes no other."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from laminate.cli.encode_flags import EncodeFlags
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.runs.load_generator import load_generator, tokenizer_of
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.setup import setup
from laminate.runs.tokenizer_place import FILE, find_tokenizer, note_tokenizer
from tests.experiments.jobs import Job, experiment, write_tokenizer


@pytest.fixture
def opened(tmp_path, photos):
    """A generator's run folder, opened and left, on a tokenizer that bears another name than its folder."""
    write_tokenizer(tmp_path / "all" / "mine")
    (tmp_path / "all" / "jobs").mkdir()
    job = Job(tmp_path / "all" / "jobs", photos, "generator", tmp_path / "all" / "mine")
    flags, recipe = job.command()
    setup(flags, recipe, tokenizer=load_tokenizer(job.tokenizer)).folder.close()
    return job


def identity_of(job):
    return load_tokenizer(job.tokenizer).identity


def test_the_place_is_noted_from_the_run_with_the_hash(opened):
    noted = json.loads((opened.run / FILE).read_text())
    assert noted["place"] == "../../mine" and noted["sha256"] == identity_of(opened).sha256
    found = find_tokenizer(str(opened.run), identity_of(opened))
    assert found.identity == identity_of(opened)


def test_it_is_found_from_a_run_behind_a_link(opened, tmp_path):
    identity = identity_of(opened)
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "far" / "away" / "link").symlink_to(opened.run)
    found = find_tokenizer(str(tmp_path / "far" / "away" / "link"), identity)
    assert found.identity == identity and Path(found.source).samefile(opened.tokenizer)


def test_a_place_below_the_run_is_a_path_and_no_repository_of_a_hub(opened):
    tokenizer = load_tokenizer(shutil.move(opened.tokenizer, opened.run / "mine"))
    note_tokenizer(epath.Path(opened.run), tokenizer)
    assert json.loads((opened.run / FILE).read_text())["place"] == "./mine"
    assert Path(find_tokenizer(str(opened.run), tokenizer.identity).source) == opened.run / "mine"


def test_both_can_be_moved_together(opened, tmp_path, monkeypatch):
    identity = identity_of(opened)
    shutil.move(tmp_path / "all", tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert find_tokenizer(str(tmp_path / "elsewhere" / "jobs" / "run"), identity).identity == identity
    assert find_tokenizer("elsewhere/jobs/run/checkpoints/3", identity).identity == identity


def test_beside_the_run_and_by_name_it_is_found_as_well(opened, tmp_path, monkeypatch):
    identity = identity_of(opened)
    beside = opened.run.parent / identity.name
    shutil.move(opened.tokenizer, beside)
    assert find_tokenizer(str(opened.run), identity).source == str(beside)
    (tmp_path / "runs").mkdir()
    shutil.move(beside, tmp_path / "runs" / identity.name)
    monkeypatch.chdir(tmp_path)
    assert find_tokenizer(str(opened.run), identity).source == f"runs/{identity.name}"


def test_another_tokenizer_in_its_place_is_not_taken(opened):
    identity = identity_of(opened)
    shutil.rmtree(opened.tokenizer)
    write_tokenizer(opened.tokenizer, seed=1)
    with pytest.raises(FileNotFoundError, match="is another one, with the hash") as caught:
        find_tokenizer(str(opened.run), identity)
    assert f"runs/{identity.name} is not there" in str(caught.value) and "Give --tokenizer" in str(
        caught.value
    )
    other = write_tokenizer(opened.run.parent / identity.name, seed=0)
    assert find_tokenizer(str(opened.run), identity).source == str(other)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"place": 3}', '{"place": "../../mine", "sha256": "00"}'])
def test_a_note_that_cannot_be_read_or_is_of_another_is_passed_over(opened, text):
    identity = identity_of(opened)
    (opened.run / FILE).write_text(text)
    with pytest.raises(FileNotFoundError, match="Give --tokenizer"):
        find_tokenizer(str(opened.run), identity)


def test_a_finished_run_draws_from_where_its_tokenizer_is(opened, tmp_path, monkeypatch):
    opened.main()
    monkeypatch.chdir(tmp_path)
    generator = load_generator(str(opened.run), "ema", mesh=build_mesh(MeshShape(1)))
    found = tokenizer_of(generator, None)
    assert found.identity == identity_of(opened) and np.isfinite(found.model.normalization.std.value).all()


def test_latents_are_encoded_by_tokenizers_alone(tmp_path, photos, opened, capsys):
    """A recipe of another family on encoded data, or in place of a tokenizer, is refused by name."""
    opened.main()
    flags = EncodeFlags(
        out=tmp_path / "latents", what="latents", tokenizer=str(opened.run), data=str(photos), mesh="1"
    )
    with pytest.raises(SystemExit) as caught:
        experiment("encode").main(flags)
    assert caught.value.code == 2
    assert "holds what generator.py trains and no tokenizer" in capsys.readouterr().err
