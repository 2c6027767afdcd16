"""Evaluations measure the same on one device, on four, and on four of two processes."""

from pathlib import Path

import numpy as np
import pytest

from tests.multihost.features import IMAGES, gathered
from tests.multihost.pod import FEATURES, Pod


@pytest.fixture(scope="module")
def alone() -> dict[str, np.ndarray]:
    return gathered("1x1")


def require_alike(alone: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> None:
    assert alone.keys() == found.keys()
    for name, mine in alone.items():
        bound = 1e-6 if "fid" in name else 1e-10
        np.testing.assert_allclose(found[name], mine, rtol=bound, atol=bound, err_msg=name)


def test_four_devices_gather_the_features_moments_and_distances_of_one(alone) -> None:
    assert len(alone["train features"]) == len(alone["validation features"]) == IMAGES
    assert alone["fid of few"] > 0
    require_alike(alone, gathered("2x2"))


def test_each_of_two_processes_has_the_moments_and_distances_of_one(alone, tmp_path: Path) -> None:
    with Pod(tmp_path, FEATURES, [["2x2", str(tmp_path / "host")]] * 2) as pod:
        for host in pod.wait():
            assert host.code == 0, host.said
    for host in range(2):
        with np.load(tmp_path / f"host-{host}.npz") as found:
            require_alike(alone, dict(found))
