"""A repository with the scripts and a training, and a `gcloud` in front of the real one."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = Path(__file__).parent

# What a worker finds: a Python that makes virtual environments, whose Python runs shell and records pip.
MACHINE_PYTHON = """#!/bin/bash
case "$*" in
  "-m pip install"*uv) ;;
  "-m uv venv"*)
    mkdir -p venv/bin
    echo "$*" > uv.txt
    cp "$CLOUD/bin/venv-python" venv/bin/python ;;
esac
"""
VENV_PYTHON = """#!/bin/bash
case "$*" in
  --version) echo Python 3.12.0 ;;
  "-m pip install"*) echo "$*" >> ../pip.txt; cat commit.txt >> ../pip.txt ;;
  *) exec bash "$@" ;;
esac
"""

# Saves its step to a bucket that outlives the machines, and ends as the fate of its worker says.
TRAINING = """
worker=${HOME##*/}
bucket=$CLOUD/bucket.txt
first=$(cat "$bucket" 2>/dev/null || echo 0)
fate=$(cat "$CLOUD/fates/$worker" 2>/dev/null || echo 0)
save() { echo 20 > "$bucket"; echo "saved at step 20"; exit 0; }
trap save TERM
echo "worker $worker: $*"
echo "begins at step $first, token $HF_TOKEN"
echo "$LAMINATE_JOB_TOKEN" > "$CLOUD/token-$worker"
case $fate in
  runs) touch "$CLOUD/runs-$worker"; while :; do sleep 0.02; done ;;
  killed) kill -KILL $$ ;;
  preempted | vanishes | leaves)
    if [ "$first" = 0 ]; then
      echo 20 > "$bucket"
      states="ACTIVE ACTIVE SUSPENDED"
      if [ $fate = preempted ]; then states=SUSPENDED; fi
      echo $states > "$CLOUD/request/states.new"
      mv "$CLOUD/request/states.new" "$CLOUD/request/states"
      case $fate in
        preempted) kill -KILL 0 ;;
        vanishes) kill -KILL 0 ;;
        leaves) kill -TERM 0; sleep 5 ;;
      esac
    fi ;;
  [1-9]*) echo "vae.py: no data on worker $worker" >&2; exit "$fate" ;;
esac
echo "step $((first + 20)) loss 0.5"
"""


@dataclass(frozen=True)
class Cloud:
    folder: Path
    repository: Path

    def run(self, command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """A script with arguments, as `launch.sh --detach`."""
        script, *arguments = command.split()
        return subprocess.run(
            [f"tpu/{script}", *arguments],
            cwd=self.repository,
            env=self.environment(**settings),
            capture_output=True,
            text=True,
            timeout=240,
            stdin=subprocess.DEVNULL,
        )

    def environment(self, **settings: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("POD_")}
        return {
            **kept,
            "PATH": f"{self.folder / 'front'}:{os.environ['PATH']}",
            "CLOUD": str(self.folder),
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
            "POD_PROJECT": "my-project",
            "POD_ZONE": "us-west4-a",
            "POD_TYPE": "v5litepod-32",
            "POD_POLL": "0.05",
            "POD_SETTLE": "0",
            **settings,
        }

    def calls(self) -> list[list[str]]:
        file = self.folder / "calls"
        calls = file.read_text().split("\x1e")[:-1] if file.exists() else []
        return [call.split("\x1f")[2:-1] for call in calls]

    def forget(self) -> None:
        (self.folder / "calls").unlink()

    def verbs(self) -> list[str]:
        """What was asked of gcloud, in a word or two each: `create`, `ssh install`."""
        found = []
        for call in self.calls():
            words = [
                a.split("worker.sh ")[1].split()[0] for a in call if a.startswith("--command=bash worker.sh")
            ]
            found.append(" ".join([call[1], *words]))
        return found

    def fault(self, name: str, text: str = "") -> None:
        (self.folder / "faults" / name).write_text(text)

    def mend(self, name: str) -> None:
        (self.folder / "faults" / name).unlink()

    def fates(self, **fates: int | str) -> None:
        """How the training ends on a worker: `w0_1=3` for slice 0 worker 1; well on those that are not named."""
        folder = self.folder / "fates"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, fate in fates.items():
            (folder / name.removeprefix("w").replace("_", "-")).write_text(str(fate))

    def arrivals(self, *states: str) -> None:
        (self.folder / "arrivals").write_text(" ".join(states) + "\n")

    def request(self, **files: str) -> None:
        """Changes what is known of the request: `states`, `initiator`."""
        for name, text in files.items():
            (self.folder / "request" / f"{name}.new").write_text(f"{text}\n")
            (self.folder / "request" / f"{name}.new").rename(self.folder / "request" / name)

    def begin(self, slices: int, machines: int = 2) -> None:
        """What create.sh and setup.sh leave."""
        (self.folder / "machines").write_text(str(machines))
        (self.folder / "request").mkdir(exist_ok=True)
        self.request(states="ACTIVE", initiator="SERVICE", slices=str(slices))
        for name in (f"{index}-{worker}" for index in range(slices) for worker in range(machines)):
            executable(self.home(name) / "laminate" / "venv" / "bin" / "python", VENV_PYTHON)
            shutil.copy(self.repository / "tpu" / "worker.sh", self.home(name))

    def home(self, worker: str = "0-0") -> Path:
        return self.folder / "homes" / worker

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
            cwd=self.repository,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    folder, repository = tmp_path / "cloud", tmp_path / "repository"
    for part in ("homes", "faults", "gone", "tmp"):
        (folder / part).mkdir(parents=True)
    (folder / "machines").write_text("2")
    executable(folder / "front" / "gcloud", (TESTS / "stand_in_gcloud.sh").read_text())
    executable(folder / "bin" / "python3", MACHINE_PYTHON)
    executable(folder / "bin" / "venv-python", VENV_PYTHON)
    shutil.copytree(ROOT / "tpu", repository / "tpu")
    (repository / "experiments").mkdir()
    (repository / "experiments" / "vae.py").write_text(TRAINING)
    (repository / "commit.txt").write_text("first\n")
    cloud = Cloud(folder, repository)
    cloud.fates()
    cloud.arrivals("ACTIVE")
    cloud.git("init", "--quiet")
    cloud.git("add", ".")
    cloud.git("commit", "--quiet", "--message=first")
    yield cloud
    for file in folder.glob("homes/*/laminate/run.pid"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(file.read_text()), signal.SIGKILL)


@pytest.fixture
def pod(cloud: Cloud) -> Cloud:
    """A slice of two workers that is there, with a Python on both."""
    cloud.begin(slices=1)
    return cloud
