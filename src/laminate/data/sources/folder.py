"""A folder of image files; its sub-folders are the classes."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import SupportsIndex

from laminate.data.records import MAX_IMAGE_BYTES, Example, RecordError, RecordsManifest, fingerprint
from laminate.data.schema import NO_LABEL
from laminate.data.sources.files import class_labels, split_word

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp")


class FolderRecords:
    """Image files in the order of their paths; the key is the path below `root`, with forward slashes."""

    def __init__(self, root: Path, paths: Sequence[str], labels: Sequence[int], manifest: RecordsManifest):
        self.manifest = manifest
        self._root = root
        self._paths = list(paths)
        self._labels = list(labels)

    def keys(self) -> Sequence[str]:
        return self._paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: SupportsIndex, /) -> Example:
        key = self._paths[index]
        path = self._root / key
        try:
            size = path.stat().st_size
            if size > MAX_IMAGE_BYTES:
                raise RecordError(
                    f"{path} has {size} bytes, more than the {MAX_IMAGE_BYTES} that an image may have"
                )
            image = path.read_bytes()
        except OSError as error:
            raise RecordError(f"{path} cannot be read: {error.strerror}") from error
        return Example(image, self._labels[index], key)


def _walk(top: Path, below: str) -> Iterator[tuple[str, int]]:
    """(path below the root, size) of every image under `top`, sorted; hidden files and folders are passed
    over.
    """
    for folder, names, files in os.walk(top):
        names[:] = sorted(name for name in names if not name.startswith("."))
        inner = Path(folder).relative_to(top).as_posix()
        prefix = below if inner == "." else f"{below}{inner}/"
        for name in sorted(files):
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                yield prefix + name, path.stat().st_size


def _visible_folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != ".")


def class_names(root: Path) -> list[str]:
    """The sub-folders of `root` that hold an image."""
    return [name for name in _visible_folders(root) if next(_walk(root / name, ""), None) is not None]


def open_folder(root: Path, split: str, reference: Sequence[str] | None = None) -> FolderRecords:
    """Every image below `root`. Labels are the sub-folders, sorted; images directly in `root` mean no labels.

    Args:
      root: the folder.
      split: what to call it.
      reference: the classes, where another split has decided them.

    Raises:
      FileNotFoundError: the folder holds no image; the message says if it holds records without their manifest.
      RecordFileError: a class is not among the `reference`.
    """
    found = [
        (path, size, name) for name in _visible_folders(root) for path, size in _walk(root / name, f"{name}/")
    ]
    loose = [
        (entry.name, entry.stat().st_size, "")
        for entry in os.scandir(root)
        if entry.is_file() and Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and entry.name[0] != "."
    ]
    found = sorted(found + loose)
    if not found:
        raise FileNotFoundError(_why_empty(root))
    classes, labels = (), [NO_LABEL] * len(found)
    if not loose:
        classes, labels = class_labels([name for _, _, name in found], str(root), reference)
    manifest = RecordsManifest(
        name=root.absolute().name,
        split=split,
        count=len(found),
        classes=classes,
        source=f"folder {root}",
        fingerprint=fingerprint(
            ["folder", *classes, *(part for path, size, _ in found for part in (path, size))]
        ),
    )
    return FolderRecords(root, [path for path, _, _ in found], labels, manifest)


def _why_empty(root: Path) -> str:
    """What a folder without images is."""
    records = sorted(path for path in root.rglob("*.array_record*") if path.is_file())
    if not records:
        return f"no image in {root}: expected files ending in {', '.join(IMAGE_SUFFIXES)}"
    return (
        f"{root} holds {len(records)} ArrayRecord files (as {records[0].relative_to(root)}), but not the file that "
        "says what is in them: manifest.json of a prepared folder, or dataset_info.json of TFDS. Copy it from where "
        "the records come from (a copy that stopped early lacks it), name the folder that it lies in, or prepare the "
        "images again: python -m laminate.data prepare SOURCE OUT"
    )


def splits(root: Path) -> dict[str, Callable[[], FolderRecords]]:
    """The splits of a folder: its ``train`` and ``val`` sub-folders if it has a ``train``, else all of it."""
    words = {split_word(name): root / name for name in _visible_folders(root)}
    if "train" not in words:
        return {"train": lambda: open_folder(root, "train")}
    train = words["train"]
    found = {"train": lambda: open_folder(train, "train")}
    if "validation" in words:
        found["validation"] = lambda: open_folder(
            words["validation"], "validation", class_names(train) or None
        )
    return found
