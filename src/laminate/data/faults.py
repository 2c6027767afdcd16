"""What happens to a picture that cannot be read: it is named, counted, and the count is bounded."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from laminate.data.batch import Arrays
from laminate.data.decode import ImageError, check_limits, noticed_cut_short
from laminate.data.records import RecordError, RecordFileError, Records

logger = logging.getLogger("laminate.data")

BAD_IMAGE = (ImageError, RecordError, RecordFileError, OSError)
"""What counts as a bad image once work has begun: a file that has vanished and a disk that fails too."""


class TooManyBadImagesError(ValueError):
    """More images than allowed could not be read."""


class Fault(NamedTuple):
    """One record that could not be turned into a picture: its number, its key, and why."""

    record: int
    key: str
    reason: str


class LoadedExample(NamedTuple):
    """What was made of a record, its label, and the faults met on the way; `arrays` is None where nothing could be
    read. `cut_short` is the record if it was read without its last few bytes."""

    arrays: Arrays | None
    label: int
    faults: tuple[Fault, ...]
    cut_short: Fault | None = None
    key: str = ""


def load(records: Records, index: int, view: Callable[[bytes], Arrays]) -> LoadedExample:
    """The arrays of one record as `view` makes them, or the fault that prevents it.

    An image with more pixels than its manifest allows is a fault, before it is decoded.
    """
    key = f"record {index}"
    try:
        example = records[index]
        key = example.key
        if records.manifest.arrays is None:
            check_limits(example.image, records.manifest.max_pixels)
        with noticed_cut_short() as sizes:
            arrays = view(example.image)
        cut = Fault(index, key, "its last few bytes are missing; it is read without them") if sizes else None
        return LoadedExample(arrays, example.label, (), cut, key)
    except BAD_IMAGE as error:
        return LoadedExample(None, -1, (Fault(index, key, str(error)),))


def load_or_next(records: Records, index: int, view: Callable[[bytes], Arrays], tries: int) -> LoadedExample:
    """What `view` makes of record `index`; where it cannot be read, of the next record that can.

    The order is that of the records, round the end. A function of the records alone, so every host and every
    repetition replaces a bad image by the same good one. After `tries` bad records `arrays` is None.
    """
    faults: tuple[Fault, ...] = ()
    loaded = LoadedExample(None, -1, faults)
    for step in range(min(tries, len(records))):
        loaded = load(records, (index + step) % len(records), view)
        faults += loaded.faults
        if loaded.arrays is not None:
            break
    return loaded._replace(faults=faults)


class FaultCount:
    """The distinct records that failed so far, each reported once through `logging`.

    Raises:
      TooManyBadImagesError: from `add`, when there are more than `limit`.
    """

    def __init__(self, limit: int, source: str):
        if limit < 0:
            raise ValueError(f"max_bad_images must be 0 or more, got {limit}")
        self.limit = limit
        self.source = source
        self._faults: dict[int, Fault] = {}
        self._cut_short: set[int] = set()

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(self._faults.values())

    def add(self, faults: tuple[Fault, ...]) -> None:
        for fault in faults:
            if fault.record in self._faults:
                continue
            self._faults[fault.record] = fault
            logger.warning("bad image %s in %s: %s", fault.key, self.source, fault.reason)
            if len(self._faults) > self.limit:
                raise self._too_many()

    def add_cut_short(self, fault: Fault | None) -> None:
        """Report an image that was read without its last few bytes, once; there is no limit on these."""
        if fault is not None and fault.record not in self._cut_short:
            self._cut_short.add(fault.record)
            logger.warning(
                "image %s in %s: %s (%d so far)", fault.key, self.source, fault.reason, len(self._cut_short)
            )

    def _too_many(self) -> TooManyBadImagesError:
        keys = [fault.key for fault in self._faults.values()]
        shown = ", ".join(keys[:5]) + (", ..." if len(keys) > 5 else "")
        return TooManyBadImagesError(
            f"{len(keys)} images of {self.source} cannot be read ({shown}) and {self.limit} are allowed: "
            "mend or remove them ('python -m laminate.data check' lists them all), or allow more"
        )
