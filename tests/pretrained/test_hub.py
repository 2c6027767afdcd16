"""One function from a name, a file, a folder or a hub repository to numbers; everything else is one message."""

import errno
import hashlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save, save_file

from laminate.pretrained import download, hub, repository
from laminate.pretrained.family import KnownWeights
from laminate.pretrained.pins import PINS_FILE, read_pins
from laminate.pretrained.registry import KNOWN
from laminate.pretrained.tensors import WeightsError
from laminate.storage import hub_client
from tests.pretrained.hub_server import COMMIT, FakeHub, dinov2, halved, serve, sharded

TINY = dinov2()
CONFIG = {"hidden_size": 24}
REPOSITORY = "somebody/tiny"
NAME = "tiny-dinov2"
PINNED = KnownWeights(
    NAME, REPOSITORY, ("model.safetensors",), "CC0-1.0", "a test", "dinov2", width=24, depth=2
)


@pytest.fixture
def fake(tmp_path, monkeypatch) -> Iterator[FakeHub]:
    with serve(monkeypatch, tmp_path) as running:
        running.files[REPOSITORY, "model.safetensors"] = save(TINY)
        running.files[REPOSITORY, "config.json"] = json.dumps(CONFIG).encode()
        yield running


@pytest.fixture
def known(monkeypatch) -> KnownWeights:
    monkeypatch.setitem(KNOWN, NAME, PINNED)
    return PINNED


def same(loaded: hub.LoadedWeights, weights: dict[str, np.ndarray]) -> bool:
    return loaded.weights.keys() == weights.keys() and all(
        np.array_equal(loaded.weights[name], array) for name, array in weights.items()
    )


def kept(tmp_path: Path) -> list[str]:
    """What the cache holds of weights, whole or in part."""
    files = (
        path for path in (tmp_path / "cache").rglob("*") if path.is_file() and ".no_exist" not in path.parts
    )
    return sorted(
        path.name for path in files if path.suffix in (".safetensors", ".incomplete") or len(path.name) == 64
    )


# Local files and folders


def test_a_file_and_its_folder_give_the_same_weights_and_the_config_beside_them(tmp_path):
    save_file(TINY, tmp_path / "model.safetensors")
    assert hub.load(tmp_path / "model.safetensors").config is None
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    for source in (tmp_path, str(tmp_path), tmp_path / "model.safetensors"):
        loaded = hub.load(source)
        assert loaded.config == CONFIG and same(loaded, TINY)


@pytest.mark.parametrize("parts", [1, 3])
def test_shards_are_one_set_of_weights(tmp_path, parts):
    for file, data in sharded(halved(TINY), parts).items():
        (tmp_path / file).write_bytes(data)
    assert same(hub.load(tmp_path), halved(TINY))
    assert same(hub.load(tmp_path / "model.safetensors.index.json"), halved(TINY))


def test_shards_that_are_missing_doubled_or_of_another_index_are_refused(tmp_path):
    files = sharded(TINY, 3)
    for file, data in files.items():
        (tmp_path / file).write_bytes(data)
    first, second, _ = sorted(file for file in files if file.endswith(".safetensors"))
    (tmp_path / second).unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks 1 of 3 files that .* names: {second}"):
        hub.load(tmp_path)
    shutil.copy(tmp_path / first, tmp_path / second)
    with pytest.raises(WeightsError, match=r"they are no shards of one set"):
        hub.load(tmp_path)
    save_file({"stranger": np.ones(3, np.float32)}, tmp_path / second)
    with pytest.raises(
        WeightsError, match=r"differ: 2 names are missing .* 1 are not in the index \(stranger\)"
    ):
        hub.load(tmp_path)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ({}, "has no weight_map"),
        ({"weight_map": {"a": "../../a.safetensors"}}, "is no .safetensors file in its folder"),
        ({"weight_map": {"a": "a.bin"}}, "is no .safetensors file in its folder"),
        ([], "must be an object, got"),
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path, index, expected):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=expected):
        hub.load(tmp_path)


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".pth", ".ckpt"])
def test_pickles_are_refused_with_the_command_that_converts_them(tmp_path, suffix):
    (tmp_path / f"model{suffix}").write_bytes(b"PK\x03\x04")
    for source in (tmp_path, tmp_path / f"model{suffix}"):
        with pytest.raises(ValueError, match=r"runs code when it is read") as caught:
            hub.load(source)
        assert f'torch.load("{tmp_path}/model{suffix}", map_location="cpu", weights_only=True)' in str(
            caught.value
        )
        assert f'"{tmp_path}/model.safetensors"' in str(caught.value)


def test_a_folder_without_weights_or_with_a_choice_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no weights: a file model.safetensors was expected"):
        hub.load(tmp_path)
    for name in ("encoder", "decoder"):
        save_file(TINY, tmp_path / f"{name}.safetensors")
    with pytest.raises(
        ValueError, match=r"several files of weights: give one of decoder.safetensors, encoder"
    ):
        hub.load(tmp_path)


def test_a_flipped_bit_or_another_file_is_found_by_its_hash(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(TINY, path)
    stated = hashlib.sha256(path.read_bytes()).hexdigest()
    assert same(hub.load(path, sha256=stated.upper()), TINY)
    (tmp_path / "config.json").write_text(json.dumps({"weights": {"sha256": stated}}))
    assert same(hub.load(path), TINY)
    data = bytearray(path.read_bytes())
    data[-1] ^= 4
    path.write_bytes(data)
    for refused in (lambda: hub.load(path, sha256=stated), lambda: hub.load(tmp_path)):
        with pytest.raises(WeightsError, match=f"is damaged, or another file: .* {stated} was expected"):
            refused()


def test_weights_that_are_not_finite_are_refused(tmp_path):
    save_file({**TINY, "a.weight": np.array([1, np.nan], np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"1 tensor with NaN or infinity \(a\.weight\)"):
        hub.load(tmp_path)


def test_weights_of_another_family_are_called_what_they_are(tmp_path):
    save_file(TINY, tmp_path / "model.safetensors")
    assert same(hub.load(tmp_path, family="dinov2"), TINY)
    with pytest.raises(
        WeightsError, match=r"looks like DINOv2 with registers \(24 wide, 2 layers\), you asked for V"
    ):
        hub.load(tmp_path, family="vit-mae")


def test_a_name_of_nothing_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"no known weights named 'dinov2-x': did you mean dinov2-"):
        hub.load("dinov2-x")
    for absent in (tmp_path / "absent", tmp_path / "absent.safetensors", "absent/model.safetensors"):
        with pytest.raises(FileNotFoundError, match=r"There is no file or folder"):
            hub.load(absent)


# The hub


def test_a_repository_is_fetched_once_and_then_read_without_the_hub(fake, monkeypatch):
    for source in (REPOSITORY, f"{REPOSITORY}@main", f"{REPOSITORY}@{COMMIT}"):
        loaded = hub.load(source)
        assert loaded.config == CONFIG and same(loaded, TINY)
    assert sum(request.startswith(f"GET /{REPOSITORY}/resolve") for request in fake.requests) == 2
    fake.requests.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert same(hub.load(REPOSITORY), TINY)
    assert fake.requests == []


@pytest.mark.parametrize("name", ["model", "diffusion_pytorch_model"])
def test_a_sharded_repository_without_config_is_fetched(fake, name):
    for file, data in sharded(TINY, 2).items():
        fake.files["somebody/large", file.replace("model.safetensors.index", f"{name}.safetensors.index")] = (
            data
        )
    loaded = hub.load("somebody/large")
    assert loaded.config is None and same(loaded, TINY)


def test_a_copied_cache_is_a_hub_without_network(tmp_path, monkeypatch):
    """A folder that imitates the snapshot of a hub repository, as a machine without network gets one."""
    folder = tmp_path / "models--somebody--tiny"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    save_file(TINY, snapshot / "model.safetensors")
    (snapshot / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert same(hub.load(REPOSITORY, cache=tmp_path), TINY)
    assert hub.load(snapshot).config == CONFIG
    (snapshot / "config.json").unlink()
    assert hub.load(REPOSITORY, cache=tmp_path).config is None


def test_what_is_on_no_machine_is_said_to_be(fake, tmp_path, monkeypatch):
    with pytest.raises(
        download.FetchError, match=r"no file or folder here. There is no repository some/body on the"
    ):
        hub.load("some/body")
    with pytest.raises(download.FetchError, match=r"somebody/tiny has no revision 'v9'"):
        hub.load(f"{REPOSITORY}@v9")
    fake.files["somebody/pickle", "pytorch_model.bin"] = b""
    with pytest.raises(
        FileNotFoundError, match=r"has none of model.safetensors, .* `hf download somebody/pickle"
    ):
        hub.load("somebody/pickle")
    fake.gated.add("somebody/gated")
    with pytest.raises(
        download.FetchError, match=r"gated: accept its licence at http.*/somebody/gated, then `hf auth"
    ):
        hub.load("somebody/gated")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        download.UnreachableError, match=r"not in the cache .*, and HF_HUB_OFFLINE forbids to fetch it"
    ):
        hub.load("somebody/other")
    assert kept(tmp_path) == []


def test_a_download_that_stops_or_arrives_changed_leaves_nothing(fake, tmp_path):
    key = REPOSITORY, "model.safetensors"
    sound, flipped = fake.files[key], bytearray(fake.files[key])
    flipped[-1] ^= 1
    fake.sent[key] = bytes(flipped)
    with pytest.raises(download.FetchError, match=r"arrived damaged: .* Nothing was kept; fetch it again"):
        hub.load(REPOSITORY)
    assert kept(tmp_path) == []
    fake.sent[key] = sound
    assert same(hub.load(REPOSITORY), TINY)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            r"The disk is full: .* MB free\)\. Nothing was kept; make",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied"),
            "cannot be written, so .* set HF_HOME to a folder",
        ),
        (OSError(errno.EROFS, "Read-only file system"), "cannot be written, so .* set HF_HOME to a folder"),
        (
            OSError("Consistency check failed: file should be 5"),
            "arrived incomplete. Nothing was kept; fetch it",
        ),
        (OSError("something else"), "could not be fetched: something else"),
    ],
)
def test_a_disk_that_fails_while_fetching_is_one_message_and_leaves_nothing(
    fake, tmp_path, monkeypatch, error, expected
):
    def half(url, temp_file, **_):
        temp_file.write(b"half")
        raise error

    monkeypatch.setattr(huggingface_hub.file_download, "http_get", half)
    with pytest.raises(download.FetchError, match=expected) as caught:
        hub.load(REPOSITORY)
    assert "\n" not in str(caught.value)
    assert kept(tmp_path) == []


def test_no_network_is_one_message(fake, monkeypatch):
    def unreachable(*_, **__):
        raise download._HTTP_ERROR("Name or service not known\nand more")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(
        download.UnreachableError, match=r"cannot be reached \(Name or service not known\): connect"
    ):
        download.fetch(REPOSITORY, "model.safetensors", revision="main")
    monkeypatch.undo()
    with pytest.raises(download.FetchError, match=r"cannot be the name of a repository"):
        download.fetch("a/b/c", "model.safetensors", revision="main")


@pytest.mark.parametrize("header", ["ETag", "X-Linked-Etag", "X-Repo-Commit"])
@pytest.mark.parametrize("value", ['"../../../../outside"', "/tmp/outside", "..", '"a/b"'])
@pytest.mark.parametrize("file", ["model.safetensors", "absent.json"])
def test_a_hub_that_names_a_place_outside_the_cache_is_refused(fake, tmp_path, header, value, file):
    fake.headers = {header: value}
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    with pytest.raises(
        download.FetchError, match=rf"answers with the {header} .*no name of a file .*nothing was written"
    ):
        download.fetch(REPOSITORY, file, revision="main")
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("revision", ["main", COMMIT])
def test_a_hub_that_never_answers_is_given_up_after_the_stated_time(fake, monkeypatch, revision):
    fake.silent, began = threading.Event(), time.monotonic()
    monkeypatch.setattr(hub_client, "ANSWERING", 0.5)
    try:
        with pytest.raises(
            download.UnreachableError, match=r"cannot be reached \(127.0.0.1 does not answer within"
        ):
            hub.load(f"{REPOSITORY}@{revision}")
    finally:
        fake.silent.set()
    assert time.monotonic() - began < 5.0
    fake.silent = None
    assert same(hub.load(f"{REPOSITORY}@{revision}"), TINY)


def one_silent_error(source: str, capfd: pytest.CaptureFixture[str]) -> str:
    """What asking for `source` says: one line, in less than five seconds, and nothing on the screen."""
    began = time.monotonic()
    with pytest.raises(download.FetchError) as caught:
        hub.load(source)
    assert time.monotonic() - began < 5.0
    assert capfd.readouterr() == ("", "") and "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_network_one_line_comes_at_once_and_the_cache_still_serves(fake, monkeypatch, capfd):
    assert same(hub.load(REPOSITORY), TINY)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(fake.url, f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(hub_client, "_reached", {})
    capfd.readouterr()
    assert "cannot be reached (127.0.0.1: Connection refused): connect" in one_silent_error(
        "some/body", capfd
    )
    assert same(hub.load(REPOSITORY), TINY)


def test_names_that_are_never_looked_up_and_hosts_that_never_connect_are_given_up(fake, monkeypatch, capfd):
    released = threading.Event()

    def hanging(*_, **__):
        released.wait()
        raise OSError

    monkeypatch.setattr(hub_client, "_reached", {})
    monkeypatch.setattr(hub_client, "ANSWERING", 1.0)
    monkeypatch.setattr(socket, "create_connection", hanging)
    try:
        assert "cannot be reached (127.0.0.1: no connection within 1 s)" in one_silent_error(
            "some/body", capfd
        )
    finally:
        released.set()
    assert fake.requests == []


def test_a_hub_that_is_broken_is_asked_twice_and_said_to_be(fake, capfd):
    fake.failing = True
    assert "The hub answered 500 for model.safetensors of some/body@main: try again later." in (
        one_silent_error("some/body", capfd)
    )
    assert len(fake.requests) == 2


def test_a_mistyped_name_is_one_line(fake, capfd):
    assert "There is no repository some/body on the hub" in one_silent_error("some/body", capfd)


def test_what_is_written_as_a_path_is_never_asked_of_a_hub(fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "somebody").mkdir()
    for path in ("runs/absent", "somebody/tiny", "./somebody/tiny", "~/absent", "/absent/tiny"):
        with pytest.raises(FileNotFoundError, match=r"There is no file or folder"):
            hub.load(path)
    assert fake.requests == []
    assert same(hub.load(f"{REPOSITORY}@main"), TINY)


# Known names


def test_a_known_name_is_pinned_by_its_first_fetch_and_checked_from_then_on(fake, known, tmp_path):
    loaded = hub.load(NAME)
    assert loaded.config == CONFIG and same(loaded, TINY)
    pin = read_pins(tmp_path / "cache")[NAME]
    stated = hashlib.sha256(fake.files[REPOSITORY, "model.safetensors"]).hexdigest()
    assert (pin.repository, pin.commit, pin.sha256["model.safetensors"]) == (REPOSITORY, COMMIT, stated)
    fake.requests.clear()
    assert same(hub.load(NAME), TINY)
    assert fake.requests == []

    blob = next((tmp_path / "cache").rglob("model.safetensors")).resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(WeightsError, match=f"is damaged, or not what was pinned: .* fetch {NAME} --again"):
        hub.load(NAME)
    repository.forget(known)
    assert same(hub.load(NAME), TINY)


def test_another_file_under_a_pinned_name_is_refused(fake, known, tmp_path):
    hub.load(NAME)
    repository.forget(known)
    fake.files[REPOSITORY, "model.safetensors"] = save(dinov2(seed=1))
    with pytest.raises(WeightsError, match=r"not what was pinned"):
        hub.load(NAME)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (save(dinov2(registers=False)), "tiny-dinov2 looks like DINOv2 without registers"),
        (
            save(dinov2(width=48)),
            r"looks like DINOv2 with registers \(48 wide, 2 layers\), .* \(24 wide, 2 layers\)",
        ),
        (save(dinov2(depth=3)), r"looks like DINOv2 with registers \(24 wide, 3 layers\), you asked for"),
        (save(TINY)[:-4], "is truncated"),
    ],
    ids=["family", "width", "depth", "truncated"],
)
def test_weights_that_are_not_what_the_name_says_are_neither_pinned_nor_kept(
    fake, known, tmp_path, weights, expected
):
    fake.files[REPOSITORY, "model.safetensors"] = weights
    with pytest.raises(WeightsError, match=expected):
        hub.load(NAME)
    assert kept(tmp_path) == []
    assert not (tmp_path / "cache" / PINS_FILE).exists()


def test_a_hash_that_the_owner_states_is_compared_at_once(fake, tmp_path, monkeypatch):
    stated = {"model.safetensors": "0" * 64}
    monkeypatch.setitem(KNOWN, NAME, KnownWeights(**{**vars(PINNED), "sha256": stated}))
    with pytest.raises(WeightsError, match=f"{'0' * 64} was expected"):
        hub.load(NAME)
    assert kept(tmp_path) == []


def test_a_known_pickle_is_refused_before_it_is_fetched(fake):
    with pytest.raises(
        ValueError, match=r"hf download nyu-visionx/RAE-collections .*model\.pt .*&& python -c"
    ):
        hub.load("rae-decoder-dinov2-b")
    assert fake.requests == []


def test_damaged_pins_are_refused(fake, known, tmp_path):
    hub.load(NAME)
    (tmp_path / "cache" / PINS_FILE).write_text('{"x": {"commit": 1}}')
    with pytest.raises(ValueError, match=f"{PINS_FILE} is damaged .*: remove it"):
        hub.load(NAME)


def test_several_files_of_a_name_are_one_set_of_weights(fake, monkeypatch):
    parts = {
        "encoder.safetensors": {"a": np.ones(3, np.float32)},
        "decoder.safetensors": {"b": np.ones(2, np.float32)},
    }
    for file, tensors in parts.items():
        fake.files["somebody/pair", file] = save(tensors)
    pair = KnownWeights("pair", "somebody/pair", tuple(parts), "CC0-1.0", "a test", "", config=None)
    monkeypatch.setitem(KNOWN, "pair", pair)
    assert set(hub.load("pair").weights) == {"a", "b"}
    with pytest.raises(ValueError, match=r"sha256 is of one file, and these weights are 2 files"):
        hub.load("pair", sha256="0" * 64)


def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    save_file(TINY, tmp_path / "model.safetensors")
    os.chmod(tmp_path / "model.safetensors", 0)
    if os.access(tmp_path / "model.safetensors", os.R_OK):  # the superuser may read everything
        return
    with pytest.raises(PermissionError, match=r"model.safetensors"):
        hub.load(tmp_path)


def test_a_config_of_a_file_alone_is_the_one_beside_it_in_the_cache(fake):
    files = hub.locate(REPOSITORY)
    assert files.config is not None and files.config.parent == files.weights[0].parent
