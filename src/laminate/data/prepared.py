"""A prepared folder: ArrayRecord files, the metadata that `tensorflow_datasets` reads, and our own manifest.

``manifest.json`` is written last, so a folder that has one is whole. It holds what `tensorflow_datasets` has
no place for: the source, the licence, and the size and SHA-256 of every file.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from laminate.data.array_schema import ArrayFacts, parse_array
from laminate.data.left_out import LeftOut, LeftOutCount
from laminate.data.options import MAX_PIXELS, PIXEL_CEILING
from laminate.data.records import (
    ArrayRecords,
    Example,
    RecordFile,
    RecordFileError,
    RecordsManifest,
    fingerprint,
)
from laminate.data.shrink import NOTHING, Shrunk, read_shrunk
from laminate.storage.strict_json import Field, JsonError, read_json
from laminate.storage.writing import write_atomically

MANIFEST = "manifest.json"
JOURNAL = ".prepare"
FORMAT = "laminate-records-1"
ARRAY_FORMAT = "laminate-arrays-1"
MOST_RECORDS = 2**40  # in a file: positions are counted in machine words


@dataclasses.dataclass(frozen=True)
class RecordShard:
    """One finished record file: its name in the folder, what it holds, and its size and SHA-256."""

    name: str
    split: str
    count: int
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Skipped:
    """An image of the source that was left out, and why."""

    split: str
    key: str
    reason: str
    kind: str = ""
    """The reason in a few words, by which such images are counted."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What ``manifest.json`` says. `sources` names the origin of each split; `plan` identifies the
    preparation; `arrays` is None for images.

    `skipped` are images that could not be used, `left_out` what else the source held, `locked` its folders that may not
    be read; `cut_short` images are read without their last few bytes, `shrunk` says of those that were made smaller.
    `max_pixels` is what was allowed.
    """

    name: str
    classes: tuple[str, ...]
    licence: str
    sources: dict[str, str]
    shards: tuple[RecordShard, ...]
    skipped: tuple[Skipped, ...]
    plan: str
    arrays: ArrayFacts | None = None
    max_pixels: int = MAX_PIXELS
    cut_short: int = 0
    shrunk: Shrunk = NOTHING
    left_out: tuple[LeftOut, ...] = ()
    locked: tuple[str, ...] = ()

    @property
    def format(self) -> str:
        return FORMAT if self.arrays is None else ARRAY_FORMAT

    @property
    def all_left_out(self) -> tuple[LeftOut, ...]:
        """What the source held and is not here, by reason: what could not be used, and what was no image."""
        count = LeftOutCount()
        for skipped in self.skipped:
            count.add(skipped.kind or "damaged, or no image", skipped.key)
        count.add_all(self.left_out)
        return count.entries()

    def shards_of(self, split: str) -> tuple[RecordShard, ...]:
        return tuple(shard for shard in self.shards if shard.split == split)

    def manifest(self, split: str) -> RecordsManifest:
        """The `RecordsManifest` of one split; its fingerprint is that of the files' own checksums."""
        shards, arrays = self.shards_of(split), self.arrays
        if arrays is not None and split != "train":  # several views are for training only
            arrays = dataclasses.replace(arrays, views=1)
        return RecordsManifest(
            name=self.name,
            split=split,
            count=sum(shard.count for shard in shards),
            classes=self.classes,
            source=self.sources[split],
            fingerprint=fingerprint([self.format, split, *self.classes, *(s.sha256 for s in shards)]),
            licence=self.licence,
            arrays=arrays,
            max_pixels=self.max_pixels,
            left_out=self.all_left_out if split == "train" else (),
            locked=self.locked if split == "train" else (),
        )


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write `content` so that `path` either keeps what it had or has all of the new text."""
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_prepared(folder: Path, prepared: Prepared) -> None:
    write_json(folder / MANIFEST, {"format": prepared.format, **dataclasses.asdict(prepared)})


def is_prepared(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def read_prepared(folder: Path) -> Prepared:
    """The manifest of a prepared folder.

    Raises:
      FileNotFoundError: the folder has none, because it is no prepared folder or its preparation was
        interrupted. RecordFileError: the manifest is damaged, or names files outside the folder.
    """
    path = folder / MANIFEST
    if not path.is_file():
        if (folder / JOURNAL).is_dir():
            raise FileNotFoundError(
                f"the preparation of {folder} was interrupted: run the same 'prepare' command again, "
                "or that of encode.py; it goes on from there"
            )
        raise FileNotFoundError(
            f"{folder} is no prepared folder (it has no {MANIFEST}): make one with 'python -m "
            "laminate.data prepare SOURCE OUT'"
        )
    try:
        return _prepared(read_json(path))
    except JsonError as error:
        raise RecordFileError(
            f"{path} is damaged ({error.within(path)}): copy it again, or prepare the data again"
        ) from error


def _prepared(read: Field) -> Prepared:
    stated = read["format"].value
    if stated not in (FORMAT, ARRAY_FORMAT):
        raise RecordFileError(
            f"{read.file} has the format {stated!r}, expected {FORMAT!r} or {ARRAY_FORMAT!r}: prepare again"
        )
    prepared = Prepared(
        name=read["name"].text(),
        classes=tuple(name.text() for name in read["classes"].items()),
        licence=read["licence"].text(),
        sources={split: source.text() for split, source in read["sources"].fields()},
        shards=tuple(read_shard(entry) for entry in read["shards"].items()),
        skipped=tuple(read_skipped(entry) for entry in read["skipped"].items()),
        plan=read["plan"].text(),
        arrays=None if stated == FORMAT else _arrays(read["arrays"]),
        max_pixels=min(read.get("max_pixels", MAX_PIXELS).integer(least=1), PIXEL_CEILING),
        cut_short=read.get("cut_short", 0).integer(least=0),
        shrunk=read_shrunk(read.get("shrunk", dataclasses.asdict(NOTHING))),
        left_out=tuple(
            LeftOut(entry["reason"].text(), entry["count"].integer(least=0), entry["first"].text())
            for entry in read.get("left_out", []).items()
        ),
        locked=tuple(folder.text() for folder in read.get("locked", []).items()),
    )
    for shard in prepared.shards:
        if Path(shard.name).name != shard.name or shard.split not in prepared.sources:
            raise RecordFileError(
                f"{read.file} names the file {shard.name!r}, which is not in that folder: refused"
            )
    return prepared


def read_shard(entry: Field) -> RecordShard:
    if entry["count"].integer(least=0) > MOST_RECORDS:
        entry["count"].refuse(f"at most {MOST_RECORDS}")
    return RecordShard(
        entry["name"].text(),
        entry["split"].text(),
        entry["count"].integer(least=0),
        entry["size"].integer(least=0),
        entry["sha256"].text(),
    )


def read_skipped(entry: Field) -> Skipped:
    reason, kind = entry["reason"].text(), entry.get("kind", "").text()
    return Skipped(entry["split"].text(), entry["key"].text(), reason, kind)


def _arrays(entry: Field) -> ArrayFacts:
    read = {name: entry[name].text() for name in ("field", "dtype", "view")}
    shape = tuple(side.integer(least=1) for side in entry["shape"].items())
    try:
        return ArrayFacts(
            **read, shape=shape, views=entry["views"].integer(least=1), made_by=entry["made_by"].members()
        )
    except ValueError as error:
        raise JsonError(f"{entry.file}: {entry.path}: {error}") from error


def array_facts(spec: str) -> ArrayFacts | None:
    """What the arrays are of a folder of them; None if `spec` is another kind of source, or nothing is there.

    Raises:
      RecordFileError: its manifest is damaged.
    """
    folder = Path(spec).expanduser()
    return read_prepared(folder).arrays if is_prepared(folder) else None


def splits_of(folder: Path) -> Sequence[str]:
    return tuple(read_prepared(folder).sources)


def open_prepared(folder: Path, split: str) -> ArrayRecords:
    """The records of one split of a prepared folder; the sizes of its files are compared with the manifest.

    Raises:
      FileNotFoundError: no prepared folder.
      RecordFileError: a file is missing, truncated or foreign.
      ValueError: the folder has no such split.
    """
    prepared = read_prepared(folder)
    if split not in prepared.sources:
        raise ValueError(f"{folder} has no split '{split}'; it has {sorted(prepared.sources)}")
    files = [RecordFile(folder / s.name, s.count, s.size) for s in prepared.shards_of(split)]
    return ArrayRecords(files, prepared.manifest(split), parser_of(prepared.arrays))


def parser_of(arrays: ArrayFacts | None) -> Callable[[bytes, str], Example] | None:
    """How the records of arrays are read; None for images."""
    return None if arrays is None else partial(_parse_array, arrays)


def _parse_array(arrays: ArrayFacts, record: bytes, key: str) -> Example:
    return parse_array(record, arrays)
