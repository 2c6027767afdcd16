"""Embedded images of many sizes: each always the same, in both splits, with the labels that they have."""

import io

import numpy as np
from PIL import Image

from laminate.data.schema import NO_LABEL
from laminate.data.sources import open_splits


def sizes(records, step: int) -> np.ndarray:
    return np.array(
        [Image.open(io.BytesIO(records[n].image)).size[::-1] for n in range(0, len(records), step)]
    )


def test_they_have_many_shapes_and_are_the_same_every_time():
    one, other = (open_splits("embedded:any-size") for _ in range(2))
    for split, records in one.items():
        shapes = sizes(records, 7)
        ratios = shapes[:, 1] / shapes[:, 0]
        assert ratios.min() < 0.5 and ratios.max() > 2.0 and len(np.unique(shapes, axis=0)) > 20
        for number in (0, len(records) - 1):
            assert records[number] == other[split][number]
        assert records.manifest.fingerprint == other[split].manifest.fingerprint
        assert len(set(records.keys())) == len(records) == records.manifest.count
    assert one["train"].manifest.fingerprint != one["validation"].manifest.fingerprint


def test_windows_have_the_label_of_their_photograph_and_rows_of_emoji_none():
    records = open_splits("embedded:any-size")["validation"]
    photographs = open_splits("embedded:photographs")["validation"]
    assert records.manifest.classes == photographs.manifest.classes
    for number in (0, 77, len(photographs) - 1):
        assert records[number].label == photographs[number].label
    assert records[len(records) - 1].label == NO_LABEL
    assert "CC-BY-4.0" in records.manifest.licence and "CC0" in records.manifest.licence
