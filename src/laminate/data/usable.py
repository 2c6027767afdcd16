"""Which images a training could use, why another one cannot be used, and how many of those there may be."""

import threading
from collections.abc import Callable, Sequence

from laminate.data.decode import (
    ImageError,
    TooManyPixels,
    check_limits,
    decode_image,
    noticed_cut_short,
)
from laminate.data.faults import TooManyBadImagesError
from laminate.data.prepared import Skipped
from laminate.data.schema import NO_LABEL, Example


def vet_example(example: Example, classes: int, *, max_pixels: int, decode: bool) -> bool:
    """Raises ValueError (`ImageError` among them) for an example that training could not use.

    Returns whether its last few bytes are missing.
    """
    with noticed_cut_short() as sizes:
        if decode:
            decode_image(example.image, max_pixels=max_pixels)
        else:
            check_limits(example.image, max_pixels)
    if not NO_LABEL <= example.label < max(classes, 0):
        raise WrongLabel(f"its label {example.label} is outside 0..{classes - 1}")
    return bool(sizes)


class WrongLabel(ValueError):
    """A label that is no class."""


def fault_kind(error: Exception, example: Example | None) -> str:
    """Why an image cannot be used, in a few words."""
    if isinstance(error, WrongLabel):
        return "label outside the classes"
    if isinstance(error, TooManyPixels):
        return "more pixels than allowed (--max-pixels)"
    if example is not None and not example.image:
        return "empty file"
    return "damaged, or no image" if isinstance(error, ImageError) else "cannot be read"


class Tally:
    """Counts records for the progress display and bad images for the limit, over all threads."""

    def __init__(self, max_bad: int, on_records: Callable[[int], None]):
        self._lock = threading.Lock()
        self._max_bad = max_bad
        self._on_records = on_records
        self._bad = 0
        self.stop = threading.Event()

    def good(self, records: int) -> None:
        with self._lock:
            self._on_records(records)

    def bad(self, skipped: Sequence[Skipped]) -> None:
        with self._lock:
            self._on_records(len(skipped))
            self._bad += len(skipped)
            if self._bad > self._max_bad:
                self.stop.set()
                raise TooManyBadImagesError(
                    f"{self._bad} images cannot be used, more than the {self._max_bad} allowed; the last "
                    f"one is '{skipped[-1].key}': {skipped[-1].reason} (mend it, or raise --max-bad)"
                )
