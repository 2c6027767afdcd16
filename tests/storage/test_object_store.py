"""A place in an object store whose client is missing is refused by name, before anything starts."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from laminate.data.__main__ import main
from laminate.storage.object_store import MissingClient, require_client

ROOT = Path(__file__).parents[2]
WITHOUT = """
import importlib.util, runpy, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "gcsfs" else find(name, *more)
sys.argv = [sys.argv[1], *sys.argv[2:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def without_gcsfs(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gcsfs" else found(name))


@pytest.mark.parametrize("place", ["gs://bucket/run", Path("gs://bucket/run")])
def test_a_missing_client_is_named_with_what_installs_it(without_gcsfs, place):
    with pytest.raises(MissingClient, match=r"--run-dir gs:/.*needs gcsfs.*pip install -e '.\[gcs\]'"):
        require_client(place, flag="--run-dir")


@pytest.mark.parametrize("place", ["runs/x", "/tmp/gs", "~/gs:x", "tfds:mnist", "organisation/name@main", ""])
def test_other_places_need_none(without_gcsfs, place):
    require_client(place)


@pytest.mark.parametrize(
    ("script", "flag"),
    [
        ("vae.py", "--run-dir"),
        ("vae.py", "--data"),
        ("decoder.py", "--tokenizer"),
        ("sample.py", "--generator"),
    ],
)
def test_commands_refuse_in_one_line_before_anything_else(tmp_path, script, flag):
    command = [sys.executable, "-c", WITHOUT, str(ROOT / "experiments" / script), flag, "gs://bucket/x"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and f"{script}: {flag} gs://bucket/x needs gcsfs" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("prepare", "gs://bucket/x", "records"),
        ("prepare", "photos", "gs://bucket/x"),
        ("check", "gs://bucket/x"),
        ("show", "gs://bucket/x"),
    ],
)
def test_so_do_those_of_the_data(without_gcsfs, capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert re.search(r"gs:/.*bucket/x needs gcsfs", said) and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
