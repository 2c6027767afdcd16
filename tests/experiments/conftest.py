"""Settings that make whole experiments quick enough for tests."""

import signal
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from tests.experiments.jobs import Job, write_photos, write_tokenizer


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """24 small pictures of two classes."""
    return write_photos(tmp_path_factory.mktemp("photos") / "pictures", classes=("cats", "dogs"), each=12)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    """An untrained tokenizer, saved as a finished run shares it."""
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "saved")


@pytest.fixture
def job(tmp_path, photos) -> Job:
    return Job(tmp_path, photos)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation(photos) -> Iterator[None]:
    """These tests compile the same few programs many times, and run each for a few steps."""
    settings = {
        "jax_disable_most_optimizations": True,
        "jax_compilation_cache_dir": str(photos.parent / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,  # none takes a second, and together they take most
    }
    before = {name: jax.config.values[name] for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    assert len(jax.devices()) == 8  # before a run asks for as many as its mesh has
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(autouse=True)
def restored_signals() -> Iterator[None]:
    """The handlers that a run in this process installs do not outlive it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before
