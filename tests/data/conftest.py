import io
from collections.abc import Callable, Collection
from typing import SupportsIndex

import numpy as np
import pytest
from PIL import Image

from laminate.data.records import RecordError, Records, RecordsManifest
from laminate.data.schema import Example


class PaintedRecords:
    """Records in memory; image i is of one colour, (i, 255 - i, 7), and of its own size. Label i % 3."""

    def __init__(self, count: int, bad: Collection[int], unreadable: Collection[int]):
        self.manifest = RecordsManifest(
            "painted", "train", count, ("a", "b", "c"), "painted", f"painted{count}"
        )
        self._bad = frozenset(bad)
        self._unreadable = frozenset(unreadable)

    def __len__(self) -> int:
        return self.manifest.count

    def __getitem__(self, index: SupportsIndex, /) -> Example:
        number = range(len(self))[index]
        if number in self._unreadable:
            raise RecordError(f"record {number} of painted is damaged")
        stream = io.BytesIO()
        Image.new("RGB", (9 + number % 5, 8 + number % 7), (number, 255 - number, 7)).save(stream, "PNG")
        data = stream.getvalue()
        return Example(data[:40] if number in self._bad else data, number % 3, f"key-{number}")


@pytest.fixture
def painted() -> Callable[..., Records]:
    """Records whose pixels tell which record they are: ``painted(count, bad=(), unreadable=())``."""

    def make(count: int, bad: Collection[int] = (), unreadable: Collection[int] = ()) -> Records:
        return PaintedRecords(count, bad, unreadable)

    return make


@pytest.fixture
def record_of() -> Callable[[np.ndarray], np.ndarray]:
    """The record that each painted image of a batch shows."""
    return lambda images: images[:, 0, 0, 0].astype(int)
