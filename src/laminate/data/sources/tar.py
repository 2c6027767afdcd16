"""Tar files read in place, by an index of member offsets: nothing is ever extracted to disk.

Two layouts. WebDataset: ``key.jpg`` beside ``key.cls``, whose text is the label (an integer or a class name).
Otherwise the folders inside the archive are the classes, below what all members share. Members that are no
images (json, txt, ...) are counted and left out. Folders named ``train``, ``val``, ... are splits, as on disk.
"""

import dataclasses
import functools
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

from laminate.data.left_out import LeftOut, LeftOutCount, in_one_line, shown, together
from laminate.data.options import AS_IT_SAYS, SourceOptions
from laminate.data.records import (
    MAX_IMAGE_BYTES,
    Example,
    RecordError,
    RecordFileError,
    RecordsManifest,
    fingerprint,
)
from laminate.data.schema import NO_LABEL
from laminate.data.sources.files import MAX_CLASSES, by_split, distinct_names, labels_of
from laminate.data.sources.layout import Layout, arrange
from laminate.data.sources.tar_scan import Member, samples, scan

SUFFIX = ".tar"


def _close_all(descriptors: dict[int, int]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)


class TarRecords:
    """The images of some tar files, in the order in which they lie there; the key is ``file.tar/name``."""

    def __init__(
        self,
        paths: Sequence[Path],
        members: Sequence[Member],
        labels: Sequence[int],
        manifest: RecordsManifest,
    ):
        self.manifest = manifest
        self._paths = list(paths)
        self._names = distinct_names(paths)
        self._members = list(members)
        self._labels = list(labels)
        self._forget_files()

    def _forget_files(self) -> None:
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._open)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_open", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_files()

    def _key(self, member: Member) -> str:
        return f"{self._names[member.file]}/{member.name}"

    def keys(self) -> Sequence[str]:
        return [self._key(member) for member in self._members]

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: SupportsIndex, /) -> Example:
        member = self._members[index]
        path = self._paths[member.file]
        if member.size > MAX_IMAGE_BYTES:
            raise RecordError(
                f"{member.name} in {path} has {member.size} bytes, more than the {MAX_IMAGE_BYTES} of "
                "an image"
            )
        with self._lock:
            if member.file not in self._open:
                self._open[member.file] = os.open(path, os.O_RDONLY)
            descriptor = self._open[member.file]
        image = os.pread(descriptor, member.size, member.offset)
        if len(image) != member.size:
            raise RecordError(f"{member.name} in {path} ends early: the file has changed or is truncated")
        return Example(image, self._labels[index], self._key(member))


def _class_numbers(texts: Sequence[str], source: str) -> tuple[tuple[str, ...], list[int]]:
    """(classes, labels) of ``.cls`` texts that are all integers."""
    labels = [int(text) for text in texts]
    if min(labels) < 0:
        raise RecordFileError(
            f"a .cls member of {source} holds the label {min(labels)}; class numbers are 0 or more "
            "(--unlabelled takes the images without labels)"
        )
    if max(labels) >= MAX_CLASSES:
        raise RecordFileError(
            f"a .cls member of {source} holds the label {max(labels)}; expected less than {MAX_CLASSES}: "
            "is it an id, and no class number?"
        )
    return tuple(str(label) for label in range(max(labels) + 1)), labels


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isdecimal() and digits.isascii() and len(digits) < 20


def _labels(
    members: Sequence[Member],
    names: Sequence[str] | None,
    source: str,
    reference: Callable[[], Sequence[str]] | None,
) -> tuple[tuple[str, ...], list[int]]:
    """(classes, labels) of the texts of labels, else of the class folders `names`; class names are looked up among the
    `reference` where there is one.
    """
    known = None if reference is None else reference()
    if known is not None and not known:  # labels that nothing was trained on say nothing
        return (), [NO_LABEL] * len(members)
    texts = [member.label for member in members if member.label is not None]
    if texts:
        empty = next((member.name for member in members if not member.label), None)
        if empty is not None:
            raise RecordFileError(
                f"the label of {shown(empty)} in {source} is empty: mend it, or give --unlabelled"
            )
        if all(map(_is_number, texts)):
            return _class_numbers(texts, source)
        names = texts
    return labels_of(names, len(members), source, known)


@dataclass(frozen=True)
class _Opened:
    """The samples of some tar files, and what their layout says."""

    paths: list[Path]
    members: list[Member]
    layout: Layout
    left_out: tuple[LeftOut, ...]


def _open(paths: Sequence[Path], options: SourceOptions, *, splits: bool) -> _Opened:
    """Every file of `paths`, read once.

    Raises:
      RecordFileError: a file is truncated, compressed, no tar file, or hostile.
    """
    members: list[Member] = []
    labelled: dict[Path, bool] = {}
    count = LeftOutCount()
    for number, path in enumerate(paths):
        found = scan(number, path, options)
        mine = samples(path, found, options)
        if mine:
            labelled[path] = bool(found.texts)
        members.extend(mine)
        count.add_all(found.left_out.entries())
    if not members:
        there = in_one_line(count.entries())
        raise RecordFileError(
            f"no image in {', '.join(map(str, paths[:3]))}: expected members ending in .jpg, .png, ..."
            + (f"; found {there}" if there else "")
        )
    if len(set(labelled.values())) > 1:
        without = next(path for path, has in labelled.items() if not has)
        raise RecordFileError(
            f"{without} has no .cls members, and other files of the set have (--unlabelled takes all without labels)"
        )
    repeated = len(members) - len({(member.file, member.name) for member in members})
    if repeated:
        raise RecordFileError(
            f"{repeated} members of {paths[0].parent} have the name of another one: names must be unique"
        )
    where = f"{paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
    in_folders = (
        options
        if not any(labelled.values())
        else dataclasses.replace(options, unlabelled=True, label_key=None)
    )
    layout = arrange([m.name for m in members], where, in_folders, below_shared=True, splits=splits)
    for reason, indices in layout.left_out.items():
        if indices:
            count.add(reason, members[indices[0]].name, len(indices))
    return _Opened(list(paths), members, layout, count.entries())


def _records(
    opened: _Opened,
    part: str,
    split: str,
    reference: Callable[[], Sequence[str]] | None,
    stray: tuple[LeftOut, ...],
) -> TarRecords:
    paths, chosen = opened.paths, opened.layout.parts[part]
    members = [opened.members[index] for index in chosen.paths]
    classes, labels = _labels(members, chosen.names, str(paths[0]), reference)
    own = classes if chosen.names is not None or members[0].label is not None else ()
    source = f"tar {shown(str(paths[0]))}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
    manifest = RecordsManifest(
        name=paths[0].stem if len(paths) == 1 else shown(paths[0].absolute().parent.name),
        split=split,
        count=len(members),
        classes=classes,
        source=source + (f" ({chosen.base})" if chosen.base else ""),
        fingerprint=fingerprint(
            ["tar", *distinct_names(paths), *own, *(x for m in members for x in (m.name, m.size, m.label))]
        ),
        left_out=together((*stray, *opened.left_out)),
        notes=tuple(opened.layout.notes),
    )
    return TarRecords(paths, members, labels, manifest)


def splits(
    paths: Sequence[Path],
    root: Path | None = None,
    options: SourceOptions = AS_IT_SAYS,
    stray: tuple[LeftOut, ...] = (),
) -> dict[str, Callable[[], TarRecords]]:
    """The splits of some tar files: by the names of the files, else by the folders inside.

    `stray` is what else lies beside them. Raises RecordFileError as the files are damaged, or can be read in two ways.
    """
    files = by_split(paths, root, options)
    rest = (*stray, *files.left_out)
    if files.named:
        train = functools.cache(  # the files are gone through once, though the validation split asks for its classes
            lambda: _records(
                _open(files.by_split["train"], options, splits=False), "train", "train", None, rest
            )
        )
        found: dict[str, Callable[[], TarRecords]] = {"train": train}
        if "validation" in files.by_split:
            found["validation"] = lambda: _records(
                _open(files.by_split["validation"], options, splits=False),
                "train",
                "validation",
                lambda: train().manifest.classes,
                (),
            )
        return found
    opened = _open(files.by_split["train"], options, splits=True)
    whole = functools.cache(lambda: _records(opened, "train", "train", None, rest))
    found = {"train": whole}
    if "validation" in opened.layout.parts:
        alone = dataclasses.replace(opened, left_out=(), layout=dataclasses.replace(opened.layout, notes=[]))
        found["validation"] = lambda: _records(
            alone, "validation", "validation", lambda: whole().manifest.classes, ()
        )
    return found
