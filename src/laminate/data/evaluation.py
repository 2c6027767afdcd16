"""Batches for evaluation: every record exactly once, in order, all batches of one shape."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import grain
import numpy as np

from laminate.data.augment import Augment
from laminate.data.faults import FaultCount, Loaded, load, load_or_next, stack
from laminate.data.host_slice import ALONE, HostShare, HostSlice
from laminate.data.loader import DEFAULT_THREADS, Batch
from laminate.data.patience import DEFAULT_SECONDS, Patience, Reading
from laminate.data.records import Records

_SEED = 0
_ROWS_AHEAD_PER_THREAD = 16


def evaluation_batches(
    records: Records,
    *,
    global_batch_size: int,
    augment: Augment,
    share: HostShare = ALONE,
    threads: int = DEFAULT_THREADS,
    max_bad_images: int = 0,
    timeout: float = DEFAULT_SECONDS,
) -> Iterator[Batch]:
    """Every record once, in the order of the records; the last global batch is filled up.

    Batches are those of `TrainLoader` and ``valid`` bool ``[host_batch]``: False in the rows that fill up,
    whose image is black and whose label is -1. ``row`` is the index of the record. Every host gets equally
    many batches, and holds the rows of its `share` of each.

    An `augment` that draws random numbers gets the same ones for a record in every evaluation. A record that
    cannot be read is an error unless `max_bad_images` allows it; then it is reported and its row is not
    valid.

    Raises:
      ValueError: no records, or a global batch that does not divide by the parts of the share.
      TooManyBadImagesError: more than `max_bad_images` records of this host cannot be read.
      InputStalledError: a batch takes longer than `timeout` seconds.
    """
    host_batch_size = len(share.places(global_batch_size))
    reading = Reading()
    if len(records) == 0:
        raise ValueError(f"{records.manifest.source} holds no records to evaluate on")

    def load_row(row: int, rng: np.random.Generator) -> tuple[int, Loaded]:
        row = int(row)
        if row >= len(records):
            return row, Loaded(None, -1, ())
        with reading.of(row):
            return row, load(records, row, lambda data: augment(data, rng))

    batches = -(-len(records) // global_batch_size)
    everything = grain.MapDataset.range(batches * global_batch_size).random_map(load_row, seed=_SEED)
    rows = HostSlice(
        everything, global_batch_size=global_batch_size, share=share, start=0, batches=batches
    ).to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_ROWS_AHEAD_PER_THREAD * max(threads, 1))
    )
    count = FaultCount(max_bad_images, records.manifest.source)
    patience = Patience(timeout, reading, records.manifest.source)
    return _batches(records, augment, rows, host_batch_size, count, patience)


def _batches(
    records: Records,
    augment: Augment,
    rows: Any,
    host_batch_size: int,
    count: FaultCount,
    patience: Patience,
) -> Iterator[Batch]:
    blank: np.ndarray | None = None
    iterator = iter(rows)
    try:
        while batch := patience(lambda: list(islice(iterator, host_batch_size))):
            for _, loaded in batch:
                count.add(loaded.faults)
            images = [loaded.image for _, loaded in batch]
            if blank is None:
                blank = _blank(records, augment, images)
            yield {
                records.manifest.field: stack([blank if image is None else image for image in images]),
                "label": np.array([loaded.label for _, loaded in batch], np.int32),
                "row": np.array([row for row, _ in batch], np.int64),
                "valid": np.array([image is not None for image in images]),
            }
    finally:
        patience.close()
        if not patience.stalled:
            iterator.close()


def _blank(records: Records, augment: Augment, images: list[np.ndarray | None]) -> np.ndarray:
    """A black image of the size that `augment` makes; where this host has none, of the first good record."""
    seen = next((image for image in images if image is not None), None)
    if seen is None:
        rng = np.random.default_rng(_SEED)
        seen = load_or_next(records, 0, lambda data: augment(data, rng), len(records)).image
    if seen is None:
        raise ValueError(f"no image of {records.manifest.source} can be read")
    return np.zeros_like(seen)
