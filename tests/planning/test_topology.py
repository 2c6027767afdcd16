"""Slices by name, what is refused, and the compiler that may be missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from laminate.planning import devices
from laminate.planning.chips import CHIPS, parse_topology

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "slices", "written", "chips"),
    [
        ("v5e:4x8", None, "v5e:4x8", 32),
        ("2*v5e:4x8", None, "2*v5e:4x8", 64),
        ("v5e:4x8", 3, "3*v5e:4x8", 96),
        ("2*v5p:4x4x4", 2, "2*v5p:4x4x4", 128),
        ("tpu7x:2x2x4", None, "TPU7x:2x2x4", 16),
    ],
)
def test_a_slice_is_read_and_written(text, slices, written, chips):
    topology = parse_topology(text, slices=slices)
    assert str(topology) == written
    assert topology.chips == chips


@pytest.mark.parametrize(
    ("text", "slices", "message"),
    [
        ("v5e", None, "is no slice: write KIND:SIZE such as v5e:4x8"),
        ("v5e:4x", None, "is no slice"),
        ("0*v5e:4x8", None, "is no slice"),
        ("v5f:4x8", None, "unknown kind 'v5f'. Kinds: v4, v5e, v5p, v6e, TPU7x"),
        ("v5e:4x4x4", None, "a v5e slice has 2 axes and 4x4x4 has 3: write v5e:4x8"),
        ("v5p:4x8", None, "a v5p slice has 3 axes and 4x8 has 2: write v5p:4x4x4"),
        ("2*v5e:4x8", 3, "say different numbers of slices"),
        ("v5e:4x8", 0, "--slices must be at least 1"),
    ],
)
def test_what_is_no_slice_is_refused_with_what_is(text, slices, message):
    with pytest.raises(ValueError) as caught:
        parse_topology(text, slices=slices)
    assert message in str(caught.value)


def test_a_device_has_its_share_of_a_chip():
    assert CHIPS["v5e"].of_device(CHIPS["v5e"].peak_flops) == 197e12
    assert CHIPS["TPU7x"].of_device(CHIPS["TPU7x"].peak_flops) == 2307e12 / 2


def test_without_the_compiler_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    with pytest.raises(devices.CompilerMissing, match=r"libtpu.*pip install -e '.\[tpu\]'"):
        devices.describe_slice(parse_topology("v5e:4x8"))


HIDDEN = """
import importlib.util, runpy, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "libtpu" else found(name, *rest)
sys.argv = ["plan.py", *sys.argv[1:]]
runpy.run_path("experiments/plan.py", run_name="__main__")
"""


def test_the_command_ends_with_2_and_one_line_where_the_compiler_is_missing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN, "--topology", "v5e:2x4", "--out", str(tmp_path / "plan")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and "pip install -e '.[tpu]'" in done.stderr
    assert not (tmp_path / "plan").exists()
