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

MANIFEST = "manifest.json"
JOURNAL = ".prepare"
FORMAT = "laminate-records-1"
ARRAY_FORMAT = "laminate-arrays-1"


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
    be read; `cut_short` images are read without their last few bytes. `max_pixels` is what was allowed.
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
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


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
            f"{folder} is no prepared folder (it has no {MANIFEST}): "
            "make one with 'python -m laminate.data prepare SOURCE OUT'"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] not in (FORMAT, ARRAY_FORMAT):
            raise RecordFileError(
                f"{path} has the format {content['format']!r}, expected {FORMAT!r} or {ARRAY_FORMAT!r}: prepare again"
            )
        shards = tuple(_shard(entry) for entry in content["shards"])
        prepared = Prepared(
            name=str(content["name"]),
            classes=tuple(str(name) for name in content["classes"]),
            licence=str(content["licence"]),
            sources={str(split): str(source) for split, source in content["sources"].items()},
            shards=shards,
            skipped=tuple(Skipped(**entry) for entry in content["skipped"]),
            plan=str(content["plan"]),
            arrays=None if content["format"] == FORMAT else _arrays(content["arrays"]),
            max_pixels=min(int(content.get("max_pixels", MAX_PIXELS)), PIXEL_CEILING),
            cut_short=int(content.get("cut_short", 0)),
            left_out=tuple(
                LeftOut(str(entry["reason"]), int(entry["count"]), str(entry["first"]))
                for entry in content.get("left_out", ())
            ),
            locked=tuple(str(folder) for folder in content.get("locked", ())),
        )
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise RecordFileError(
            f"{path} is damaged ({error!r}): copy it again, or prepare the data again"
        ) from error
    for shard in shards:
        if Path(shard.name).name != shard.name or shard.split not in prepared.sources:
            raise RecordFileError(
                f"{path} names the file {shard.name!r}, which is not in that folder: refused"
            )
    return prepared


def _shard(entry: dict[str, Any]) -> RecordShard:
    return RecordShard(
        str(entry["name"]), str(entry["split"]), int(entry["count"]), int(entry["size"]), str(entry["sha256"])
    )


def _arrays(entry: dict[str, Any]) -> ArrayFacts:
    return ArrayFacts(
        field=str(entry["field"]),
        shape=tuple(int(side) for side in entry["shape"]),
        dtype=str(entry["dtype"]),
        view=str(entry["view"]),
        views=int(entry["views"]),
        made_by=dict(entry["made_by"]),
    )


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
