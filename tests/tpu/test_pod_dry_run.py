"""A dry run prints exactly the commands of a real one, and the README is what the scripts print."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import tyro

from laminate.parallel.mesh import parse_mesh
from laminate.recipes.flatdino.family import VAE
from laminate.recipes.flatdino.flags import FlatDinoFlags
from laminate.recipes.resolve import resolve_recipe

README = Path(__file__).parents[2] / "tpu" / "README.md"
COMMIT = "4f2a91c0d7e3"  # stands in the README for the commit that is checked out
TRAIN = "-- python experiments/vae.py --distributed --mesh 4x8 --run-dir gs://bucket/run"


@pytest.mark.parametrize(
    "command",
    ["setup.sh", f"launch.sh {TRAIN}", f"launch.sh --replace {TRAIN}", "watch.sh --once", "logs.sh --all"],
)
def test_pasted_into_a_shell_a_dry_run_does_what_the_script_does(cloud, command):
    cloud.begin(slices=1, machines=1)
    settings = {
        "POD_SETUP": "echo 'a  b' \"$HOME\" $((1 + 1)); true",
        "POD_SSH_FLAGS": "--tunnel-through-iap",
    }
    printed = cloud.run(command.replace(".sh", ".sh --dry-run", 1), **settings)
    assert printed.returncode == 0, printed.stderr
    assert cloud.calls() == []
    assert cloud.run(command, **settings).returncode == 0
    ran = cloud.calls()
    cloud.forget()
    cloud.begin(slices=1, machines=1)
    subprocess.run(
        ["bash", "-c", printed.stdout],
        cwd=cloud.repository,
        env=cloud.environment(),
        capture_output=True,
        check=True,
    )
    assert cloud.calls() == ran


def test_pasted_into_a_shell_a_dry_run_creates_and_deletes(cloud):
    for command in ("create.sh", "delete.sh --yes"):
        printed = cloud.run(command.replace(".sh", ".sh --dry-run", 1), POD_SLICES="2").stdout
        subprocess.run(["bash", "-c", printed], env=cloud.environment(), capture_output=True, check=True)
        pasted = cloud.calls()
        cloud.forget()
        if command == "create.sh":
            shutil.rmtree(cloud.folder / "request")
            for home in (cloud.folder / "homes").iterdir():
                home.rmdir()
        else:
            cloud.begin(slices=2)
        assert cloud.run(command, POD_SLICES="2").returncode == 0
        assert cloud.calls() == pasted
        cloud.forget()


def test_a_dry_run_shows_what_retries_would_do(cloud):
    printed = cloud.run(f"launch.sh --dry-run --retries 7 {TRAIN}").stdout
    retry = printed[printed.index("# after a preemption, at most 7 times") :]
    for step in ("queued-resources delete", "queued-resources create", "--spot", "worker.sh prepare"):
        assert step in retry
    assert not list((cloud.folder / "tmp").iterdir())


def sessions() -> list[tuple[str, str]]:
    """The commands of the console blocks with what is shown below each."""
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    parts = [
        part.split("\n", 1) for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]
    return [(command, output) for command, output in parts]


def test_the_readme_shows_what_the_scripts_print(cloud):
    assert len(sessions()) >= 8
    settings = {"POD_POLL": "30", "POD_SETTLE": "300", "TMPDIR": "/tmp"}
    commit = cloud.git("rev-parse", "--short=12", "HEAD")
    for command, shown in sessions():
        words = shlex.split(command)
        if words[0] == "export":
            settings |= dict(word.split("=", 1) for word in words[1:])
            continue
        printed = cloud.run(command.removeprefix("tpu/"), **settings)
        assert printed.returncode == 0, printed.stderr
        assert printed.stdout.replace(commit, COMMIT) == shown


def test_the_six_commands_are_the_ones_that_are_shown():
    text = README.read_text(encoding="utf-8")
    fence = re.search(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert fence
    commands = fence[1].splitlines()
    assert len(commands) == 6
    shown = {shlex.split(command)[0] for command, _ in sessions()}
    assert {shlex.split(command)[0] for command in commands} - {"export"} <= shown


def test_the_trainings_of_the_readme_have_flags_that_exist():
    text = README.read_text(encoding="utf-8").replace("\\\n", " ")
    trainings = re.findall(r"python experiments/vae\.py ([^\n`\"']*)", text)
    assert len(trainings) >= 4
    for training in trainings:
        flags = tyro.cli(FlatDinoFlags, args=shlex.split(training))
        assert flags.distributed
        recipe = resolve_recipe(flags, VAE)
        mesh = parse_mesh(flags.mesh)
        assert mesh is not None and recipe.global_batch_size % mesh.devices == 0
