"""Batches for evaluation: every record exactly once, in order, all batches of one shape."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import grain
import numpy as np

from laminate.data.augment import Augment
from laminate.data.batch import ROW, VALID, Arrays, stack
from laminate.data.batch_timeout import DEFAULT_SECONDS, BatchTimeout, ReadsInFlight
from laminate.data.faults import FaultCount, LoadedExample, load, load_or_next
from laminate.data.host_slice import ALONE, HostShare, HostSlice
from laminate.data.loader import DEFAULT_THREADS
from laminate.data.records import Records
from laminate.data.schema import LABEL

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
) -> Iterator[Arrays]:
    """Every record once, in the order of the records; the last global batch is filled up.

    Batches are those of `TrainLoader` and ``valid`` bool ``[host_batch]``: False in the rows that fill up,
    whose arrays are zero (a black image) and whose label is -1. ``global_row`` is the index of the record. Every host
    gets equally many batches, and holds the rows of its `share` of each.

    An `augment` that draws random numbers gets the same ones for a record in every evaluation. A record that
    cannot be read is an error unless `max_bad_images` allows it; then it is reported and its row is not
    valid.

    Raises:
      ValueError: no records, or a global batch that does not divide by the parts of the share.
      TooManyBadImagesError: more than `max_bad_images` records of this host cannot be read.
      InputStalledError: a batch takes longer than `timeout` seconds.
    """
    host_batch_size = len(share.places(global_batch_size))
    reads = ReadsInFlight()
    if len(records) == 0:
        raise ValueError(f"{records.manifest.source} holds no records to evaluate on")

    def load_row(row: int, rng: np.random.Generator) -> tuple[int, LoadedExample]:
        row = int(row)
        if row >= len(records):
            return row, LoadedExample(None, -1, ())
        with reads.of(row):
            return row, load(records, row, lambda data: augment(data, rng))

    batches = -(-len(records) // global_batch_size)
    everything = grain.MapDataset.range(batches * global_batch_size).random_map(load_row, seed=_SEED)
    rows = HostSlice(
        everything, global_batch_size=global_batch_size, share=share, start=0, batches=batches
    ).to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_ROWS_AHEAD_PER_THREAD * max(threads, 1))
    )
    count = FaultCount(max_bad_images, records.manifest.source)
    in_time = BatchTimeout(timeout, reads, records.manifest.source)
    return _batches(records, augment, rows, host_batch_size, count, in_time)


def _batches(
    records: Records,
    augment: Augment,
    rows: Any,
    host_batch_size: int,
    count: FaultCount,
    in_time: BatchTimeout,
) -> Iterator[Arrays]:
    blank: Arrays | None = None
    iterator = iter(rows)
    try:
        while batch := in_time(lambda: list(islice(iterator, host_batch_size))):
            for _, loaded in batch:
                count.add(loaded.faults)
                count.add_cut_short(loaded.cut_short)
            examples = [loaded.arrays for _, loaded in batch]
            if blank is None:
                blank = _blank(records, augment, examples)
            yield {
                **stack([blank if example is None else example for example in examples]),
                LABEL: np.array([loaded.label for _, loaded in batch], np.int32),
                ROW: np.array([row for row, _ in batch], np.int64),
                VALID: np.array([example is not None for example in examples]),
            }
    finally:
        in_time.close()
        if not in_time.stalled:
            iterator.close()


def _blank(records: Records, augment: Augment, examples: list[Arrays | None]) -> Arrays:
    """Zeros like the arrays that `augment` makes; where this host has none, of the first good record."""
    seen = next((example for example in examples if example is not None), None)
    if seen is None:
        rng = np.random.default_rng(_SEED)
        seen = load_or_next(records, 0, lambda data: augment(data, rng), len(records)).arrays
    if seen is None:
        raise ValueError(f"no image of {records.manifest.source} can be read")
    return {name: np.zeros_like(array) for name, array in seen.items()}
