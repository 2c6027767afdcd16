"""Tar files read in place, by an index of member offsets: nothing is ever extracted to disk.

Two layouts. WebDataset: ``key.jpg`` beside ``key.cls``, whose text is the label (an integer or a class name).
Otherwise the folders inside the archive are the classes, below what all members share. Members that are no
images (json, txt, ...) are passed over.
"""

import os
import tarfile
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, SupportsIndex

from laminate.data.records import (
    MAX_IMAGE_BYTES,
    Example,
    RecordError,
    RecordFileError,
    RecordsManifest,
    fingerprint,
)
from laminate.data.schema import NO_LABEL
from laminate.data.sources.files import by_split, class_labels, distinct_names, expected
from laminate.data.sources.folder import IMAGE_SUFFIXES

SUFFIX = ".tar"
_MAX_CLASSES = 10**6
_MAX_CLS_BYTES = 1024


class Member(NamedTuple):
    """An image inside a tar file: the file's number, the name, where its bytes lie, and what its ``.cls``
    says.
    """

    file: int
    name: str
    offset: int
    size: int
    label: str | None


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


def _safe_name(name: str, path: Path) -> str:
    """A member's name without a leading ``./``. Raises RecordFileError for one that leaves its folder."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts:
        raise RecordFileError(
            f"{path} has the member {name!r}, which leaves its folder: refused, do not trust this file"
        )
    return "/".join(parts)


def _scan(number: int, path: Path) -> tuple[list[Member], dict[str, str]]:
    """The images of one tar file, and the text of its ``.cls`` members by their key."""
    images: list[Member] = []
    texts: dict[str, str] = {}
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                name = _safe_name(info.name, path)
                if not info.isreg() or info.sparse is not None:
                    continue
                if info.offset_data + info.size > size:
                    raise RecordFileError(
                        f"{path} is truncated: its member {name} ends behind it; copy it again"
                    )
                suffix = PurePosixPath(name).suffix.lower()
                if suffix in IMAGE_SUFFIXES:
                    images.append(Member(number, name, info.offset_data, info.size, None))
                elif suffix == ".cls" and info.size <= _MAX_CLS_BYTES:
                    content = archive.extractfile(info)
                    texts[name[: -len(suffix)]] = (
                        content.read().decode("utf-8", "replace").strip() if content else ""
                    )
            end = archive.offset
    except tarfile.TarError as error:
        raise RecordFileError(
            f"{path} is no whole, uncompressed tar file ({error}): copy it again, or unpack a .tar.gz "
            "to .tar first"
        ) from error
    with path.open("rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise RecordFileError(f"{path} is truncated: it has no end-of-archive mark; copy it again")
    return images, texts


def _webdataset(path: Path, images: list[Member], texts: dict[str, str]) -> list[Member]:
    """The images that are named ``key.jpg`` where a ``key.cls`` lies beside; others (``key.mask.png``) are no
    inputs.
    """
    paired: list[Member] = []
    for member in images:
        folder, _, base = member.name.rpartition("/")
        stem, _, extension = base.partition(".")
        if f".{extension}".lower() not in IMAGE_SUFFIXES:
            continue
        key = f"{folder}/{stem}" if folder else stem
        if key not in texts:
            raise RecordFileError(
                f"{path} has labels (.cls), but none for {member.name}: add {key}.cls, or remove all"
            )
        paired.append(member._replace(label=texts[key]))
    return paired


def _class_numbers(texts: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """(classes, labels) of ``.cls`` texts that are all integers."""
    labels = [int(text) for text in texts]
    if max(labels) >= _MAX_CLASSES:
        raise RecordFileError(
            f"a .cls member holds the label {max(labels)}; expected less than {_MAX_CLASSES}"
        )
    return tuple(str(label) for label in range(max(labels) + 1)), labels


def _class_folders(members: Sequence[Member]) -> list[str] | None:
    """The first folder of each image below what all members share; None where an image has none."""
    parents = [PurePosixPath(member.name).parent.parts for member in members]
    shared = 0
    while all(len(parts) > shared and parts[shared] == parents[0][shared] for parts in parents):
        shared += 1
    if any(len(parts) == shared for parts in parents):
        return None
    return [parts[shared] for parts in parents]


def _labels(
    members: Sequence[Member], labelled: bool, source: str, reference: Callable[[], Sequence[str]] | None
) -> tuple[tuple[str, ...], list[int]]:
    """(classes, labels); class names are looked up among the `reference` where there is one."""
    if labelled:
        names = [member.label or "" for member in members]
        if all(name.isdecimal() and name.isascii() for name in names):
            return _class_numbers(names)
    else:
        names = _class_folders(members)
        if names is None:
            return (), [NO_LABEL] * len(members)
    return class_labels(names, source, reference() if reference else None)


def open_tar(
    paths: Sequence[Path], split: str, reference: Callable[[], Sequence[str]] | None = None
) -> TarRecords:
    """The images of `paths`. Reads every member's header once, and the ``.cls`` members.

    Args:
      paths: tar files.
      split: what to call them.
      reference: called for the classes of the train split, where labels are names.

    Raises:
      RecordFileError: a file is truncated, compressed, no tar file, or hostile.
    """
    members: list[Member] = []
    labelled: list[bool] = []
    for number, path in enumerate(paths):
        images, texts = _scan(number, path)
        labelled.append(bool(texts))
        members.extend(_webdataset(path, images, texts) if texts else images)
    if not members:
        raise RecordFileError(
            f"no image in {', '.join(map(str, paths[:3]))}: expected members ending in .jpg, .png, ..."
        )
    if any(labelled) and not all(labelled):
        raise RecordFileError(
            f"{paths[labelled.index(False)]} has no .cls members, and other files of the set have"
        )
    names = distinct_names(paths)
    repeated = len(members) - len({(member.file, member.name) for member in members})
    if repeated:
        raise RecordFileError(
            f"{repeated} members of {paths[0].parent} have the name of another one: names must be unique"
        )
    classes, labels = _labels(members, any(labelled), str(paths[0]), reference)
    manifest = RecordsManifest(
        name=paths[0].stem if len(paths) == 1 else paths[0].absolute().parent.name,
        split=split,
        count=len(members),
        classes=classes,
        source=f"tar {paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else ""),
        fingerprint=fingerprint(
            ["tar", *names, *classes, *(x for m in members for x in (m.name, m.size, m.label))]
        ),
    )
    return TarRecords(paths, members, labels, manifest)


def splits(spec: str) -> dict[str, Callable[[], TarRecords]]:
    """The splits of a tar file, a glob of them, or a folder that holds them; by the words in their names."""
    found = by_split(expected(spec, SUFFIX))
    opened = {"train": lambda: open_tar(found["train"], "train")}
    if "validation" in found:
        opened["validation"] = lambda: open_tar(
            found["validation"], "validation", lambda: opened["train"]().manifest.classes
        )
    return opened
