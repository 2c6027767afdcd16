"""Writes ArrayRecord files that can be read record by record; a place that cannot be written is one sentence."""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path

from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

from laminate.data.records import first_line
from laminate.storage.writing import UnwritableError, open_new, writing


class RecordWriter:
    """An ArrayRecord file in the making, whose records can be read one by one: a context manager.

    Raises `UnwritableError` where the place cannot be written, which may show at the end only.
    """

    def __init__(self, path: Path):
        self._path = path
        with writing(path):
            os.close(open_new(path))  # a link there would lead elsewhere
        self._writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")

    def write(self, record: bytes) -> None:
        with self._writing():
            self._writer.write(record)

    def close(self) -> None:
        with self._writing():
            self._writer.close()

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except UnwritableError:
            self._discard()
            if kind is None:  # else the first error says more
                raise
        if kind is not None:
            self._discard()

    def _discard(self) -> None:
        """Removes the unfinished file, which takes room where there may be none."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _writing(self) -> Generator[None]:
        with writing(self._path):
            try:
                yield
            except RuntimeError as error:
                raise OSError(first_line(error)) from error
