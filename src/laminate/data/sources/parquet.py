"""Parquet files in Hugging Face's layout: a column ``image`` of {bytes, path}, and an integer column
``label``.

A row group is decompressed as a whole, so reading in random order costs much more than in order. Convert with
``python -m laminate.data prepare`` before training on more than a few thousand images.
"""

import json
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

from laminate.data.records import Example, RecordError, RecordFileError, RecordsManifest, fingerprint
from laminate.data.schema import NO_LABEL
from laminate.data.sources.files import by_split, distinct_names, expected

SUFFIX = ".parquet"
_IMAGE_COLUMNS = ("image", "img", "jpg", "png")
_LABEL_COLUMNS = ("label", "labels", "cls", "fine_label")
_KEPT_GROUPS = 4


class Group(NamedTuple):
    """A row group: its file's number, its own number there, and how many rows come before it in that file."""

    file: int
    number: int
    before: int


class Columns(NamedTuple):
    """The columns to read; no label column where the data have none."""

    image: str
    label: str | None


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            "parquet files need pyarrow, which is not installed: pip install 'laminate-jax[parquet]'"
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
        label = labels[row].as_py() if labels is not None else NO_LABEL
        if not isinstance(label, int) or not NO_LABEL <= label < max(len(self.manifest.classes), 1):
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
                        names = [name for name in self._columns if name is not None]
                        table = file.read_row_group(group.number, columns=names)
                except (arrow.ArrowException, OSError) as error:
                    raise RecordError(
                        f"row group {group.number} of {self._paths[group.file]} is damaged "
                        f"({str(error)[:200]})"
                    ) from error
                label = None if self._columns.label is None else table.column(self._columns.label)
                while len(self._kept) >= _KEPT_GROUPS:
                    del self._kept[next(iter(self._kept))]
                self._kept[at] = (table.column(self._columns.image), label)
            return self._kept[at]


def _columns(schema: Any, path: Path) -> Columns:
    image = next((name for name in _IMAGE_COLUMNS if name in schema.names), None)
    if image is None:
        raise RecordFileError(
            f"{path} has no image column: expected one of {', '.join(_IMAGE_COLUMNS)}, found {schema.names}"
        )
    return Columns(image, next((name for name in _LABEL_COLUMNS if name in schema.names), None))


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """The names that Hugging Face keeps in the schema's metadata; none where they are absent or malformed."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _highest_label(files: Sequence[Any], label: str) -> int:
    columns = [file.read(columns=[label]).column(label).drop_null().to_pylist() for file in files]
    values = [value for column in columns for value in column]
    if not all(isinstance(value, int) for value in values):
        raise RecordFileError(
            f"the column '{label}' holds values that are no integers: expected class numbers"
        )
    return max(values, default=-1)


def open_parquet(paths: Sequence[Path], split: str) -> ParquetRecords:
    """The rows of `paths`.

    Raises:
      ValueError: pyarrow is not installed.
      RecordFileError: a file is damaged, empty, no parquet file, or has no image column.
    """
    arrow, parquet = _arrow()
    files: list[Any] = []
    for path in paths:
        try:
            files.append(parquet.ParquetFile(path))
        except (arrow.ArrowException, OSError) as error:
            raise RecordFileError(
                f"{path} is no whole parquet file ({str(error)[:200]}): copy it again"
            ) from error
    schema = files[0].schema_arrow
    columns = _columns(schema, paths[0])
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
    if columns.label is not None:
        classes = _class_names(schema, columns.label)
        classes = classes or tuple(str(label) for label in range(_highest_label(files, columns.label) + 1))
    parts = [
        part
        for path, file in zip(paths, files, strict=True)
        for part in (path.stat().st_size, file.metadata.num_rows)
    ]
    for file in files:
        file.close()
    manifest = RecordsManifest(
        name=paths[0].absolute().parent.name,
        split=split,
        count=sum(sizes),
        classes=classes,
        source=f"parquet {paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else ""),
        fingerprint=fingerprint(["parquet", *distinct_names(paths), *classes, *parts]),
    )
    return ParquetRecords(paths, groups, list(accumulate(sizes)), columns, manifest)


def splits(spec: str) -> dict[str, Callable[[], ParquetRecords]]:
    """The splits of a parquet file, a glob, or a folder that holds some; by the words in their names."""
    found = by_split(expected(spec, SUFFIX))
    return {split: lambda split=split: open_parquet(found[split], split) for split in found}
