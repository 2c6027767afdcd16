"""Verifies a prepared folder: every checksum, every record, every image."""

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np

from laminate.data.array_schema import ReadArray
from laminate.data.batch import Arrays
from laminate.data.decode import decode_image, noticed_cut_short
from laminate.data.left_out import LeftOut
from laminate.data.prepared import Prepared, RecordShard, parser_of, read_prepared, sha256_of
from laminate.data.records import (
    ArrayRecords,
    RecordFile,
    RecordFileError,
    check_record_file,
    open_record_file,
)
from laminate.data.schema import NO_LABEL
from laminate.data.sources import tfds
from laminate.data.tfds_metadata import one_line
from laminate.data.vet import vet_record_files


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a check has seen: how many records, and every fault, one sentence each (none: the folder is
    sound).
    """

    records: int
    faults: tuple[str, ...]
    cut_short: int = 0
    """Images that are read without their last few bytes, which are no faults."""
    left_out: tuple[LeftOut, ...] = ()
    """What the source held and the folder does not."""


def _record_faults(
    records: ArrayRecords, index: int, keys: dict[str, str], cut_short: list[str]
) -> Iterator[str]:
    classes = records.manifest.classes
    where = f"record {index} of {records.files[0].path}"
    try:
        example = records[index]
    except ValueError as error:
        yield str(error)
        return
    arrays = records.manifest.arrays
    try:
        if arrays is None:
            with noticed_cut_short() as sizes:
                decode_image(example.image, max_pixels=records.manifest.max_pixels)
            if sizes:
                cut_short.append(example.key)
        elif not _is_finite(ReadArray(arrays)(example.image, np.random.default_rng(0))):
            yield f"{where} ('{example.key}') holds a NaN or an infinity"
    except ValueError as error:
        yield f"{where} ('{example.key}'): {error}"
    if not NO_LABEL <= example.label < len(classes):
        yield f"{where} ('{example.key}') has the label {example.label}, outside 0..{len(classes) - 1}"
    # setdefault is atomic, so of two shards with the same key one sees the other's.
    first = keys.setdefault(f"{records.manifest.split}/{example.key}", where)
    if first != where and arrays is None:
        yield f"{where} has the key '{example.key}', which {first} has too"


def _shard_faults(
    shard: RecordShard,
    folder: Path,
    prepared: Prepared,
    keys: dict[str, str],
    cut_short: list[str],
    on_records: Callable[[int], None],
) -> list[str]:
    """The faults of one file. A file that cannot be opened at all is one fault."""
    path = folder / shard.name
    faults: list[str] = []
    try:
        check_record_file(path, shard.size)
        if (found := sha256_of(path)) != shard.sha256:
            faults.append(
                f"{path} has changed: its SHA-256 is {found[:12]}..., the manifest says "
                f"{shard.sha256[:12]}..."
            )
            vet_record_files([RecordFile(path, shard.count)], sample=False)
        open_record_file(path, shard.count).close()
        records = ArrayRecords(
            [RecordFile(path, shard.count, shard.size)],
            prepared.manifest(shard.split),
            parser_of(prepared.arrays),
        )
        for index in range(shard.count):
            faults.extend(_record_faults(records, index, keys, cut_short))
            on_records(1)
    except RecordFileError as error:
        faults.append(str(error))
    return faults


def _metadata_faults(folder: Path, prepared: Prepared) -> Iterator[str]:
    """Where the metadata for TFDS and the manifest disagree."""
    try:
        stated = tfds.describe(folder)
    except ValueError as error:
        yield str(error)
        return
    wanted = {split: [shard.count for shard in prepared.shards_of(split)] for split in prepared.sources}
    if stated.lengths != wanted:
        yield f"{folder / 'dataset_info.json'} states the shards {stated.lengths}, the manifest {wanted}"
    if stated.classes != tuple(map(one_line, prepared.classes)):
        yield f"{folder / 'label.labels.txt'} names other classes than the manifest"
    if stated.name != prepared.name:
        yield f"{folder / 'dataset_info.json'} has the name '{stated.name}', the manifest '{prepared.name}'"


def check(
    folder: Path,
    workers: int = 2,
    on_start: Callable[[int], None] = lambda total: None,
    on_records: Callable[[int], None] = lambda records: None,
) -> Findings:
    """Read all of a prepared folder: sizes, SHA-256, counts, images, labels, keys, and the metadata for TFDS.

    Raises:
      FileNotFoundError: no prepared folder.
      RecordFileError: its manifest is damaged.
    """
    prepared = read_prepared(folder)
    on_start(sum(shard.count for shard in prepared.shards))
    keys: dict[str, str] = {}
    cut_short: list[str] = []  # appending is atomic
    with ThreadPoolExecutor(max(1, workers)) as pool:
        per_shard = pool.map(
            _shard_faults,
            prepared.shards,
            repeat(folder),
            repeat(prepared),
            repeat(keys),
            repeat(cut_short),
            repeat(on_records),
        )
        faults = [fault for faults in per_shard for fault in faults]
    if prepared.arrays is None:
        faults.extend(_metadata_faults(folder, prepared))
    count = sum(shard.count for shard in prepared.shards)
    return Findings(count, tuple(faults), len(cut_short), prepared.all_left_out)


def _is_finite(arrays: Arrays) -> bool:
    return all(bool(np.isfinite(array.astype(np.float32)).all()) for array in arrays.values())
