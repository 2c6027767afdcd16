"""Random access to encoded images: the `Records` protocol, and its reader for ArrayRecord files.

Everything here is picklable (files are opened on first use) and safe to read from many threads.
"""

import dataclasses
import hashlib
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import numpy as np
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

from laminate.data.array_schema import IMAGE_FIELD, ArrayFacts
from laminate.data.left_out import LeftOut
from laminate.data.options import MAX_PIXELS
from laminate.data.schema import NO_LABEL, Example, SchemaError, parse_example

HELD_OUT_FRACTION = 0.1
NOTHING_SAID: dict[str, Any] = {"left_out": (), "locked": (), "notes": ()}
MAX_IMAGE_BYTES = 2**28
# The first 24 bytes of every Riegeli file, on which ArrayRecord builds, begin with the hash of its first
# block.
_RIEGELI_SIGNATURE = bytes.fromhex("83af70d10d884a3f")


class RecordFileError(ValueError):
    """A record file is missing, empty, truncated, or no ArrayRecord file at all."""


class RecordError(ValueError):
    """One record cannot be read, or is no example; the others may be sound."""


@dataclasses.dataclass(frozen=True)
class RecordsManifest:
    """What a set of records is.

    `classes` is empty where there are no labels; `fingerprint` (hexadecimal) is equal exactly for equal
    content in equal order, as far as names, sizes and stored checksums tell. `arrays` says what the records hold in
    the place of images, if they do.

    An image may have `max_pixels`. `left_out` is what the source holds beside these records, each file once over all
    splits, `locked` its folders that may not be read; `notes` say how it was read.
    """

    name: str
    split: str
    count: int
    classes: tuple[str, ...]
    source: str
    fingerprint: str
    licence: str = ""
    arrays: ArrayFacts | None = None
    max_pixels: int = MAX_PIXELS
    left_out: tuple[LeftOut, ...] = ()
    locked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def field(self) -> str:
        """What the content of a record is called in a batch."""
        return IMAGE_FIELD if self.arrays is None else self.arrays.field

    @property
    def images(self) -> int:
        """How many images the records are of, one of which may have several views."""
        return self.count if self.arrays is None else -(-self.count // self.arrays.views)


@runtime_checkable
class Records(Protocol):
    """A fixed sequence of examples that can be read in any order, from any thread."""

    @property
    def manifest(self) -> RecordsManifest: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: SupportsIndex, /) -> Example: ...


@runtime_checkable
class KeyedRecords(Records, Protocol):
    """Records that know every key without reading an image."""

    def keys(self) -> Sequence[str]: ...


def fingerprint(parts: Sequence[object]) -> str:
    """A short hexadecimal identity of `parts`, by their text."""
    digest = hashlib.sha256()
    for part in parts:
        text = str(part).encode()
        digest.update(f"{len(text)}:".encode() + text)
    return digest.hexdigest()[:32]


class Subset:
    """Some of the examples of `records`, in the order of `indices`; labels and classes stay as they are."""

    def __init__(self, records: Records, indices: Sequence[int], manifest: RecordsManifest):
        self.manifest = manifest
        self.records = records
        self._indices = tuple(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: SupportsIndex, /) -> Example:
        return self.records[self._indices[index]]

    def keys(self) -> Sequence[str]:
        """Those of the whole; of one that knows none without reading an image, the numbers of its records."""
        whole = self.records.keys() if isinstance(self.records, KeyedRecords) else None
        return [str(index) if whole is None else whole[index] for index in self._indices]


def spread(records: Records, count: int) -> Subset:
    """At most `count` of the records, evenly spread over all of them."""
    chosen = sorted({int(at) for at in np.linspace(0, len(records) - 1, min(len(records), count))})
    whole = records.manifest
    parts = (whole.fingerprint, "spread", count)
    return Subset(
        records, chosen, dataclasses.replace(whole, count=len(chosen), fingerprint=fingerprint(parts))
    )


def hold_out(records: KeyedRecords, split: str, fraction: float = HELD_OUT_FRACTION) -> Subset:
    """The ``train`` or ``validation`` part of records that come without such a split.

    The examples whose keys have the smallest hashes are held out: as many as `fraction` says, and one at
    least. So the two parts are disjoint and do not depend on the order of the source.

    Raises:
      ValueError: `fraction` is not between 0 and 1, or nothing is left to train on.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"the held-out fraction must lie between 0 and 1, got {fraction}")
    hashes = [hashlib.blake2b(key.encode(), digest_size=8).digest() for key in records.keys()]
    order = sorted(range(len(hashes)), key=lambda index: (hashes[index], index))
    out = max(1, round(fraction * len(order)))
    indices = sorted(order[:out] if split == "validation" else order[out:])
    whole = records.manifest
    if not indices:
        raise ValueError(
            f"{whole.source} has only {whole.count} images and no validation split, so holding out "
            f"{fraction:g} of them leaves none for '{split}': add images"
        )
    manifest = dataclasses.replace(
        whole,
        split=split,
        count=len(indices),
        source=f"{whole.source} ({fraction:g} held out for validation by the hash of the key)",
        fingerprint=fingerprint((whole.fingerprint, "held out", fraction, split)),
        **({} if split == "train" else NOTHING_SAID),
    )
    return Subset(records, indices, manifest)


@dataclasses.dataclass(frozen=True)
class RecordFile:
    """An ArrayRecord file, the number of its records, and its size in bytes (None where nobody wrote it
    down).
    """

    path: Path
    count: int
    size: int | None = None


def check_record_file(path: Path, size: int | None = None) -> None:
    """Look at the length and the first bytes of an ArrayRecord file; nothing is decompressed.

    Raises:
      RecordFileError: the file is missing, empty, of another size than `size`, or no ArrayRecord file.
    """
    if not path.is_file():
        raise RecordFileError(f"record file {path} is missing: copy it again, or prepare the data again")
    found = path.stat().st_size
    if found == 0:
        raise RecordFileError(
            f"record file {path} is empty (0 bytes): its writer was stopped or its copy failed; "
            "copy it again, or prepare the data again"
        )
    if size is not None and found != size:
        state = "truncated" if found < size else "too long"
        raise RecordFileError(
            f"record file {path} is {state}: it has {found} bytes and the manifest says {size}; "
            "copy it again, or prepare the data again"
        )
    with path.open("rb") as file:
        if file.read(len(_RIEGELI_SIGNATURE)) != _RIEGELI_SIGNATURE:
            raise RecordFileError(
                f"{path} is no ArrayRecord file (its first bytes are something else): "
                "convert it with 'python -m laminate.data prepare SOURCE OUT'"
            )


def open_record_file(path: Path, count: int | None = None) -> Any:
    """The array-record reader of `path`, set for random access.

    Raises:
      RecordFileError: the file is not whole, or holds another number of records than `count`.
    """
    check_record_file(path)
    try:
        reader = array_record_module.ArrayRecordReader(str(path), "readahead_buffer_size:0,max_parallelism:0")
        found = reader.num_records()
    except RuntimeError as error:
        raise RecordFileError(
            f"record file {path} is truncated or damaged ({first_line(error)}): copy it again, or "
            "prepare the data again"
        ) from error
    if count is not None and found != count:
        raise RecordFileError(
            f"record file {path} holds {found} records and its metadata says {count}: prepare the data again"
        )
    return reader


def require_label(label: int, classes: Sequence[str], where: str) -> None:
    """Raises RecordError for a label that is neither that of a class nor -1, that of none."""
    if not NO_LABEL <= label < len(classes):
        known = f"of the {len(classes)} classes" if classes else "where there are no classes"
        raise RecordError(f"{where} has the label {label}, which is none {known}")


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


class ArrayRecords:
    """The examples of a list of ArrayRecord files.

    `parse` turns (record, its key where it holds none) into an `Example`. Sizes are compared when this is
    made; a file is opened when its first record is read.
    """

    def __init__(
        self,
        files: Sequence[RecordFile],
        manifest: RecordsManifest,
        parse: Callable[[bytes, str], Example] | None = None,
    ):
        for file in files:
            check_record_file(file.path, file.size)
        self.manifest = manifest
        self.files = tuple(files)
        self._ends = list(accumulate(file.count for file in files))
        self._parse = parse
        self._forget_readers()

    def _forget_readers(self) -> None:
        self._readers: list[Any] = [None] * len(self.files)
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_readers", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_readers()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def keys(self) -> Sequence[str]:
        """Keys made of file names and record numbers; the records' own are not read."""
        return [f"{file.path.name}#{number}" for file in self.files for number in range(file.count)]

    def __getitem__(self, index: SupportsIndex, /) -> Example:
        position = range(len(self))[index]
        shard = bisect_right(self._ends, position)
        file = self.files[shard]
        within = position - self._ends[shard] + file.count
        try:
            record: bytes = self._reader(shard).read([within])[0]
        except RuntimeError as error:
            raise RecordError(f"record {within} of {file.path} is damaged ({first_line(error)})") from error
        where = f"record {within} of {file.path}"
        if len(record) > MAX_IMAGE_BYTES:
            raise RecordError(
                f"{where} has {len(record)} bytes, more than the {MAX_IMAGE_BYTES} that are read"
            )
        try:
            parse = self._parse
            example = parse_example(record) if parse is None else parse(record, f"{file.path.name}#{within}")
        except SchemaError as error:
            raise RecordError(f"{where}: {error}") from error
        require_label(example.label, self.manifest.classes, where)
        return example

    def _reader(self, shard: int) -> Any:
        with self._lock:
            if self._readers[shard] is None:
                file = self.files[shard]
                self._readers[shard] = open_record_file(file.path, file.count)
            return self._readers[shard]
