"""Images through a frozen network into records: shard by shard, by all hosts, from where it was stopped."""

import dataclasses
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from laminate.cli.encode_flags import EncodeFlags
from laminate.data.array_schema import ArrayFacts, ReadArray
from laminate.data.array_writer import ArrayFolder, ArrayJob, plan_array_jobs
from laminate.data.augment import Augment, RandomResizedCrop, Squash
from laminate.data.batch import Arrays, stack
from laminate.data.faults import Fault, FaultCount, load
from laminate.data.journal import Done
from laminate.data.prepare import tfds_name
from laminate.data.prepared import Prepared, Skipped, read_prepared
from laminate.data.records import Records, fingerprint
from laminate.data.sources import open_splits, shared_classes
from laminate.data.sources.embedded import DEFAULT
from laminate.parallel.hosts import barrier, host_count, host_index, is_first, of_first
from laminate.parallel.sharding import batch_sharding
from laminate.runs.preflight import require_same
from laminate.runs.waiting import progress_bar
from laminate.tokenizers.statistics import RunningStatistics
from laminate.train.step import Measure, make_map

PATIENCE = 24 * 3600.0  # seconds: hosts may end their shares hours apart
_AHEAD = 2  # batches whose images are loaded while one is computed


@dataclasses.dataclass(frozen=True)
class Images:
    """The splits of a source, and what is done to an image of each before a network sees it."""

    records: dict[str, Records]
    still: Augment
    random: Augment
    views: int
    seed: int

    def views_of(self, split: str) -> int:
        """Records per image: random views are for training only."""
        return max(1, self.views) if split == "train" else 1

    def view_of(self, split: str) -> Augment:
        return self.random if split == "train" and self.views else self.still

    @property
    def description(self) -> str:
        """What the arrays depend on, apart from the images and the network."""
        view = self.view_of("train").description
        return f"{self.views} times {view}, seed {self.seed}" if self.views else view


def open_images(flags: EncodeFlags, crop_size: int) -> Images:
    """The images that the flags name, seen as training sees them, at `crop_size`.

    Raises ValueError or OSError as `open_splits`, or if random views are wanted of records that hold no images.
    """
    records = open_splits(flags.data or DEFAULT, options=flags.reading)
    arrays = records["train"].manifest.arrays
    if arrays is None:
        still, random = Squash(crop_size), RandomResizedCrop(crop_size)
        return Images(records, still, random, flags.views, flags.seed)
    if flags.views or arrays.field != "features":
        raise ValueError(
            f"--data {flags.data} holds {arrays.field}: latents can be made of features, one of each, and random views "
            "of images only."
        )
    return Images(records, ReadArray(arrays), ReadArray(arrays), 0, flags.seed)


def encode(
    flags: EncodeFlags,
    images: Images,
    function: Measure,
    frozen: PyTree,
    *,
    mesh: Mesh,
    dtype: Any,
    stored: str,
    made_by: dict[str, Any],
) -> Prepared:
    """Write `function((), frozen, example)["array"]` of every view into `flags.out`, and what it says afterwards.

    Every host computes shards of its own on its own `mesh`; the first one makes the folder and its manifest. The
    arrays are `stored` in a dtype of `array_schema.DTYPES`.

    Raises:
        ValueError: too many bad images, a result that is not finite, or hosts that do not agree on what they encode.
        OSError: the folder cannot be written, or holds something else.
    """
    apply = _on_devices(function, frozen, mesh, dtype, flags.host_batch_size)
    shape = _shape(apply, images)
    facts = ArrayFacts(flags.what, shape, stored, images.description, max(1, images.views), made_by)
    first = images.records["train"].manifest
    name = f"{tfds_name(first.name)}_{flags.what}"
    jobs = plan_array_jobs({s: len(r) for s, r in images.records.items()}, name, flags.shard_images)
    identity = _identity(images, jobs, facts)
    require_same("encoding", {"encoding": identity})
    folder = ArrayFolder(flags.out.expanduser().absolute(), identity)
    if folder.is_done():
        return read_prepared(folder.out)
    if is_first():
        folder.begin()
    barrier("encoding begins")
    with folder.held(host_index()):
        unfinished = [job.file for job in jobs if folder.finished(job) is None]
        agreed = json.loads(of_first("shards", json.dumps(unfinished)))
        mine = set(agreed[host_index() :: host_count()])
        _write_all(folder, [job for job in jobs if job.file in mine], images, apply, flags)
    barrier("encoding ends", seconds=PATIENCE)
    if is_first():
        _finish(folder, jobs, images, facts, name)
    barrier("encoding is whole")
    return read_prepared(folder.out)


Apply = Callable[[list[Arrays]], np.ndarray]


def _on_devices(
    function: Measure,
    frozen: PyTree,
    mesh: Mesh,
    dtype: Any,
    host_batch_size: int,
) -> Apply:
    """The arrays of at most so many views at a time, computed together and padded to one shape."""
    devices = mesh.devices.size
    rows = -(-host_batch_size // devices) * devices
    run = make_map(function, (), frozen, mesh=mesh, compute_dtype=dtype)

    def apply(views: list[Arrays]) -> np.ndarray:
        blank = {name: np.zeros_like(array) for name, array in views[0].items()}
        batch = stack([*views, *[blank] * (rows - len(views))])
        placed: dict[str, Array] = jax.device_put(batch, batch_sharding(mesh))
        return np.asarray(run((), frozen, placed)["array"])[: len(views)]

    return apply


def _shape(apply: Apply, images: Images) -> tuple[int, ...]:
    """Of the array of one view: that of the first image that can be read."""
    records, view = images.records["train"], images.view_of("train")
    for index in range(len(records)):
        loaded = _load(records, index, 0, view, images.seed)
        if isinstance(loaded, View):
            return apply([loaded.arrays]).shape[1:]
    raise ValueError(f"no image of {records.manifest.source} can be read")


def _identity(images: Images, jobs: list[ArrayJob], facts: ArrayFacts) -> str:
    sources = [(split, records.manifest.fingerprint) for split, records in images.records.items()]
    described = json.dumps(dataclasses.asdict(facts), sort_keys=True)
    return fingerprint(
        [sources, images.still.description, [dataclasses.astuple(job) for job in jobs], described]
    )


class View(NamedTuple):
    """One view of an image, with the label and the key of the image."""

    arrays: Arrays
    label: int
    key: str


def _load(records: Records, index: int, number: int, view: Augment, seed: int) -> View | Fault:
    """View `number` of image `index`: a function of these and the seed alone."""
    rng = np.random.default_rng([seed, index, number])
    loaded = load(records, index, lambda data: view(data, rng))
    return loaded.faults[0] if loaded.arrays is None else View(loaded.arrays, loaded.label, loaded.key)


def _write_all(
    folder: ArrayFolder, jobs: list[ArrayJob], images: Images, apply: Apply, flags: EncodeFlags
) -> None:
    counts = {s: FaultCount(flags.max_bad_images, r.manifest.source) for s, r in images.records.items()}
    threads = flags.data_workers or os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool, progress_bar() as bar:
        task = bar.add_task("encoding", total=sum(job.stop - job.start for job in jobs))
        for job in jobs:
            statistics: list[RunningStatistics] = []
            skipped: list[Skipped] = []
            rows = _rows(
                job, images, apply, flags.host_batch_size, pool, counts[job.split], skipped, statistics
            )
            shard = folder.write(job, host_index(), rows, skipped)
            folder.note(job, Done(shard, tuple(skipped)), _as_arrays(statistics))
            bar.advance(task, job.stop - job.start)


def _rows(
    job: ArrayJob,
    images: Images,
    apply: Apply,
    host_batch_size: int,
    pool: ThreadPoolExecutor,
    count: FaultCount,
    skipped: list[Skipped],
    statistics: list[RunningStatistics],
) -> Iterator[tuple[np.ndarray, int, str]]:
    """The arrays of one shard in the order of the images; bad images go into `skipped`."""
    records, view = images.records[job.split], images.view_of(job.split)
    numbers = range(images.views_of(job.split))
    wanted = ((index, number) for index in range(job.start, job.stop) for number in numbers)
    submit: Callable[[tuple[tuple[int, int], ...]], list[Future[View | Fault]]] = lambda some: [
        pool.submit(_load, records, index, number, view, images.seed) for index, number in some
    ]
    batches = iter(lambda: tuple(islice(wanted, host_batch_size)), ())
    under_way = deque(submit(some) for some in islice(batches, _AHEAD))
    while under_way:
        loaded = [future.result() for future in under_way.popleft()]
        under_way.extend(submit(some) for some in islice(batches, 1))
        for fault in (one for one in loaded if isinstance(one, Fault)):
            if fault.record not in {bad.record for bad in count.faults}:
                skipped.append(Skipped(job.split, fault.key, fault.reason[:300]))
            count.add((fault,))
        good = [one for one in loaded if isinstance(one, View)]
        if not good:
            continue
        arrays = apply([one.arrays for one in good])
        flat = arrays.reshape(len(arrays), -1, arrays.shape[-1])
        if not statistics:
            statistics.append(RunningStatistics(*flat.shape[1:]))
        statistics[0].update(flat)
        for array, one in zip(arrays, good, strict=True):
            yield array, one.label, one.key


def _as_arrays(statistics: list[RunningStatistics]) -> dict[str, np.ndarray]:
    """What a shard notes of its statistics; nothing, if it has no image that can be read."""
    if not statistics:
        return {}
    (one,) = statistics
    return {"count": np.asarray(one.count, np.int64), "mean": one.mean, "variance": one.variance}


def _finish(folder: ArrayFolder, jobs: list[ArrayJob], images: Images, facts: ArrayFacts, name: str) -> None:
    """Join what all hosts have noted."""
    done, totals = list[Done](), dict[str, RunningStatistics]()
    for job in jobs:
        noted = folder.finished(job)
        if noted is None:
            raise FileNotFoundError(
                f"{folder.out} lacks {job.file}, which another host wrote: is the folder shared?"
            )
        done.append(noted)
        stored = folder.statistics(job)
        if stored:
            one = RunningStatistics.of(int(stored["count"]), stored["mean"], stored["variance"])
            if job.split in totals:
                totals[job.split].merge(one)
            else:
                totals[job.split] = one
    missing = [split for split in images.records if split not in totals]
    if missing:
        raise ValueError(f"no image of the split {missing[0]!r} can be read")
    manifest = images.records["train"].manifest
    prepared = Prepared(
        name=name,
        classes=shared_classes(images.records),
        licence=manifest.licence,
        sources={split: f"{facts.field} of {one.manifest.source}" for split, one in images.records.items()},
        shards=tuple(entry.shard for entry in done),
        skipped=tuple(skip for entry in done for skip in entry.skipped),
        plan=folder.identity,
        arrays=facts,
    )
    measured = {
        f"{split}.{part}": value
        for split, one in totals.items()
        for part, value in (("mean", one.mean), ("variance", one.variance))
    }
    folder.finish(prepared, measured)


def summary(prepared: Prepared, out: Path) -> str:
    """One line on what was written."""
    facts = prepared.arrays
    assert facts is not None
    sizes = "x".join(map(str, facts.shape))
    splits = ", ".join(f"{split} {prepared.manifest(split).count}" for split in prepared.sources)
    megabytes = sum(shard.size for shard in prepared.shards) / 1e6
    left_out = f", {len(prepared.skipped)} images left out" if prepared.skipped else ""
    return f"{facts.field} {sizes} in {facts.dtype}: {splits} ({megabytes:.1f} MB{left_out}) in {out}"
