"""Encoding, drawing and training read a source by the same rule as preparing does."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from laminate.cli.encode_flags import EncodeFlags
from laminate.cli.sample_flags import SampleFlags
from laminate.data.options import SourceOptions
from laminate.data.sources import open_splits
from laminate.parallel.mesh import MeshShape, build_mesh
from tests.experiments.jobs import TINY_DIT, Job, experiment, write_photos

REFUSED = {
    "two readings": (("train", "train_extra"), "--split-folders"),
    "classes that differ": (("train/a", "train/b", "val/c"), "its train split has not"),
}


@pytest.mark.parametrize("folders, words", REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_refused_before_anything_is_written(folders, words, tmp_path, capsys):
    data = write_photos(tmp_path / "data", classes=folders, each=4)
    flags = EncodeFlags(out=tmp_path / "out", data=str(data), teacher="patches-16-4", mesh="1")
    with pytest.raises(SystemExit) as caught:
        experiment("encode").main(flags)
    assert caught.value.code == 2 and words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_images_without_a_class_to_validate_on_are_encoded(tmp_path, capsys):
    """ImageNet as it comes, which used to be refused when all was computed."""
    data = write_photos(tmp_path / "data", classes=("train/a", "train/b", "val"), each=4)
    flags = EncodeFlags(
        out=tmp_path / "out", data=str(data), teacher="patches-16-4", mesh="1", host_batch_size=4
    )
    experiment("encode").main(flags)
    splits = open_splits(str(tmp_path / "out"))
    assert [len(records) for records in splits.values()] == [8, 4]
    assert splits["train"].manifest.classes == ("a", "b") and splits["validation"][0].label == -1


@pytest.mark.parametrize("reading", ["split_folders", "classes"])
def test_a_check_of_samples_reads_with_the_flags_and_limits_of_a_training(reading, tmp_path, monkeypatch):
    data = write_photos(tmp_path / "data", classes=("train", "train_extra"), each=4)
    (data / "train" / "01.jpg").write_bytes(b"no picture")
    flags = SampleFlags(data=str(data), reading=SourceOptions(**{reading: True}), max_bad_images=1)
    sample, recipe = experiment("sample"), dataclasses.replace(TINY_DIT, classes=0)
    read: list[Any] = []
    monkeypatch.setattr(sample, "embedded_network", lambda: None)
    monkeypatch.setattr(sample, "sample_reference", lambda *given, **_: read.extend(given[2:]))
    sampler = SimpleNamespace(global_batch_size=4, mesh=build_mesh(MeshShape(1)), flow=None)
    sample.make_reference(flags, recipe, sample.open_checked(flags, "", recipe), sampler, None)
    seen = [batch["image"][batch["valid"]] for batches in read for batch in batches()]
    assert sum(map(len, seen)) == 7 and all(images.dtype == np.uint8 for images in seen)


def test_the_header_of_a_training_says_what_was_left_out(tmp_path, capsys):
    data = write_photos(tmp_path / "data", classes=("train", "train_extra"), each=8)
    (data / "train" / "notes.txt").write_text("hello")
    (data / "train" / "lost.jpg").symlink_to("/nowhere")
    job = Job(tmp_path, data)
    with pytest.raises(SystemExit) as caught:
        job.main("--stop-after", "1")
    assert caught.value.code == 2 and "--split-folders" in capsys.readouterr().err and not job.run.exists()
    job.main("--stop-after", "1", "--classes")
    said = "".join(capsys.readouterr())
    assert "1 link that leads nowhere, as train/lost.jpg" in " ".join(said.split())
    assert "no image (.txt)" in said
