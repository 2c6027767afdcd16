"""Several sources as one, and what is left of a source without its small images."""

import dataclasses
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import SupportsIndex

from laminate.data.decode import ImageError, image_header
from laminate.data.left_out import LeftOut, together
from laminate.data.records import KeyedRecords, RecordError, Records, RecordsManifest, Subset, fingerprint
from laminate.data.schema import NO_LABEL, Example

_COMMA = re.compile(r",(?![^{}]*\})")


def parts_of(spec: str) -> tuple[str, ...]:
    """The sources that commas separate; those inside braces, `{a,b}.tar`, separate none.

    Raises ValueError for nothing between two of them.
    """
    parts = tuple(part.strip() for part in _COMMA.split(spec))
    if not all(parts):
        raise ValueError(f"'{spec}' names {len(parts)} sources by commas, and one of them is nothing")
    return parts


class Mixed:
    """The records of several sources, one source after the other, with the classes of all by their names.

    An image is named by its source's number in front of its key, so that no two are called the same.
    """

    def __init__(self, sources: Sequence[Records]):
        names = sorted({name for records in sources for name in records.manifest.classes})
        number = {name: label for label, name in enumerate(names)}
        alike = len({records.manifest.classes for records in sources}) == 1
        self._labels = [
            list(range(len(records.manifest.classes)))
            if alike
            else [number[name] for name in records.manifest.classes]
            for records in sources
        ]
        self.manifest = _joined(sources, sources[0].manifest.classes if alike else tuple(names))
        self._sources = tuple(sources)
        self._ends = list(accumulate(len(records) for records in sources))

    def __len__(self) -> int:
        return self._ends[-1]

    def keys(self) -> Sequence[str]:
        """Keys made of the numbers of source and record."""
        return [f"{n}/{i}" for n, records in enumerate(self._sources) for i in range(len(records))]

    def __getitem__(self, index: SupportsIndex, /) -> Example:
        position = range(len(self))[index]
        source = bisect_right(self._ends, position)
        found = self._sources[source][position - self._ends[source] + len(self._sources[source])]
        label = found.label if found.label == NO_LABEL else self._labels[source][found.label]
        return Example(found.image, label, f"{source}/{found.key}")


def _joined(sources: Sequence[Records], classes: tuple[str, ...]) -> RecordsManifest:
    manifests = [records.manifest for records in sources]
    if any(manifest.arrays is not None for manifest in manifests):
        raise ValueError(
            "features that were computed already are not mixed with other data: give one source of them"
        )
    return dataclasses.replace(
        manifests[0],
        name="+".join(dict.fromkeys(manifest.name for manifest in manifests)),
        count=sum(len(records) for records in sources),
        classes=classes,
        source=" and ".join(manifest.source for manifest in manifests),
        fingerprint=fingerprint(["mixed", *classes, *(manifest.fingerprint for manifest in manifests)]),
        licence="; ".join(dict.fromkeys(one.licence for one in manifests if one.licence)),
        max_pixels=max(manifest.max_pixels for manifest in manifests),
        left_out=together(entry for manifest in manifests for entry in manifest.left_out),
        locked=tuple(folder for manifest in manifests for folder in manifest.locked),
        notes=tuple(note for manifest in manifests for note in manifest.notes),
    )


def without_small(records: KeyedRecords, side: int) -> KeyedRecords:
    """The images whose shorter side has at least `side` pixels, by their headers; the others are counted as left out.

    What cannot be read stays, for whoever counts bad images. Raises ValueError if nothing is left, and for records of
    features.
    """
    whole = records.manifest
    if whole.arrays is not None:
        raise ValueError(
            f"--min-size is of images, and {whole.source} holds {whole.arrays.field}: leave it out"
        )
    kept: list[int] = []
    first = ""
    for index in range(len(records)):
        try:
            example = records[index]
            header = image_header(example.image)
        except (RecordError, ImageError):
            kept.append(index)
            continue
        if min(header.height, header.width) >= side:
            kept.append(index)
        elif not first:
            first = example.key
    if not kept:
        raise ValueError(
            f"no image of the {whole.split} split of {whole.source} has {side} pixels along its shorter side: "
            "choose a smaller --min-size"
        )
    small = len(records) - len(kept)
    if not small:
        return records
    left_out = (LeftOut(f"image of less than {side} pixels along a side", small, first),)
    manifest = dataclasses.replace(
        whole,
        count=len(kept),
        fingerprint=fingerprint((whole.fingerprint, "min size", side)),
        left_out=together((*whole.left_out, *left_out)),
    )
    return Subset(records, kept, manifest)
