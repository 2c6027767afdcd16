"""``python -m laminate.pretrained``."""

import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from laminate.pretrained.__main__ import main
from laminate.pretrained.family import KnownWeights
from laminate.pretrained.registry import KNOWN
from tests.pretrained.hub_server import COMMIT, dinov2, serve


@pytest.fixture
def fake(tmp_path, monkeypatch):
    with serve(monkeypatch, tmp_path) as running:
        running.files["somebody/tiny", "model.safetensors"] = save(dinov2())
        tiny = KnownWeights(
            "tiny", "somebody/tiny", ("model.safetensors",), "CC0-1.0", "a test", "dinov2", config=None
        )
        monkeypatch.setitem(KNOWN, "tiny", tiny)
        yield running


def test_list_says_where_weights_are_from_and_by_what_they_are_pinned(fake, capsys):
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert "dinov2-b  facebook/dinov2-with-registers-base  346 MB" in said
    assert "Meta AI, DINOv3 (arXiv:2508.10104); licence: DINOv3 License" in said
    assert "a test; licence: CC0-1.0; pinned on the first fetch" in said
    assert "a pickle, to be converted" in said
    assert main(["fetch", "tiny"]) == 0
    assert capsys.readouterr().out.strip().endswith(f"snapshots/{COMMIT}/model.safetensors")
    assert main(["list"]) == 0
    assert f"a test; licence: CC0-1.0; pinned here, at {COMMIT[:8]}" in capsys.readouterr().out


def test_fetch_again_replaces_a_damaged_copy(fake, tmp_path, capsys):
    main(["fetch", "tiny"])
    blob = next((tmp_path / "cache").rglob("model.safetensors")).resolve()
    blob.write_bytes(blob.read_bytes()[:-4])
    assert main(["fetch", "tiny"]) == 2
    assert "fetch tiny --again" in capsys.readouterr().err
    assert main(["fetch", "tiny", "--again"]) == 0
    assert blob.read_bytes() == save(dinov2())
    assert main(["fetch", "somebody/tiny", "--again"]) == 2


def test_show_lists_names_shapes_dtypes_and_the_layout(tmp_path, capsys):
    save_file({**dinov2(), "n": np.array(3)}, tmp_path / "x.safetensors", metadata={"title": "a test"})
    assert main(["show", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "title: a test\n" in said
    assert "embeddings.cls_token  1x1x24  F32\n" in said and "n  scalar  I64\n" in said
    assert said.endswith(
        "8 tensors, 337 numbers (F32, I64), looks like DINOv2 with registers (24 wide, 2 layers)\n"
    )
    assert main(["show", str(tmp_path), "--no-names"]) == 0
    assert "cls_token" not in capsys.readouterr().out


@pytest.mark.parametrize("command", [["fetch", "dinov2-x"], ["show", "nowhere.safetensors"]])
def test_what_can_be_mended_is_one_line_and_code_2(command, capsys):
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1


def test_listing_and_showing_need_no_jax(tmp_path):
    save_file(dinov2(), tmp_path / "x.safetensors")
    code = (
        "import sys; from laminate.pretrained.__main__ import main; "
        f"main(['list']); main(['show', {str(tmp_path)!r}]); sys.exit('jax' in sys.modules)"
    )
    environment = {"HF_HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
