"""Endless training batches: one order of rows for any number of hosts and threads; one integer resumes it."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import grain
import numpy as np

from laminate.data.augment import Augment
from laminate.data.batch import ROW, Arrays, stack
from laminate.data.batch_timeout import DEFAULT_SECONDS, BatchTimeout, ReadsInFlight
from laminate.data.faults import (
    Fault,
    FaultCount,
    LoadedExample,
    load_or_next,
)
from laminate.data.host_slice import ALONE, HostShare, HostSlice
from laminate.data.options import MAX_BAD_IMAGES
from laminate.data.records import Records
from laminate.data.schema import LABEL

DEFAULT_THREADS = 8
# Rows that one thread makes at a time: grain's bookkeeping is per piece, and 16 pieces of work hide it.
_ROWS_PER_PIECE = 16
_PREFETCHED_BATCHES = 2


@runtime_checkable
class BatchView(Augment, Protocol):
    """An augmentation that is not the same for all batches, as where their arrays have one of several shapes."""

    def of_batch(self, number: int, seed: int) -> Augment:
        """That of the examples of the batch `number` of a run with this `seed`, on every host."""
        ...


class TrainBatches(Iterator[Arrays]):
    """The batches of one host from one row on; a context manager that ends its threads.

    `row` is the global row at which the next batch begins, what a checkpoint has to hold. `faults` are the
    bad images met so far. Made by `TrainLoader.batches`.
    """

    def __init__(self, pieces: Any, *, loader: "TrainLoader", row: int):
        self._pieces = iter(pieces)
        self._loader = loader
        self._count = FaultCount(loader.max_bad_images, loader.records.manifest.source)
        self._timeout = BatchTimeout(loader.timeout, loader.reads, loader.records.manifest.source)
        self.row = row

    @property
    def faults(self) -> tuple[Fault, ...]:
        return self._count.faults

    def __next__(self) -> Arrays:
        rows = self._loader.host_batch_size
        loaded = self._timeout(self._load)
        for one in loaded:
            self._count.add(one.faults)
            self._count.add_cut_short(one.cut_short)
        examples = [one.arrays for one in loaded if one.arrays is not None]
        if len(examples) < rows:
            raise ValueError(f"no image of {self._count.source} can be read")
        first, self.row = self.row, self.row + self._loader.global_batch_size
        return {
            **stack(examples),
            LABEL: np.array([one.label for one in loaded], np.int32),
            ROW: first + self._loader.places,
        }

    def _load(self) -> list[LoadedExample]:
        loaded: list[LoadedExample] = []
        while len(loaded) < self._loader.host_batch_size:
            loaded.extend(next(self._pieces))
        return loaded

    def close(self) -> None:
        """End the threads, but for those that hang; nothing can be read afterwards."""
        self._timeout.close()
        if not self._timeout.stalled:
            self._pieces.close()

    def __enter__(self) -> "TrainBatches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TrainLoader:
    """Shuffled, augmented training batches without end.

    With n records, global row r is row ``r % n`` of epoch ``r // n``. Every epoch is a permutation of all the
    records, and each epoch another one. Order and augmentation are functions of (seed, row): equal for any
    number of hosts and threads, and for a run that was resumed at any row. A batch may run over the end of an
    epoch, so no record is dropped.

    A record that cannot be read is reported once, with its key, and replaced by the next good one in the
    order of the records. More than `max_bad_images` distinct ones on this host end the iteration with
    `TooManyBadImagesError`, at the same batch for any number of threads; 0 allows none. They are counted
    from where the iteration began, so a resumed run counts anew: the bound is on what a run meets, not its
    history.

    Batches: the arrays that `augment` gives, each ``[host_batch, ...]``, under its names (``image`` for images, the
    `field` of the manifest for what records hold in their place); ``label`` int32 ``[host_batch]`` (-1: none);
    ``global_row`` int64 ``[host_batch]``, the global row. A host holds the rows of its `share` of every global batch.
    A batch that takes longer than `timeout` seconds raises `InputStalledError`, which names the records being read.

    Raises:
      ValueError: no records, a negative seed, a global batch that does not divide by the parts of the share.
    """

    def __init__(
        self,
        records: Records,
        *,
        seed: int,
        global_batch_size: int,
        augment: Augment,
        share: HostShare = ALONE,
        threads: int = DEFAULT_THREADS,
        max_bad_images: int = MAX_BAD_IMAGES,
        timeout: float = DEFAULT_SECONDS,
    ):
        if len(records) == 0:
            raise ValueError(f"{records.manifest.source} holds no records to train on")
        if seed < 0:
            raise ValueError(f"the seed must be 0 or more, got {seed}")
        if threads < 0:
            raise ValueError(f"threads must be 0 (none) or more, got {threads}")
        self.records = records
        self.augment = augment
        self.seed = seed
        self.global_batch_size = global_batch_size
        self.places = share.places(global_batch_size)
        self.host_batch_size = len(self.places)
        self.share = share
        self.threads = threads
        self.timeout = timeout
        self.reads = ReadsInFlight()
        self.max_bad_images = max_bad_images
        if max_bad_images < 0:
            raise ValueError(f"max_bad_images must be 0 or more, got {max_bad_images}")

    def batches(self, start_row: int = 0) -> TrainBatches:
        """The batches from global row `start_row` on, made ahead of use by `threads` threads.

        Raises:
          ValueError: `start_row` is negative.
        """
        if start_row < 0:
            raise ValueError(f"rows are counted from 0, got start_row {start_row}")
        rows_per_piece = math.gcd(self.host_batch_size, _ROWS_PER_PIECE)
        if self.host_batch_size <= _ROWS_PER_PIECE:
            rows_per_piece = self.host_batch_size
        pieces_per_batch = self.host_batch_size // rows_per_piece
        ahead = max(_PREFETCHED_BATCHES * pieces_per_batch, self.threads + 1)
        rows = HostSlice(
            self._rows(),
            global_batch_size=self.global_batch_size,
            share=self.share,
            start=start_row,
        )
        pieces = rows.batch(rows_per_piece, batch_fn=list).to_iter_dataset(
            grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=ahead)
        )
        return TrainBatches(pieces, loader=self, row=start_row)

    def _rows(self) -> Any:
        """Every global row in order, as `LoadedExample`."""
        # Seeds of our own: grain's depend on the place of a transformation in the pipeline.
        order, pixels = (int(word) for word in np.random.SeedSequence(self.seed).generate_state(2))
        shuffled = grain.MapDataset.range(len(self.records)).shuffle(seed=order).repeat()
        numbered = shuffled.map_with_index(lambda row, index: (int(row), int(index)))
        return numbered.random_map(self._load, seed=pixels)

    def _load(self, numbers: tuple[int, int], rng: np.random.Generator) -> LoadedExample:
        row, index = numbers
        augment = self.augment
        if isinstance(augment, BatchView):
            augment = augment.of_batch(row // self.global_batch_size, self.seed)
        view: Callable[[bytes], Arrays] = lambda data: augment(data, rng)
        with self.reads.of(index):
            return load_or_next(self.records, index, view, self.max_bad_images + 1)

    def position(self, row: int) -> dict[str, int | str]:
        """What a checkpoint stores to go on at global row `row`: that, and what the order depends on."""
        return {
            "row": row,
            "seed": str(self.seed),
            "dataset": self.records.manifest.fingerprint,
            "global_batch_size": str(self.global_batch_size),
            "augment": self.augment.description,
        }

    def check_position(self, position: Mapping[str, object]) -> int:
        """The row of a stored `position`.

        Raises:
          ValueError: it was made with another seed, data set, global batch size or augmentation, or is no
            position at all; the message names every difference.
        """
        ours = self.position(0)
        differing = [
            f"{name} was {position.get(name, 'not stored')!r} and is now {ours[name]!r}"
            for name in ours
            if name != "row" and position.get(name) != ours[name]
        ]
        if differing:
            raise ValueError(
                "the stored data position belongs to another order of examples: "
                + "; ".join(differing)
                + ". Resume with the same settings, or start a new run"
            )
        row = position.get("row")
        if not isinstance(row, int) or row < 0:
            raise ValueError(f"the stored data position has the row {row!r}; expected an integer from 0 on")
        return row
