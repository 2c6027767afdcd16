"""Hosts that would not train the same refuse before anything is opened or written, and say what differs."""

import dataclasses
import shutil
from pathlib import Path

import laminate
from laminate.recipes.families import to_json
from tests.experiments.jobs import TINY


def refused(pod) -> list[str]:
    """What each host said last; all of them refuse."""
    ended = pod.wait()
    assert [host.code for host in ended] == [2] * len(ended), "\n".join(host.said for host in ended)
    return [host.last for host in ended]


def test_another_commit_recipe_and_seed_are_refused_with_what_differs(train, job):
    package = job.folder / "elsewhere" / "laminate"
    shutil.copytree(Path(laminate.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    with (package / "train" / "step.py").open("a") as file:
        file.write("# changed\n")
    other = job.folder / "other.json"
    other.write_text(to_json(dataclasses.replace(TINY, tokens=5)))
    with train(
        2,
        "--mesh",
        "2",
        more={1: ["--seed", "7", "--recipe", str(other)]},
        environment={1: {"PYTHONPATH": f"{package.parent}:{Path(__file__).parents[2]}"}},
    ) as pod:
        for said in refused(pod):
            assert "the hosts do not start the same training: " in said
            assert "--seed: 0 (host 0 (" in said and "7 (host 1 (" in said
            assert "code.train/step.py: " in said and "recipe.tokens: 3 (host 0 (" in said
            assert "Give every host the same commit, command and data" in said
    assert not job.run.exists()


def test_other_data_are_refused_by_their_fingerprint(train, job):
    fewer = job.folder / "fewer"
    shutil.copytree(job.photos, fewer)
    next(iter(sorted(fewer.rglob("*.png")))).unlink()
    with train(2, "--mesh", "2", more={1: ["--data", str(fewer)]}) as pod:
        for said in refused(pod):
            assert "the hosts do not start the same training: data." in said
    assert not job.run.exists()
