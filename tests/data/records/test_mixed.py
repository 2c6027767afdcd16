"""Several sources as one, images that are too small, and shards of the hub."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from laminate.data.__main__ import main
from laminate.data.options import SourceOptions
from laminate.data.prepare import Options
from laminate.data.prepare_hub import prepare_hub
from laminate.data.prepared import JOURNAL
from laminate.data.sources import CACHE, open_splits
from laminate.data.sources.hub_shards import HubError, hub_shards
from laminate.data.sources.mixed import parts_of
from tests.pretrained.hub_server import FakeHub, serve

SPEC = "hf://org/set/train-{000..002}.tar"


def picture(number: int, side: int = 12) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (side, 2 * side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def folder(root: Path, classes: dict[str, int], *, side: int = 12, first: int = 0) -> Path:
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.png").write_bytes(picture(first + number, side))
    return root


def shard(labels: list[int], first: int, side: int = 12) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, label in enumerate(labels):
            members = (
                (f"{first + number:04}.png", picture(first + number, side)),
                (
                    f"{first + number:04}.cls",
                    f"{label}".encode(),
                ),
            )
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with serve(monkeypatch, tmp_path) as running:
        for number, labels in enumerate(([0, 1, 0, 2], [3, 0, 1, 1], [2, 2, 0, 0])):
            running.files["org/set", f"train-{number:03}.tar"] = shard(labels, 10 * number)
        monkeypatch.setenv(CACHE, str(tmp_path / "converted"))
        yield running


def fetched(hub: FakeHub) -> list[str]:
    return [one.rpartition("/")[2] for one in hub.requests if one.startswith("GET") and one.endswith(".tar")]


def test_commas_separate_sources_and_braces_keep_theirs():
    assert parts_of("a/{x,y}-{0..2}.tar, b,embedded") == ("a/{x,y}-{0..2}.tar", "b", "embedded")
    with pytest.raises(ValueError, match="one of them is nothing"):
        parts_of("a,,b")


def test_several_sources_are_one_with_the_classes_of_all_by_their_names(tmp_path):
    one = folder(tmp_path / "one", {"cats": 10, "dogs": 10})
    other = folder(tmp_path / "other", {"birds": 10, "cats": 10}, first=50)
    splits = open_splits(f"{one},{other}")
    assert splits["train"].manifest.classes == ("birds", "cats", "dogs")
    assert [len(splits[split]) for split in ("train", "validation")] == [36, 4]
    for split in splits.values():
        for number in range(len(split)):
            example = split[number]
            assert example.key.split("/")[1] == split.manifest.classes[example.label]
    alone = {example.image for split in open_splits(str(one)).values() for example in split}
    both = {example.image for split in splits.values() for example in split}
    assert alone < both and len(both) == 20


def test_small_images_are_left_out_and_counted(tmp_path):
    large = folder(tmp_path / "large", {"cats": 12})
    folder(large, {"mice": 8}, side=7, first=50)
    splits = open_splits(str(large), options=SourceOptions(min_size=12))
    assert sum(map(len, splits.values())) == 12
    reasons = [entry for split in splits.values() for entry in split.manifest.left_out]
    assert sum(entry.count for entry in reasons) == 8
    assert {entry.reason for entry in reasons} == {"image of less than 12 pixels along a side"}
    with pytest.raises(ValueError, match="choose a smaller --min-size"):
        open_splits(str(large), options=SourceOptions(min_size=13))


def test_shards_of_the_hub_are_converted_one_at_a_time_and_dropped(hub, tmp_path, capsys):
    assert main(["prepare", SPEC, str(tmp_path / "out"), "--min-size", "12"]) == 0
    assert "shard 3 of 3: 4 images of train-002.tar" in capsys.readouterr().out
    splits = open_splits(str(tmp_path / "out"))
    assert sum(map(len, splits.values())) == 12 and splits["train"].manifest.classes == ("0", "1", "2", "3")
    by_key = {one.key.rpartition("/")[2]: one for split in splits.values() for one in split}
    assert (by_key["0003.png"].label, by_key["0003.png"].image) == (2, picture(3))
    assert by_key["0010.png"].label == 3 and by_key["0000.png"].label == 0
    assert fetched(hub) == ["train-000.tar", "train-001.tar", "train-002.tar"]
    left = [
        path.name for path in (tmp_path / "out").rglob("*") if path.suffix == ".tar" or path.name == JOURNAL
    ]
    assert left == []
    assert main(["check", str(tmp_path / "out")]) == 0
    assert main(["prepare", SPEC, str(tmp_path / "out"), "--min-size", "12"]) == 0
    assert len(fetched(hub)) == 3


def test_what_was_converted_is_not_fetched_again(hub, tmp_path):
    whole = hub.files.pop(("org/set", "train-002.tar"))
    with pytest.raises(HubError, match=r"There is no train-002\.tar"):
        prepare_hub(SPEC, tmp_path / "out", Options(workers=1))
    hub.files["org/set", "train-002.tar"] = whole
    prepared = prepare_hub(SPEC, tmp_path / "out", Options(workers=1))
    assert sum(one.count for one in prepared.shards) == 12
    assert fetched(hub) == ["train-000.tar", "train-001.tar", "train-002.tar"]


def test_a_training_takes_shards_of_the_hub_which_are_converted_once(hub, tmp_path):
    for _ in range(2):
        splits = open_splits(SPEC)
        assert sum(map(len, splits.values())) == 12
    assert len(fetched(hub)) == 3 and len(os.listdir(tmp_path / "converted")) == 1
    mixed = open_splits(f"{SPEC},embedded:photographs")
    assert len(mixed["validation"]) == 3 + 320


def test_without_the_hub_nothing_is_begun(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main(["prepare", SPEC, str(tmp_path / "out")]) == 2
    assert "HF_HUB_OFFLINE forbids to fetch train-000.tar" in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and hub.requests == []
    with pytest.raises(ValueError, match=r"expected hf://ORGANISATION/NAME"):
        hub_shards("hf://org/set/train-000.zip")
