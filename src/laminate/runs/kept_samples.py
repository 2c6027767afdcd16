"""Drawn images, kept a batch at a time until they are measured: drawing goes on where it was stopped."""

import io
from collections.abc import Callable, Iterator

import numpy as np
from etils import epath
from jaxtyping import Int, UInt8

from laminate.parallel.hosts import is_first, of_first
from laminate.runs.exit_codes import say
from laminate.storage.writing import make_folder, write_bytes

Images = UInt8[np.ndarray, "images height width 3"]
LABELS = "labels.npy"


class KeptSamples:
    """Batches of images in `folder`, which all hosts see, each in a file that says with which sample it begins."""

    def __init__(self, folder: epath.Path, labels: Int[np.ndarray, " samples"]):
        self._folder, self._labels = folder, labels

    def images(self, draw: Callable[[int], Iterator[Images]]) -> Iterator[Images]:
        """All images, batch by batch, where `draw(first)` draws from sample `first` on; kept ones are not drawn again.

        The first batch always is: unless it is bit for bit the one that was kept, as the weights, the seed or the way
        have changed since, all are drawn anew. Raises OSError if a host does not see what another one has kept.
        """
        fresh = draw(0)
        first = next(fresh)
        kept = self._kept(first)
        if kept:
            at = len(first) + sum(map(self._count, kept[1:]))
            say(f"{at} of {len(self._labels)} images were drawn before: going on", primary=is_first())
            yield first
            for file in kept[1:]:
                yield _read(file)
            fresh = draw(at) if at < len(self._labels) else iter(())
        else:
            self.clear()
            at = len(first)
            self._keep(LABELS, self._labels)
            self._keep(_name(0), first)
            yield first
        for images in fresh:
            self._keep(_name(at), images)
            at += len(images)
            yield images

    def clear(self) -> None:
        """Forget them."""
        if is_first() and self._folder.exists():
            self._folder.rmtree()

    def _kept(self, first: Images) -> list[epath.Path]:
        """The files that follow each other from sample 0 on, if they are of these labels and of the batch `first`."""
        count = self._matching(first) if is_first() else 0
        count = int(of_first("images drawn before", str(count)))
        files = sorted(self._folder.glob("[0-9]*.npy"))[:count] if count else []
        if len(files) < count:
            raise FileNotFoundError(
                f"{self._folder} has {count} batches that were drawn before, and this host sees {len(files)}: give "
                "--out a folder that all hosts share."
            )
        return files

    def _matching(self, first: Images) -> int:
        labels = self._folder / LABELS
        if not labels.exists() or not np.array_equal(_read(labels), self._labels):
            return 0
        found, at = 0, 0
        for file in sorted(self._folder.glob("[0-9]*.npy")):
            if file.name != _name(at):
                break
            if at == 0 and not np.array_equal(_read(file), first):
                return 0
            at, found = at + self._count(file), found + 1
        return found

    def _count(self, file: epath.Path) -> int:
        with file.open("rb") as opened:
            np.lib.format.read_magic(opened)
            return np.lib.format.read_array_header_1_0(opened)[0][0]

    def _keep(self, name: str, array: np.ndarray) -> None:
        if is_first():
            make_folder(self._folder)
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
            partial = self._folder / f"{name}.partial"
            write_bytes(partial, buffer.getvalue())
            partial.replace(self._folder / name)  # a file of this name is whole


def _name(first: int) -> str:
    return f"{first:09d}.npy"


def _read(file: epath.Path) -> np.ndarray:
    return np.load(io.BytesIO(file.read_bytes()), allow_pickle=False)
