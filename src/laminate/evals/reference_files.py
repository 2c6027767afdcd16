"""Files that evaluators read: samples as one array, and the moments of a reference (ADM's layout)."""

import hashlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from laminate.evals.fid import FeatureMoments

IMAGES, LABELS = "arr_0", "labels"
MOMENTS = ("mu", "sigma")
SPATIAL = ("mu_s", "sigma_s")
_LARGEST_SIDE = 4096


class ReferenceFile:
    """An npz with images (`arr_0` uint8 `[images, height, width, 3]`), moments (`mu`, `sigma`), or both.

    Images are read from the archive as they are asked for. Raises ValueError for what is neither, or damaged, and
    OSError if the file is not there.
    """

    shape: tuple[int, ...]

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path).expanduser()
        try:
            with zipfile.ZipFile(self.path) as held:
                self.names = {Path(name).stem for name in held.namelist() if name.endswith(".npy")}
                self.shape = self._shape(held) if IMAGES in self.names else ()
        except zipfile.BadZipFile as error:
            raise ValueError(f"{self.path} is damaged, or no npz file.") from error
        if not self.has_images and not self.has_moments:
            raise ValueError(
                f"{self.path} holds {', '.join(sorted(self.names)) or 'nothing'}: samples are in {IMAGES}, moments in "
                f"{' and '.join(MOMENTS)}."
            )

    @property
    def has_images(self) -> bool:
        return IMAGES in self.names

    @property
    def has_moments(self) -> bool:
        return set(MOMENTS) <= self.names

    @property
    def count(self) -> int:
        """Images; 0 if it holds moments alone."""
        return self.shape[0] if self.has_images else 0

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of an image."""
        return self.shape[1], self.shape[2]

    def images(self, rows: int) -> Iterator[UInt8[np.ndarray, "_ height width 3"]]:
        """So many images at a time, in the order of the file: no more of it is in memory."""
        with zipfile.ZipFile(self.path) as held, held.open(f"{IMAGES}.npy") as member:
            shape = _header(member, self.path)[0]
            each = int(np.prod(shape[1:]))
            for start in range(0, shape[0], rows):
                count = min(rows, shape[0] - start)
                data = member.read(count * each)
                if len(data) != count * each:
                    raise ValueError(f"{self.path} ends before its {shape[0]} images do: it is damaged.")
                yield np.frombuffer(data, np.uint8).reshape(count, *shape[1:])

    def moments(self, names: tuple[str, str] = MOMENTS) -> FeatureMoments | None:
        """Those under these names, if the file has them; see `FeatureMoments.known` for what is refused."""
        if not set(names) <= self.names:
            return None
        with np.load(self.path, allow_pickle=False) as held:
            found = {name: held[name] for name in names}
        for name, array in found.items():
            if array.dtype.kind not in "fiu":
                raise ValueError(f"{self.path}: {name} is of {array.dtype}; moments are real numbers.")
        mean, covariance = (found[name].astype(np.float64) for name in names)
        if mean.ndim != 1:
            raise ValueError(f"{self.path}: {names[0]} has the shape {mean.shape}, and a mean has one axis.")
        try:
            return FeatureMoments.known(mean, covariance)
        except ValueError as error:
            raise ValueError(f"{self.path}: {names[0]} and {names[1]}: {error}") from error

    def sha256(self) -> str:
        """Of the bytes of the file."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            for block in iter(lambda: file.read(2**20), b""):
                digest.update(block)
        return digest.hexdigest()

    def _shape(self, held: zipfile.ZipFile) -> tuple[int, ...]:
        with held.open(f"{IMAGES}.npy") as member:
            shape, dtype = _header(member, self.path)
        whole = len(shape) == 4 and shape[3] == 3 and dtype == np.uint8
        if not whole or not (shape[0] and 0 < shape[1] <= _LARGEST_SIDE and 0 < shape[2] <= _LARGEST_SIDE):
            raise ValueError(
                f"{self.path}: {IMAGES} is {dtype} of shape {shape}; samples are uint8 [images, height, width, 3]."
            )
        return shape


def _header(member: Any, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(member)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(member)
    except ValueError as error:
        raise ValueError(f"{path}: {IMAGES} is no array of numbers ({error}).") from error
    if fortran and len(shape) > 1:
        raise ValueError(f"{path}: {IMAGES} is stored column by column; write it row by row.")
    return shape, dtype
