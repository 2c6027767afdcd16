"""A folder of image files; its sub-folders are the classes."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import SupportsIndex

from laminate.data.left_out import in_one_line, shown
from laminate.data.options import AS_IT_SAYS, SourceOptions
from laminate.data.records import MAX_IMAGE_BYTES, RecordError, RecordsManifest, fingerprint
from laminate.data.schema import Example
from laminate.data.sources.files import class_list, labels_of
from laminate.data.sources.layout import Part, arrange
from laminate.data.sources.survey import IMAGE_SUFFIXES, File, Survey, survey


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


def _open_part(
    root: Path, split: str, part: Part, files: Sequence[File], reference: Sequence[str] | None
) -> FolderRecords:
    """The images of one split; `reference` are the classes that its train split has decided."""
    inside = root / part.base
    chosen = [files[index] for index in part.paths]
    paths = [file.path[len(part.base) :] for file in chosen]
    classes, labels = labels_of(part.names, len(paths), str(inside), reference)
    own = classes if part.names is not None else ()
    manifest = RecordsManifest(
        name=shown(inside.absolute().name),
        split=split,
        count=len(paths),
        classes=classes,
        source=f"folder {shown(str(inside))}",
        fingerprint=fingerprint(
            [
                "folder",
                *own,
                *(each for path, file in zip(paths, chosen, strict=True) for each in (path, file.size)),
            ]
        ),
    )
    return FolderRecords(inside, paths, labels, manifest)


def _why_empty(root: Path, found: Survey) -> str:
    """What a folder without images is."""
    records = found.of("array_record")
    if not records:
        left = found.left_out.entries()
        there = f"; it holds {in_one_line(left)}" if left else ""
        locked = f"; it may not be read: {', '.join(map(shown, found.locked))}" if found.locked else ""
        return f"no image in {root}: expected files ending in {', '.join(IMAGE_SUFFIXES)}{there}{locked}"
    return (
        f"{root} holds {len(records)} ArrayRecord files (as {records[0]}), but not the file that "
        "says what is in them: manifest.json of a prepared folder, or dataset_info.json of TFDS. Copy it from where "
        "the records come from (a copy that stopped early lacks it), name the folder that it lies in, or prepare the "
        "images again: python -m laminate.data prepare SOURCE OUT"
    )


def splits(
    root: Path, options: SourceOptions = AS_IT_SAYS, found: Survey | None = None
) -> dict[str, Callable[[], FolderRecords]]:
    """The splits of a folder of images: its ``train``, ``val``, ... sub-folders if all are such, else all of it.

    Labels are the sub-folders, sorted; `found` is what lies in the folder, where that is known.

    Raises:
      FileNotFoundError: the folder holds no image; the message says if it holds records without their manifest.
      RecordFileError: two readings are possible, or a class of a split is not among those of its train split.
    """
    found = found or survey(root)
    files = found.images
    if not files:
        raise FileNotFoundError(_why_empty(root, found))
    layout = arrange([file.path for file in files], str(root), options)
    for reason, indices in layout.left_out.items():
        if indices:
            found.left_out.add(reason, files[indices[0]].path, len(indices))

    def train() -> FolderRecords:
        opened = _open_part(root, "train", layout.parts["train"], files, None)
        opened.manifest = dataclasses.replace(
            opened.manifest,
            left_out=found.left_out.entries(),
            locked=tuple(map(shown, found.locked)),
            notes=tuple(layout.notes),
        )
        return opened

    opened: dict[str, Callable[[], FolderRecords]] = {"train": train}
    if "validation" in layout.parts:
        part, names = layout.parts["validation"], layout.parts["train"].names
        reference = None if names is None else class_list(names)
        if names is None:  # labels that nothing was trained on say nothing
            part = dataclasses.replace(part, names=None)
        opened["validation"] = lambda: _open_part(root, "validation", part, files, reference)
    return opened
