"""Sets of images that are compared: a folder or any other source of data, a file of samples, or the moments of one."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Num

from laminate.data.augment import CenterCrop, Squash
from laminate.data.evaluation import evaluation_batches
from laminate.data.options import SourceOptions
from laminate.data.records import Records
from laminate.data.sources import SPLITS, open_splits
from laminate.evals.fid import FeatureMoments
from laminate.evals.protocols import HELD_OUT, TRAINING
from laminate.evals.reference_files import MOMENTS, SPATIAL, ReferenceFile

ROWS, _BYTES = 256, 2**24
"""Images that are read at a time; of large ones as many as are of so many bytes."""
VIEWS: dict[str, type[Squash] | type[CenterCrop]] = {"squash": Squash, "center-crop": CenterCrop}
Images = Num[np.ndarray, "_ height width 3"]


@dataclass(frozen=True)
class ImageSet:
    """A set by name: images that can be read again and again, or moments alone.

    `view` is how an image of it was made, in words.
    """

    said: str
    view: str
    file: ReferenceFile | None = None
    records: tuple[Records, ...] = ()
    augment: Squash | CenterCrop | None = None
    max_bad_images: int = 0
    most: int | None = None
    role: str = ""
    data: str = ""
    """What it is as a reference, and of which data, as protocols have them."""

    @property
    def has_images(self) -> bool:
        return bool(self.records) or (self.file is not None and self.file.has_images)

    @property
    def count(self) -> int:
        """Images; 0 of moments."""
        there = sum(map(len, self.records)) if self.file is None else self.file.count
        return there if self.most is None else min(there, self.most)

    @property
    def size(self) -> tuple[int, int] | None:
        """Rows and columns of an image; None of moments."""
        if self.file is not None:
            return self.file.size if self.file.has_images else None
        assert self.augment is not None
        return self.augment.size, self.augment.size

    def images(self) -> Iterator[np.ndarray]:
        """Some images at a time, uint8, in their order; images that cannot be read are left out and named."""
        left = self.count
        for some in self._all() if self.has_images else ():
            if left <= 0:
                return
            yield some[:left]
            left -= len(some)

    def _all(self) -> Iterator[np.ndarray]:
        if self.file is not None:
            yield from self.file.images(_rows(*self.file.size))
            return
        assert self.augment is not None
        rows = _rows(self.augment.size, self.augment.size)
        for records in self.records:
            batches = evaluation_batches(
                records, global_batch_size=rows, augment=self.augment, max_bad_images=self.max_bad_images
            )
            for batch in batches:
                yield batch["image"][batch["valid"]]

    def moments(self) -> tuple[FeatureMoments | None, FeatureMoments | None]:
        """Those of pooled and of spatial features that a file holds."""
        return (None, None) if self.file is None else (self.file.moments(MOMENTS), self.file.moments(SPATIAL))


def open_image_set(
    text: str,
    *,
    view: Squash | CenterCrop | None,
    reading: SourceOptions,
    max_bad_images: int,
    most: int | None = None,
) -> ImageSet:
    """The set that `text` names: a source as `--data` has it, perhaps with `@train` or `@validation` behind it, or an
    npz of samples or moments. Images of a source are seen in `view`, those of a file as they are.

    Raises ValueError or OSError for what cannot be read.
    """
    if text.endswith(".npz"):
        file = ReferenceFile(text)
        view_text = f"as in the file, {file.size[0]} x {file.size[1]}" if file.has_images else "moments"
        return ImageSet(text, view_text, file=file, most=most, role=file.path.name)
    source, split = _split_of(text)
    records = open_splits(source, options=reading)
    chosen = tuple(records.values()) if split is None else (_of(records, split, source),)
    if chosen[0].manifest.arrays is not None:
        raise ValueError(
            f"{text} holds {chosen[0].manifest.arrays.field} and no images, which are compared here."
        )
    assert view is not None
    return ImageSet(
        text,
        view.description,
        records=chosen,
        augment=view,
        max_bad_images=max_bad_images,
        most=most,
        role={"train": TRAINING, "validation": HELD_OUT}.get(split or "", "all images"),
        data=source,
    )


def require_alike(first: ImageSet, second: ImageSet) -> None:
    """Raises ValueError for images of two sizes, which no network sees alike."""
    sizes = [one.size for one in (first, second)]
    if None in sizes or sizes[0] == sizes[1]:
        return
    said = [
        f"{one.said} has images of {size[0]} x {size[1]}"
        for one, size in zip((first, second), sizes, strict=True)
        if size
    ]
    raise ValueError(
        f"{' and '.join(said)} pixels: compare equal ones. Images of a source are seen as squares of --image-size."
    )


def size_of_file(text: str) -> tuple[int, int] | None:
    """Rows and columns of the images in an npz; None of anything else."""
    if not text.endswith(".npz"):
        return None
    file = ReferenceFile(text)
    return file.size if file.has_images else None


class Passing:
    """Images on their way to be measured: each passes once, and none is kept but the few to be `shown`, which are
    spread over all `count` of them."""

    def __init__(self, images: Iterable[Images], count: int, *, shown: int):
        self._images = images
        self._places = np.unique(np.linspace(0, max(count - 1, 0), min(count, shown)).astype(int))
        self._shown: list[np.ndarray] = []
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[Images]:
        at = 0
        for some in self._images:
            here = self._places[(self._places >= at) & (self._places < at + len(some))] - at
            self._shown += [some[place].copy() for place in here]
            self._digest.update(np.ascontiguousarray(some).data)
            at += len(some)
            yield some

    @property
    def shown(self) -> Images:
        """Raises ValueError if none has passed."""
        return np.stack(self._shown)

    @property
    def sha256(self) -> str:
        """Of the pixels of all that have passed."""
        return self._digest.hexdigest()


def _rows(height: int, width: int) -> int:
    return max(1, min(ROWS, _BYTES // (3 * height * width)))


def _split_of(text: str) -> tuple[str, str | None]:
    source, at, split = text.rpartition("@")
    if at and split in SPLITS and not Path(text).expanduser().exists():
        return source, split
    return text, None


def _of(records: dict[str, Records], split: str, source: str) -> Records:
    if split not in records:
        raise ValueError(f"{source} has no split {split}; it has {', '.join(records)}.")
    return records[split]
