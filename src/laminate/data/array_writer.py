"""Writes a folder of arrays: shard by shard, by any number of processes that share it, from where it was stopped.

As in `prepare`, a shard is written under a temporary name, opened again, counted and renamed, and a line about it goes
into a journal; ``manifest.json`` comes last. Which process writes which shard is not noted: the next run may have
another number of them.
"""

import dataclasses
import os
import shutil
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import safetensors.numpy

from laminate.data.array_schema import array_record
from laminate.data.journal import Done, held, read_done, sync_file
from laminate.data.prepared import (
    JOURNAL,
    Prepared,
    RecordShard,
    Skipped,
    is_prepared,
    read_prepared,
    sha256_of,
    write_json,
    write_prepared,
)
from laminate.data.record_writer import RecordWriter
from laminate.data.records import open_record_file
from laminate.storage.strict_json import read_json
from laminate.storage.writing import writing

STATISTICS = "statistics.safetensors"
"""Mean and variance of every number of the arrays, as ``SPLIT.mean`` and ``SPLIT.variance``, float64."""


@dataclasses.dataclass(frozen=True)
class ArrayJob:
    """One shard to write: all views of the images ``start`` to ``stop`` of a split."""

    file: str
    split: str
    start: int
    stop: int


def plan_array_jobs(images: Mapping[str, int], name: str, images_per_shard: int) -> list[ArrayJob]:
    """The shards of every split, which has so many `images`: equal runs of them in the order of the source."""
    jobs: list[ArrayJob] = []
    for split, count in images.items():
        total = max(1, -(-count // images_per_shard))
        for shard in range(total):
            file = f"{name}-{split}.array_record-{shard:05d}-of-{total:05d}"
            jobs.append(ArrayJob(file, split, shard * count // total, (shard + 1) * count // total))
    return jobs


@dataclasses.dataclass(frozen=True)
class ArrayFolder:
    """A folder of arrays in the making. `identity` is everything that its content depends on."""

    out: Path
    identity: str

    @property
    def journal(self) -> Path:
        return self.out / JOURNAL

    def is_done(self) -> bool:
        """Whether all of it is written.

        Raises:
          FileExistsError: the folder holds something else.
        """
        if not is_prepared(self.out):
            return False
        if read_prepared(self.out).plan != self.identity:
            raise FileExistsError(f"{self.out} holds other prepared data: choose a new folder")
        return True

    def begin(self) -> None:
        """Make the folder and its journal; one process does.

        Raises:
          FileExistsError: the folder holds something else.
        """
        if self.out.exists() and not self.journal.is_dir() and any(self.out.iterdir()):
            raise FileExistsError(f"{self.out} is not empty and holds no encoded data: choose a new folder")
        with writing(self.out):
            self.journal.mkdir(parents=True, exist_ok=True)
        if not (self.journal / "plan.json").exists():
            write_json(self.journal / "plan.json", {"plan": self.identity})

    @contextmanager
    def held(self, host: int) -> Generator[None]:
        """Hold the place of process number `host` in the writing of this folder.

        Raises:
          FileNotFoundError: this process does not see what `begin` wrote.
          FileExistsError: another encoding was begun there, or a process of this number is at it now.
        """
        stated = self.journal / "plan.json"
        if not stated.exists():
            raise FileNotFoundError(
                f"{self.out} of this host is not that of the first one: several hosts write into one shared folder"
            )
        if read_json(stated).value != {"plan": self.identity}:
            raise FileExistsError(
                f"{self.out} holds an unfinished encoding of other data or by another network: choose a new folder, or "
                "remove that one"
            )
        with held(self.out, f"lock-{host}", "writing"):
            yield

    def finished(self, job: ArrayJob) -> Done | None:
        """What the journal says about a shard that is written and still there."""
        return read_done(self.journal / f"{job.file}.json", self.out / job.file)

    def write(
        self, job: ArrayJob, host: int, rows: Iterable[tuple[np.ndarray, int, str]], skipped: list[Skipped]
    ) -> RecordShard:
        """Write the `rows` (array, label, key) of one shard; `skipped` grows while they are drawn.

        `note` makes it count. Raises UnwritableError if it cannot be written.
        """
        partial, written = self.journal / f"{job.file}.{host}.partial", 0
        with RecordWriter(partial) as writer:
            for array, label, key in rows:
                writer.write(array_record(array, label, key))
                written += 1
        sync_file(partial)
        open_record_file(partial, written).close()
        shard = RecordShard(job.file, job.split, written, partial.stat().st_size, sha256_of(partial))
        partial.replace(self.out / job.file)
        return shard

    def note(self, job: ArrayJob, done: Done, statistics: Mapping[str, np.ndarray]) -> None:
        """Note a written shard and its statistics: from now on it is kept."""
        _save(self.journal / f"{job.file}.statistics", statistics)
        write_json(self.journal / f"{job.file}.json", dataclasses.asdict(done))

    def statistics(self, job: ArrayJob) -> dict[str, np.ndarray]:
        """What was noted with a shard."""
        return safetensors.numpy.load_file(self.journal / f"{job.file}.statistics")

    def finish(self, prepared: Prepared, statistics: Mapping[str, np.ndarray]) -> None:
        """Write statistics and manifest, and remove the journal; one process does, when all shards are written."""
        _save(self.out / STATISTICS, statistics)
        write_prepared(self.out, prepared)
        shutil.rmtree(self.journal)


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    partial = path.with_name(path.name + ".partial")
    with writing(path):
        partial.unlink(missing_ok=True)
        safetensors.numpy.save_file(dict(arrays), partial)
        os.replace(partial, path)
