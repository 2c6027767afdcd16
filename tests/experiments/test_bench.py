"""What `bench.py` says where it cannot measure."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("given", "found"), [("", "'' is no program"), ("false", "ended with 1")])
def test_a_peer_without_pytorch_is_refused_with_what_to_install(given, found):
    command = [sys.executable, "experiments/bench.py", "peers", "--peer-python", given, "--depth", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 2
    assert "pip install torch" in ended.stderr and found in ended.stderr
    assert "Traceback" not in ended.stderr
