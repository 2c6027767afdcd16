"""The embedded images in many sizes and shapes: windows of the photographs, and emoji in a row or a column."""

import dataclasses
import io
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
from PIL import Image

from laminate.data.decode import HostImage, decode_image
from laminate.data.records import Records, RecordsManifest, fingerprint
from laminate.data.schema import NO_LABEL, Example
from laminate.data.transforms import crop_window, cut

AREA, RATIO = (0.3, 1.0), (0.4, 2.5)
EMOJI = 3
"""The most emoji of one image."""


class AnySizes:
    """First a window of every photograph, of a random share of its area and of a random aspect ratio; then two or
    three emoji beside or below each other, which have no label.

    Everything is drawn from the number of the record, so an image is always the same.
    """

    def __init__(self, photographs: Records, emoji: Records):
        self.manifest = _manifest(photographs.manifest, emoji.manifest)
        self._photographs = photographs
        self._emoji = emoji

    def __len__(self) -> int:
        return self.manifest.count

    def keys(self) -> Sequence[str]:
        """Keys made of the record numbers; those of the images that were put together are not read."""
        return [f"{self.manifest.name}#{number}" for number in range(len(self))]

    def __getitem__(self, index: SupportsIndex, /) -> Example:
        position = range(len(self))[index]
        rng = np.random.default_rng(position)
        if position < len(self._photographs):
            found = self._photographs[position]
            image = decode_image(found.image)
            window = crop_window(image.shape[0], image.shape[1], rng, area=AREA, ratio=RATIO)
            return Example(_file(cut(image, window)), found.label, found.key)
        first = EMOJI * (position - len(self._photographs))
        some = [self._emoji[first + number] for number in range(int(rng.integers(2, EMOJI + 1)))]
        joined = np.concatenate([decode_image(one.image) for one in some], axis=int(rng.integers(2)))
        return Example(_file(joined), NO_LABEL, "+".join(one.key for one in some))


def _manifest(photographs: RecordsManifest, emoji: RecordsManifest) -> RecordsManifest:
    return dataclasses.replace(
        photographs,
        name="any-size",
        count=photographs.count + emoji.count // EMOJI,
        source=f"windows of {photographs.source}; rows and columns of {emoji.source}",
        fingerprint=fingerprint((photographs.fingerprint, emoji.fingerprint, AREA, RATIO, EMOJI)),
        licence=f"{photographs.licence} {emoji.licence}",
    )


def _file(image: HostImage) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
