"""A repository with the scripts and a training, and a `gcloud` in front of the real one."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = f"{sys.executable} -S -E"

# What a worker finds: a Python that makes virtual environments, whose Python runs real files and records pip.
MACHINE_PYTHON = f"""#!/bin/bash
case "$*" in
  "-m pip install"*uv) ;;
  "-m uv venv"*)
    mkdir -p venv/bin
    echo "$*" > uv.txt
    cp "$CLOUD/bin/venv-python" venv/bin/python ;;
  *) exec {PYTHON} "$@" ;;
esac
"""
VENV_PYTHON = f"""#!/bin/bash
case "$*" in
  --version) echo Python 3.12.0 ;;
  "-m pip install"*) echo "$*" >> ../pip.txt; cat commit.txt >> ../pip.txt ;;
  *) exec {PYTHON} -u "$@" ;;
esac
"""

# Saves its step to a bucket that outlives the machines, and ends as `fates.json` says for this worker.
TRAINING = """
import json, os, signal, sys, time
from pathlib import Path

cloud, worker = Path(os.environ["CLOUD"]), Path(os.environ["HOME"]).name
bucket = cloud / "bucket.txt"
first = int(bucket.read_text()) if bucket.exists() else 0
print(f"worker {worker}: {' '.join(sys.argv[1:])}")
print(f"begins at step {first}, token {os.environ.get('HF_TOKEN')}")
fates = json.loads((cloud / "fates.json").read_text())
fate = fates.get(worker, 0)


def save(*_):
    bucket.write_text("20")
    print("saved at step 20")
    sys.exit(0)


signal.signal(signal.SIGTERM, save)
if fate == "runs":
    (cloud / f"runs-{worker}").touch()
    while True:
        time.sleep(0.02)
if fate in ("preempted", "vanishes", "leaves") and first == 0:
    bucket.write_text("20")
    request = json.loads((cloud / "request.json").read_text())
    states = ["SUSPENDED"] if fate == "preempted" else ["ACTIVE", "ACTIVE", "SUSPENDED"]
    (cloud / "request.json").write_text(json.dumps({**request, "states": states}))
    os.kill(0, signal.SIGTERM if fate == "leaves" else signal.SIGKILL)
if fate == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if isinstance(fate, int) and fate:
    sys.stderr.write(f"vae.py: no data on worker {worker}\\n")
    sys.exit(fate)
print(f"step {first + 20} loss 0.5")
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
            timeout=60,
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
        file = self.folder / "calls.jsonl"
        return [json.loads(line)[2:] for line in file.read_text().splitlines()] if file.exists() else []

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
        """How the training ends on a worker: `w0_1=3` for slice 0 worker 1."""
        table = {name.removeprefix("w").replace("_", "-"): fate for name, fate in fates.items()}
        (self.folder / "fates.json").write_text(json.dumps(table))

    def arrivals(self, *states: str) -> None:
        (self.folder / "arrivals.json").write_text(json.dumps(states))

    def change_request(self, **changes: object) -> None:
        request = json.loads((self.folder / "request.json").read_text())
        (self.folder / "request.json").write_text(json.dumps({**request, **changes}))

    def begin(self, slices: int, machines: int = 2) -> None:
        """What create.sh and setup.sh leave."""
        (self.folder / "machines").write_text(str(machines))
        request = {"states": ["ACTIVE"], "initiator": "SERVICE", "slices": slices}
        (self.folder / "request.json").write_text(json.dumps(request))
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
    stand_in = Path(__file__).with_name("stand_in_gcloud.py")
    executable(folder / "front" / "gcloud", f'#!/bin/sh\nexec {PYTHON} {stand_in} "$@"\n')
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
