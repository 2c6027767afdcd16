"""Samples as files: a grid to look at, single pictures, and the array that evaluators read."""

import contextlib
import io
import zipfile
from collections.abc import Sequence
from itertools import count
from pathlib import PurePosixPath
from types import TracebackType
from typing import Literal

import numpy as np
from etils import epath
from jaxtyping import Float, Int, UInt8

from laminate.analysis.figures import FilePath
from laminate.storage.writing import UnwritableError, make_folder, write_bytes, writing

_LONGEST = 80  # letters of a file name

Rounding = Literal["nearest", "down"]
"""From [0, 1] to 0..255: FlatDINO's evaluator rounds (255 x + 0.5, cut off), its picture files cut off 255 x."""


def to_bytes(
    images: Float[np.ndarray, "images height width 3"], rounding: Rounding
) -> UInt8[np.ndarray, "images height width 3"]:
    """Images in [0, 1] as uint8."""
    scaled = images.astype(np.float32) * np.float32(255.0) + np.float32(0.5 if rounding == "nearest" else 0.0)
    return np.clip(np.floor(scaled), 0, 255).astype(np.uint8)


def class_major(classes: Sequence[int], count: int) -> Int[np.ndarray, " samples"]:
    """`count` labels, balanced and sorted as `classes`: the first classes get one more where it does not divide.

    Raises ValueError for fewer samples than classes.
    """
    if count < len(classes):
        raise ValueError(f"{count} samples cannot be balanced over {len(classes)} classes: ask for more.")
    each, more = divmod(count, len(classes))
    return np.repeat(np.asarray(classes, np.int32), [each + (i < more) for i in range(len(classes))])


def file_name(label: int, index: int, classes: Sequence[str]) -> str:
    """`class_0003_cat/000041.png`; `images/000041.png` of a sample without a class."""
    if label < 0:
        return f"images/{index:06d}.png"
    name = f"_{_plain(classes[label])}" if label < len(classes) else ""
    return f"class_{label:04d}{name}/{index:06d}.png"


def picture_names(names: Sequence[str]) -> list[str]:
    """For each file name one for the picture that is made of it, without an ending; no two are alike on any disk."""
    taken: set[str] = set()
    made: list[str] = []
    for name in names:
        path = PurePosixPath(name)
        whole = path.as_posix().removesuffix(path.suffix).replace("/", "-")
        stem = _plain(whole)[:_LONGEST].strip(".") or "image"
        found = next(
            one
            for one in (stem if number == 1 else f"{stem}-{number}" for number in count(1))
            if one.lower() not in taken
        )
        taken.add(found.lower())
        made.append(found)
    return made


def write_png(image: UInt8[np.ndarray, "height width 3"], path: epath.Path) -> None:
    """One picture; its folder is made."""
    from PIL import Image

    make_folder(path.parent)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


class SampleArchive:
    """`samples.npz` for evaluators: `arr_0` `[samples, height, width, 3]` uint8 and `labels`, written as they come.

    The file has another name until it is complete.
    """

    def __init__(self, path: FilePath, labels: Int[np.ndarray, " samples"]):
        self.path = epath.Path(path)
        self._partial = self.path.with_name(f"{self.path.name}.partial")
        self._labels = labels
        self._written = 0
        with writing(self.path):
            self._file = self._partial.open("wb")
            self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        self._member = None

    def add(self, images: UInt8[np.ndarray, "images height width 3"]) -> None:
        """The next samples."""
        with writing(self.path):
            if self._member is None:
                self._member = self._zip.open("arr_0.npy", "w", force_zip64=True)
                header = {
                    "descr": "|u1",
                    "fortran_order": False,
                    "shape": (len(self._labels), *images.shape[1:]),
                }
                np.lib.format.write_array_header_1_0(self._member, header)
            self._member.write(np.ascontiguousarray(images).tobytes())
        self._written += len(images)

    def __enter__(self) -> "SampleArchive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with writing(self.path):
                self._close(complete=kind is None)
        except UnwritableError:
            if kind is None:  # else the first error says more
                raise
        finally:
            if kind is not None:
                with contextlib.suppress(OSError):
                    self._partial.unlink()

    def _close(self, *, complete: bool) -> None:
        try:
            if self._member is not None:
                self._member.close()
            if complete and self._written == len(self._labels):
                with self._zip.open("labels.npy", "w") as member:
                    np.lib.format.write_array(member, self._labels, allow_pickle=False)
            self._zip.close()
        finally:
            self._file.close()
        if complete:
            self._partial.replace(self.path)


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
