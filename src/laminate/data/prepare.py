"""Turns a source into a prepared folder: in parallel, resumably, with the same bytes for any number of
workers.

A shard is written under a temporary name, closed, opened again, counted, and renamed; then a line about it
goes into a journal. Whatever stops the preparation, the next run keeps the shards of the journal and writes
the others.
"""

import dataclasses
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path

from laminate.data.decode import MAX_PIXELS, noticed_cut_short
from laminate.data.journal import Done, open_journal, read_done, sync_file
from laminate.data.options import AS_IT_SAYS, SourceOptions
from laminate.data.prepared import (
    FORMAT,
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
from laminate.data.records import ArrayRecords, Records, Subset, fingerprint, open_record_file
from laminate.data.schema import Example, example_serializer
from laminate.data.shrink import NOTHING, Shrink, Shrunk
from laminate.data.sources import open_splits, shared_classes
from laminate.data.tfds_metadata import write_tfds_metadata
from laminate.data.usable import Tally, fault_kind, vet_example
from laminate.data.vet import vet_record_files
from laminate.storage.writing import writing

RECORDS_PER_SHARD = 2048


@dataclasses.dataclass(frozen=True)
class Options:
    """How to prepare.

    `shards` of each split (None: one per 2048 records), `workers` threads, the `held_out` fraction for a
    source without a validation split (0: none), how many bad images to leave out before stopping (`max_bad`),
    the most pixels of an image, whether every image is decoded once (`decode`) or only its header read, how larger
    images are made smaller (`shrink`; None: stored as they are), and what the manifest says of `name`, `licence` and
    `origin` (None: taken from the source). `source` says how the source is read; its limit on pixels wins, if it has
    one.
    """

    shards: int | None = None
    workers: int = 2
    held_out: float = 0.1
    max_bad: int = 0
    max_pixels: int = MAX_PIXELS
    decode: bool = True
    name: str | None = None
    licence: str = ""
    origin: str | None = None
    source: SourceOptions = AS_IT_SAYS
    shrink: Shrink | None = None


@dataclasses.dataclass(frozen=True)
class ShardJob:
    """One shard to write: the records ``start`` to ``stop`` of a split."""

    file: str
    split: str
    records: Records
    start: int
    stop: int


AS_USUAL = Options()


def tfds_name(name: str) -> str:
    """`name` as `tensorflow_datasets` accepts it: lower case, digits, underscores, a letter first."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"images_{plain}".rstrip("_")


def plan_jobs(splits: dict[str, Records], name: str, shards: int | None) -> list[ShardJob]:
    """The shards of every split: equal runs of records in the order of the source."""
    jobs: list[ShardJob] = []
    for split, records in splits.items():
        count = len(records)
        total = min(shards or -(-count // RECORDS_PER_SHARD), count)
        for shard in range(total):
            file = f"{name}-{split}.array_record-{shard:05d}-of-{total:05d}"
            jobs.append(ShardJob(file, split, records, shard * count // total, (shard + 1) * count // total))
    return jobs


def write_shard(
    job: ShardJob,
    out: Path,
    classes: int,
    serialize: Callable[[Example], bytes],
    options: Options,
    tally: Tally,
) -> Done:
    """Write the record file of `job` into `out`, and a line about it into its journal.

    Raises InterruptedError if another shard has failed, and what `Tally.bad` raises.
    """
    partial = out / JOURNAL / f"{job.file}.partial"
    skipped: list[Skipped] = []
    written = cut_short = 0
    shrunk = NOTHING
    try:
        with RecordWriter(partial) as writer:
            for index in range(job.start, job.stop):
                if tally.stop.is_set():
                    raise InterruptedError("stopped")
                key, example = f"record {index}", None
                try:
                    example = job.records[index]
                    key = example.key
                    example, cut, made = _as_stored(example, classes, options)
                    cut_short, shrunk = cut_short + cut, shrunk + made
                except (ValueError, OSError) as error:
                    skipped.append(Skipped(job.split, key, str(error)[:300], fault_kind(error, example)))
                    tally.bad(skipped[-1:])
                    continue
                writer.write(serialize(example))
                written += 1
                tally.good(1)
    except BaseException:
        tally.stop.set()  # before this thread begins with the next shard
        raise
    sync_file(partial)
    open_record_file(partial, written).close()
    final = out / job.file
    shard = RecordShard(job.file, job.split, written, partial.stat().st_size, sha256_of(partial))
    partial.replace(final)
    done = Done(shard, tuple(skipped), cut_short, shrunk)
    write_json(out / JOURNAL / f"{job.file}.json", dataclasses.asdict(done))
    return done


def _as_stored(example: Example, classes: int, options: Options) -> tuple[Example, bool, Shrunk]:
    """What is written of an example, whether its last few bytes were missing, and what making it smaller did.

    Raises what `vet_example` raises.
    """
    allowed = options.max_pixels
    if options.shrink is None or not options.shrink.concerns(example.image):
        return example, vet_example(example, classes, max_pixels=allowed, decode=options.decode), NOTHING
    vet_example(example, classes, max_pixels=allowed, decode=False)
    with noticed_cut_short() as sizes:
        image, shrunk = options.shrink.apply(example.image, max_pixels=allowed)
    return example._replace(image=image), bool(sizes), shrunk


def finished(file: str, out: Path) -> Done | None:
    """What the journal says about a record file that an earlier run has finished and that is still there."""
    return read_done(out / JOURNAL / f"{file}.json", out / file)


def _foreign_files(records: Records) -> ArrayRecords | None:
    while isinstance(records, Subset):
        records = records.records
    return records if isinstance(records, ArrayRecords) else None


def _plan(splits: dict[str, Records], jobs: Sequence[ShardJob], options: Options) -> str:
    identities = [(split, records.manifest.fingerprint) for split, records in splits.items()]
    files = [(job.file, job.start, job.stop) for job in jobs]
    facts = [FORMAT, identities, files, options.decode, options.max_pixels, options.licence, options.origin]
    return fingerprint(facts if options.shrink is None else [*facts, options.shrink])


def _write_all(
    jobs: Sequence[ShardJob],
    out: Path,
    classes: tuple[str, ...],
    options: Options,
    on_records: Callable[[int], None],
) -> list[Done]:
    """Every shard of `jobs`, in their order: those of the journal as they are, the others written now."""
    tally = Tally(options.max_bad, on_records)
    kept = {job.file: done for job in jobs if (done := finished(job.file, out))}
    for done in kept.values():
        tally.good(done.shard.count)
        if done.skipped:
            tally.bad(done.skipped)
    serialize = example_serializer(classes)
    with ThreadPoolExecutor(max(1, options.workers)) as pool:
        started: dict[str, Future[Done]] = {
            job.file: pool.submit(write_shard, job, out, len(classes), serialize, options, tally)
            for job in jobs
            if job.file not in kept
        }
        try:
            wait(started.values(), return_when=FIRST_EXCEPTION)
        finally:
            tally.stop.set()
            for future in started.values():
                future.cancel()
    failures = [error for f in started.values() if not f.cancelled() and (error := f.exception())]
    # The shard that failed first stops the others, whose InterruptedError says nothing.
    failures.sort(key=lambda error: isinstance(error, InterruptedError))
    if failures:
        raise failures[0]
    return [kept[job.file] if job.file in kept else started[job.file].result() for job in jobs]


def prepare(
    source: str,
    out: Path,
    options: Options = AS_USUAL,
    on_start: Callable[[int], None] = lambda total: None,
    on_records: Callable[[int], None] = lambda records: None,
) -> Prepared:
    """Convert `source` into the prepared folder `out`; a finished folder of the same plan is returned as it
    is.

    Args:
      source: a specification, as `laminate.data.sources.open_records` takes it.
      out: the folder to write.
      options: how.
      on_start: called once with the number of records of all splits.
      on_records: called with the number of records dealt with since the last call, from any thread.

    Raises:
      ValueError: the source cannot be used, or has too many bad images.
      FileExistsError: `out` holds something else.
      UnwritableError: writing failed; what is finished stays, and the same call goes on from there.
    """
    splits = open_splits(source, held_out=options.held_out, options=options.source)
    if options.source.max_pixels is not None:
        options = dataclasses.replace(options, max_pixels=options.source.max_pixels)
    classes = shared_classes(splits)
    name = tfds_name(options.name or splits["train"].manifest.name)
    jobs = plan_jobs(splits, name, options.shards)
    plan = _plan(splits, jobs, options)
    on_start(sum(map(len, splits.values())))
    if is_prepared(out):
        existing = read_prepared(out)
        if existing.plan != plan:
            raise FileExistsError(f"{out} holds other prepared data ({existing.name}): choose a new folder")
        return existing
    with open_journal(out, plan):
        for records in splits.values():
            if foreign := _foreign_files(records):
                vet_record_files(foreign.files, sample=False)
        done = _write_all(jobs, out, classes, options, on_records)
        prepared = Prepared(
            name=name,
            classes=classes,
            licence=options.licence or splits["train"].manifest.licence,
            sources={split: options.origin or records.manifest.source for split, records in splits.items()},
            shards=tuple(entry.shard for entry in done),
            skipped=tuple(skip for entry in done for skip in entry.skipped),
            plan=plan,
            max_pixels=options.max_pixels,
            cut_short=sum(entry.cut_short for entry in done),
            shrunk=sum((entry.shrunk for entry in done), NOTHING),
            left_out=tuple(one for records in splits.values() for one in records.manifest.left_out),
            locked=tuple(one for records in splits.values() for one in records.manifest.locked),
        )
        for split in splits:
            if not any(shard.count for shard in prepared.shards_of(split)):
                raise ValueError(f"no image of the split '{split}' of {source} can be used")
        with writing(out):
            write_tfds_metadata(out, prepared)
        write_prepared(out, prepared)
    shutil.rmtree(out / JOURNAL)
    return prepared
