from pathlib import Path

import numpy as np

import laminate.data
from laminate.data.check import check
from laminate.data.decode import decode_image
from laminate.data.sources import open_records

FOLDER = Path(laminate.data.__file__).parent / "embedded"


def test_the_photographs_are_sound_and_small():
    assert check(FOLDER / "photographs").faults == ()
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 4.5e6


def test_every_class_has_its_images_and_its_licence():
    licences = (FOLDER / "LICENSES.md").read_text(encoding="utf-8")
    for split, count in (("train", 160), ("validation", 32)):
        records = open_records("embedded", split)
        labels = [records[i].label for i in range(len(records))]
        assert np.bincount(labels).tolist() == [count] * 10
        assert all(f"| {name} |" in licences for name in records.manifest.classes)


def test_images_are_64_by_64_and_no_validation_image_is_a_training_image():
    train, validation = (
        np.stack([decode_image(records[i].image) for i in range(len(records))])
        for records in (open_records("embedded", split) for split in ("train", "validation"))
    )
    assert train.shape == (1600, 64, 64, 3) and validation.shape == (320, 64, 64, 3)
    assert len({image.tobytes() for image in (*train, *validation)}) == 1920
