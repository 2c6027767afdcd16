"""Two processes with two devices each train as one process with four."""

import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from etils import epath

from laminate.train.array_store import load_arrays
from tests.experiments.jobs import Job, compiled_beside, metrics
from tests.multihost.pod import PROGRAM, Pod

STEPS = 3
SHORT = ("--stop-after", f"{STEPS}", "--validate-every", "6", "--checkpoint-every", "6")
CASES = [("vae", "1x4"), ("fsq", "4x1")]  # the other two differ in nothing that crosses hosts


def flags(job: Job, mesh: str, run: Path) -> list[str]:
    return job.arguments(*SHORT, "--mesh", mesh, run=run)


@pytest.fixture(scope="module")
def together(photos, tmp_path_factory) -> Iterator[Path]:
    """The folder in which two processes have trained all cases, one after the other."""
    folder = tmp_path_factory.mktemp("together")
    arguments: list[str] = []
    for family, mesh in CASES:
        job = Job(folder, photos, family)
        arguments += ["--then"] * bool(arguments) + [family, *flags(job, mesh, folder / f"{family}-{mesh}")]
    compiled = compiled_beside(photos)
    with Pod(folder, PROGRAM, [arguments] * 2, environment={0: compiled, 1: compiled}) as pod:
        for host in pod.wait():
            assert host.code == 0, host.said
        # Only the first says how it goes.
        assert pod.said(0).count("step 3/6") == len(CASES)
        assert "mesh 1x4 (data x fsdp), 4 simulated on the CPU of 2 hosts" in pod.said(0)
        assert "step" not in pod.said(1)
    yield folder


def floats(run: Path) -> dict[str, np.ndarray]:
    """Every number of the newest checkpoint."""
    place = run / "checkpoints" / str(STEPS)
    saved = json.loads((place / "manifest.json").read_text())["leaves"]
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    wanted = {
        name: jax.ShapeDtypeStruct(leaf["shape"], leaf["dtype"], sharding=here)
        for name, leaf in saved.items()
        if leaf["dtype"] == "float32"
    }
    return {name: np.asarray(x) for name, x in load_arrays(epath.Path(place), wanted).items()}


@pytest.mark.parametrize(("family", "mesh"), CASES)
def test_losses_and_parameters_are_those_of_one_process(family, mesh, together, photos, tmp_path):
    alone, several = tmp_path / "alone", together / f"{family}-{mesh}"
    job = Job(tmp_path, photos, family)
    job.main(*SHORT, "--mesh", mesh, run=alone)
    one, two = metrics(alone), metrics(several)
    assert [line["step"] for line in two if "train/loss" in line] == [1, 2, 3]
    assert [line.keys() for line in one] == [line.keys() for line in two]
    for mine, theirs in zip(one, two, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-5, abs=1e-6)
        if "train/loss" in mine:
            assert theirs["train/loss"] == pytest.approx(mine["train/loss"], abs=1e-6)
    ours, theirs = floats(alone), floats(several)
    assert ours.keys() == theirs.keys() and len(ours) > 20
    for name in ours:
        np.testing.assert_allclose(theirs[name], ours[name], rtol=0, atol=1e-6, err_msg=name)
