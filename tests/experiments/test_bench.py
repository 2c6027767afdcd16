"""What `bench.py` says where it cannot measure, and how it sets libraries beside ours that are not here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

STAND_IN = f"""#!{sys.executable}
import json, sys
from pathlib import Path
import numpy as np

spec = json.loads(sys.stdin.readline())
load = lambda name: np.load(Path(spec["folder"], name + ".npy"), allow_pickle=False).astype(np.float64)
print(json.dumps({{"versions": {{"scikit-image": "1.2", "torchmetrics": "3.4"}}}}), flush=True)
for line in sys.stdin:
    error = np.square(load("images") - load("originals")).mean(axis=(1, 2, 3))
    seen = -10 * np.log10(error) * (1.5 if "torchmetrics" in line else 1.0)
    np.save(Path(spec["folder"], line.strip() + ".npy"), seen)
    print([2.0, 4.0], flush=True)
"""
LACKING = f"""#!{sys.executable}
import json
print(json.dumps({{"missing": ["torchmetrics", "scikit-image"]}}), flush=True)
"""


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "experiments/bench.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def interpreter(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("given", "found"), [("", "'' is no program"), ("false", "ended with 1")])
def test_a_peer_without_pytorch_is_refused_with_what_to_install(given, found):
    ended = bench("peers", "--peer-python", given, "--depth", "1")
    assert ended.returncode == 2
    assert "pip install torch" in ended.stderr and found in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_peer_that_lacks_libraries_is_refused_in_one_message(tmp_path):
    ended = bench("measures", "--peer-python", interpreter(tmp_path, LACKING), "--only", "psnr")
    assert ended.returncode == 2 and not ended.stdout
    assert "pip install torch torch-fidelity torchmetrics scikit-image scikit-learn" in ended.stderr
    assert "lacks torchmetrics, scikit-image." in ended.stderr
    assert "Traceback" not in ended.stderr


def test_measures_state_ratio_and_agreement_with_each_library(tmp_path):
    sizes = ["--features", "100", "256", "--images", "3", "--turns", "2"]
    ended = bench("measures", "--peer-python", interpreter(tmp_path, STAND_IN), *sizes, "--only", "psnr")
    assert ended.returncode == 0, ended.stderr
    same, other = map(json.loads, ended.stdout.splitlines())
    assert (same["measure"], same["beside"]) == ("psnr", "scikit-image 1.2")
    assert other["beside"] == "torchmetrics 3.4"
    assert same["difference"] < 1e-6 and other["difference"] == pytest.approx(1 / 3, rel=1e-2)
    assert same["beside_ms"] == 2000.0 and 0 < same["cpu_ratio"] < 1
    assert 0 < same["least"] <= same["ratio"] <= same["most"] < 1
