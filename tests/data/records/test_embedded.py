import re
from pathlib import Path

import numpy as np
import pytest

import laminate.data
from laminate.data.check import check
from laminate.data.decode import decode_image
from laminate.data.sources import open_records

SPLITS = ("train", "validation")
FOLDER = Path(laminate.data.__file__).parent / "embedded"


@pytest.mark.parametrize(("name", "most"), [("photographs", 4.5e6), ("emoji", 5e6)])
def test_the_sets_are_sound_and_small(name, most):
    assert check(FOLDER / name).faults == ()
    assert sum(path.stat().st_size for path in (FOLDER / name).rglob("*") if path.is_file()) < most


def test_every_class_has_its_images_and_its_licence():
    licences = (FOLDER / "LICENSES.md").read_text(encoding="utf-8")
    for split, count in (("train", 160), ("validation", 32)):
        records = open_records("embedded:photographs", split)
        labels = [records[i].label for i in range(len(records))]
        assert np.bincount(labels).tolist() == [count] * 10
        assert all(f"| {name} |" in licences for name in records.manifest.classes)


def test_images_are_64_by_64_and_no_validation_image_is_a_training_image():
    train, validation = (
        np.stack([decode_image(records[i].image) for i in range(len(records))])
        for records in (open_records("embedded:photographs", split) for split in ("train", "validation"))
    )
    assert train.shape == (1600, 64, 64, 3) and validation.shape == (320, 64, 64, 3)
    assert len({image.tobytes() for image in (*train, *validation)}) == 1920


def test_no_emoji_is_in_two_splits_in_any_style_or_tone_of_skin():
    seen = {
        split: {re.sub(r"-1f3f[b-f]", "", record_key(records, i)) for i in range(len(records))}
        for split, records in ((split, open_records("embedded:emoji", split)) for split in SPLITS)
    }
    assert not seen["train"] & seen["validation"]
    assert min(map(len, seen.values())) > 90


def test_every_kind_of_emoji_is_in_both_splits_many_times_and_no_picture_is_repeated():
    pictures = []
    for split, least in (("train", 30), ("validation", 6)):
        records = open_records("embedded:emoji", split)
        labels = [records[i].label for i in range(len(records))]
        assert records.manifest.classes == (
            *("animal", "ball", "button", "clock", "face", "flag", "hand", "heart", "person", "walker"),
        )
        assert np.bincount(labels).min() >= least
        pictures += [decode_image(records[i].image) for i in range(len(records))]
    assert {picture.shape for picture in pictures} == {(64, 64, 3)}
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    # On white: the corners of all but buttons are.
    assert np.mean([(picture[0, 0] == 255).all() for picture in pictures]) > 0.8
    licences = (FOLDER / "LICENSES.md").read_text(encoding="utf-8")
    assert "Noto" in licences and "Twemoji" in licences and "CC BY 4.0" in licences


def record_key(records, i):
    """What tells an emoji from another one: the last part of its key, without the style."""
    return records[i].key.rpartition("/")[2].partition("-")[2].rpartition(".")[0]
