"""One tiny job for all tests of several processes, and compiled programs that they share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.experiments.conftest import photos, quick_compilation
from tests.experiments.jobs import Job, compiled_beside
from tests.multihost.pod import PROGRAM, Pod

__all__ = ["photos", "quick_compilation"]  # fixtures


@pytest.fixture
def job(tmp_path: Path, photos: Path) -> Job:
    return Job(tmp_path, photos)


@pytest.fixture
def train(job: Job, monkeypatch) -> Iterator[Callable[..., Pod]]:
    """`train(hosts, *flags)`: the processes of one training, with `more` flags for single hosts."""
    for name, value in compiled_beside(job.photos).items():
        monkeypatch.setenv(name, value)
    made: list[Pod] = []

    def start(hosts: int, *flags: str, more: dict[int, list[str]] | None = None, **options) -> Pod:
        arguments = [["vae", *job.arguments(*flags, *(more or {}).get(host, []))] for host in range(hosts)]
        made.append(Pod(job.folder, PROGRAM, arguments, **options))
        return made[-1]

    yield start
    for pod in made:
        pod.__exit__()
