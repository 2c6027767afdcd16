"""Parquet files in Hugging Face's layout: a column ``image`` of {bytes, path}, and an integer column
``label`` (`parquet_columns`).

A row group is decompressed as a whole, so reading in random order costs much more than in order. Convert with
``python -m laminate.data prepare`` before training on more than a few thousand images.
"""

import dataclasses
import functools
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

from laminate.data.left_out import LeftOut, shown
from laminate.data.options import AS_IT_SAYS, SourceOptions
from laminate.data.records import MAX_IMAGE_BYTES, RecordError, RecordFileError, RecordsManifest, fingerprint
from laminate.data.schema import NO_LABEL, Example
from laminate.data.sources.files import by_split, distinct_names
from laminate.data.sources.parquet_columns import Columns, class_names, columns_of, holds_images

SUFFIX = ".parquet"
MAX_GROUP_BYTES = 2**31
"""The largest row group, and the most that is kept of several, in memory."""
_KEPT_GROUPS = 4
_AT_ONCE = 2**28  # bytes that a part of a row group may become, at the most
_ROWS = 64


class Group(NamedTuple):
    """A row group: its file's number, its own number there, and how many rows come before it in that file."""

    file: int
    number: int
    before: int


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            "parquet files need pyarrow, which is not installed: pip install -e '.[parquet]'"
        ) from error
    return pyarrow, pyarrow.parquet


class ParquetRecords:
    """The rows of some parquet files in their order; the key is ``file.parquet#row``."""

    def __init__(
        self,
        paths: Sequence[Path],
        groups: Sequence[Group],
        ends: Sequence[int],
        columns: Columns,
        manifest: RecordsManifest,
    ):
        self.manifest = manifest
        self._paths = list(paths)
        self._names = distinct_names(paths)
        self._groups = list(groups)
        self._ends = list(ends)
        self._columns = columns
        self._forget_groups()

    def _forget_groups(self) -> None:
        self._kept: dict[int, tuple[Any, Any]] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_kept", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_groups()

    def keys(self) -> Sequence[str]:
        starts = [0, *self._ends]
        return [
            f"{self._names[group.file]}#{group.before + row}"
            for group, first, last in zip(self._groups, starts, self._ends, strict=False)
            for row in range(last - first)
        ]

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: SupportsIndex, /) -> Example:
        position = range(len(self))[index]
        at = bisect_right(self._ends, position)
        group = self._groups[at]
        row = position - (self._ends[at - 1] if at else 0)
        images, labels = self._group(at)
        value = images[row].as_py()
        image = value.get("bytes") if isinstance(value, dict) else value
        where = f"row {group.before + row} of {self._paths[group.file]}"
        if not isinstance(image, bytes):
            raise RecordError(
                f"{where} holds no image bytes (only a path, or nothing): embed the images in the file"
            )
        if len(image) > MAX_IMAGE_BYTES:
            raise RecordError(
                f"{where} has {len(image)} bytes, more than the {MAX_IMAGE_BYTES} that an image may have"
            )
        label = labels[row].as_py() if labels is not None else NO_LABEL
        if label is None:  # the row says nothing of its class, which is no fault of the image
            label = NO_LABEL
        elif labels is not None and not 0 <= label < len(self.manifest.classes):
            raise RecordError(
                f"{where} has the label {label!r}, expected an integer below {len(self.manifest.classes)}"
            )
        return Example(image, label, f"{self._names[group.file]}#{group.before + row}")

    def _group(self, at: int) -> tuple[Any, Any]:
        """The image and label columns of a row group; the last few are kept."""
        with self._lock:
            if at not in self._kept:
                group = self._groups[at]
                arrow, parquet = _arrow()
                try:
                    with parquet.ParquetFile(self._paths[group.file]) as file:
                        table = self._read(file, group)
                except (arrow.ArrowException, OSError) as error:
                    raise RecordError(
                        f"row group {group.number} of {self._paths[group.file]} is damaged "
                        f"({str(error)[:200]})"
                    ) from error
                label = None if self._columns.label is None else table.column(self._columns.label)
                image = table.column(self._columns.image)
                while len(self._kept) >= _KEPT_GROUPS or (
                    self._kept
                    and image.nbytes + sum(kept[0].nbytes for kept in self._kept.values()) > MAX_GROUP_BYTES
                ):
                    del self._kept[next(iter(self._kept))]
                self._kept[at] = (image, label)
            return self._kept[at]

    def _read(self, file: Any, group: Group) -> Any:
        """The columns of a row group, a few rows at a time: what is small in the file may be large in memory."""
        names = [name for name in self._columns if name is not None]
        where = f"row group {group.number} of {self._paths[group.file]}"
        stored = _stored_bytes(file.metadata.row_group(group.number), names)
        _require_small(stored, where)
        rows = max(1, min(_ROWS, _AT_ONCE // max(stored, 1)))  # no value is longer than all that is stored
        parts: list[Any] = []
        held = 0
        for part in file.iter_batches(batch_size=rows, row_groups=[group.number], columns=names):
            parts.append(part)
            held += part.nbytes
            _require_small(held, where)
        arrow, _ = _arrow()
        return arrow.Table.from_batches(parts)


def _stored_bytes(metadata: Any, names: Sequence[str]) -> int:
    """Bytes of the columns, decompressed but as they are encoded."""
    columns = (metadata.column(index) for index in range(metadata.num_columns))
    return sum(one.total_uncompressed_size for one in columns if one.path_in_schema.split(".")[0] in names)


def _require_small(size: int, where: str) -> None:
    if size > MAX_GROUP_BYTES:
        raise RecordError(
            f"{where} holds more than {MAX_GROUP_BYTES >> 20} MiB of images, which are read together: write the file "
            "with smaller row groups"
        )


def _opened(paths: Sequence[Path]) -> list[Any]:
    arrow, parquet = _arrow()
    files: list[Any] = []
    for path in paths:
        try:
            files.append(parquet.ParquetFile(path))
        except (arrow.ArrowException, OSError) as error:
            raise RecordFileError(
                f"{path} is no whole parquet file ({str(error)[:200]}): copy it again"
            ) from error
    return files


def of_images(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(those that hold images, those that hold only facts about some) of parquet files; all hold images where
    pyarrow is not installed to tell.
    """
    try:
        files = _opened(paths)
    except ValueError:
        return list(paths), []
    facts = [path for path, file in zip(paths, files, strict=True) if not holds_images(file.schema_arrow)]
    for file in files:
        file.close()
    return [path for path in paths if path not in set(facts)], facts


def open_parquet(
    paths: Sequence[Path],
    split: str,
    options: SourceOptions = AS_IT_SAYS,
    reference: Sequence[str] | None = None,
) -> ParquetRecords:
    """The rows of `paths`; `reference` are the classes of the train split, for another one.

    Raises:
      ValueError: pyarrow is not installed.
      RecordFileError: a file is damaged, empty, no parquet file, or has no image column; files differ in their columns;
        labels are no class numbers.
    """
    files = _opened(paths)
    columns = columns_of(paths, [file.schema_arrow for file in files], options)
    groups: list[Group] = []
    sizes: list[int] = []
    for number, file in enumerate(files):
        before = 0
        for row_group in range(file.num_row_groups):
            groups.append(Group(number, row_group, before))
            sizes.append(file.metadata.row_group(row_group).num_rows)
            before += sizes[-1]
    if not sum(sizes):
        raise RecordFileError(f"{paths[0]} and its companions hold no rows")
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if reference is not None and not reference:  # labels that nothing was trained on say nothing
        columns = columns._replace(label=None)
    if columns.label is not None:
        classes, without = class_names(paths, files, columns.label)
        if without:
            notes = (f"{without} rows of {sum(sizes)} have no label",)
    parts = [
        part
        for path, file in zip(paths, files, strict=True)
        for part in (path.stat().st_size, file.metadata.num_rows)
    ]
    for file in files:
        file.close()
    manifest = RecordsManifest(
        name=shown(paths[0].absolute().parent.name),
        split=split,
        count=sum(sizes),
        classes=classes or tuple(reference or ()),
        source=f"parquet {shown(str(paths[0]))}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else ""),
        fingerprint=fingerprint(["parquet", *distinct_names(paths), *classes, *parts]),
        notes=notes,
    )
    return ParquetRecords(paths, groups, list(accumulate(sizes)), columns, manifest)


def splits(
    paths: Sequence[Path],
    root: Path | None = None,
    options: SourceOptions = AS_IT_SAYS,
    stray: tuple[LeftOut, ...] = (),
) -> dict[str, Callable[[], ParquetRecords]]:
    """The splits of some parquet files, by their names; `stray` is what else lies beside them.

    Raises RecordFileError as `open_parquet`, or where the names can be read in two ways.
    """
    files = by_split(paths, root, options)

    @functools.cache  # the files are read once, though the validation split asks for the classes
    def train() -> ParquetRecords:
        opened = open_parquet(files.by_split["train"], "train", options)
        opened.manifest = dataclasses.replace(opened.manifest, left_out=(*stray, *files.left_out))
        return opened

    found: dict[str, Callable[[], ParquetRecords]] = {"train": train}
    if "validation" in files.by_split:
        found["validation"] = lambda: open_parquet(
            files.by_split["validation"], "validation", options, train().manifest.classes
        )
    return found
