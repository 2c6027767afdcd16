"""Shards of the hub to a prepared folder: each is fetched, converted and dropped before the next one.

So the disk holds one shard beside the records. A line in the journal for every shard lets the same call go on where it
was stopped, with the commit that it began with.
"""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from laminate.data.journal import Done, open_journal
from laminate.data.left_out import LeftOut, together
from laminate.data.prepare import AS_USUAL, Options, ShardJob, finished, tfds_name, write_shard
from laminate.data.prepared import (
    FORMAT,
    JOURNAL,
    Prepared,
    is_prepared,
    read_prepared,
    write_json,
    write_prepared,
)
from laminate.data.records import fingerprint
from laminate.data.schema import example_serializer
from laminate.data.shrink import NOTHING
from laminate.data.sources import SPLITS, open_splits
from laminate.data.sources.hub_shards import HubShards, forget, hub_shards
from laminate.data.tfds_metadata import write_tfds_metadata
from laminate.data.usable import Tally
from laminate.storage.strict_json import read_json
from laminate.storage.writing import writing

_FETCHED = "fetched"


@dataclasses.dataclass(frozen=True)
class _Facts:
    """What a shard said of itself, beside its records."""

    classes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


def prepare_hub(
    spec: str,
    out: Path,
    options: Options = AS_USUAL,
    on_start: Callable[[int], None] = lambda total: None,
    on_records: Callable[[int], None] = lambda records: None,
    on_shard: Callable[[str], None] = lambda text: None,
) -> Prepared:
    """Convert the shards that `spec` names into the prepared folder `out`.

    `on_shard` is told of each. Of every shard the fraction `options.held_out` is held out.

    Raises:
      ValueError: a shard cannot be used, has too many bad images, or says of classes what another one does not.
      HubError: the hub cannot be asked, before anything is written; or later, and the same call goes on.
      FileExistsError: `out` holds something else.
    """
    shards = hub_shards(spec)
    said = [
        FORMAT,
        spec,
        options.held_out,
        options.decode,
        options.max_pixels,
        options.source,
        options.licence,
    ]
    plan = fingerprint(said if options.shrink is None else [*said, options.shrink])
    if is_prepared(out):
        existing = read_prepared(out)
        if existing.plan != plan:
            raise FileExistsError(f"{out} holds other prepared data ({existing.name}): choose a new folder")
        return existing
    begun = out / JOURNAL / "commit.json"
    commit = read_json(begun)["commit"].text() if begun.is_file() else shards.commit()
    with open_journal(out, plan):
        write_json(begun, {"commit": commit})
        tally = Tally(options.max_bad, on_records)
        done: list[Done] = []
        facts: list[_Facts] = []
        for number in range(len(shards.files)):
            some, said = _converted(shards, number, commit, out, options, tally)
            done += some
            facts.append(said)
            images = sum(one.shard.count for one in some)
            on_shard(f"{number + 1} of {len(shards.files)}: {images} images of {shards.files[number]}")
        prepared = _prepared(shards, commit, done, facts, options, plan)
        with writing(out):
            write_tfds_metadata(out, prepared)
        write_prepared(out, prepared)
    shutil.rmtree(out / JOURNAL)
    return prepared


def _converted(
    shards: HubShards, number: int, commit: str, out: Path, options: Options, tally: Tally
) -> tuple[list[Done], _Facts]:
    """The record files of one shard: those of the journal, or written now."""
    name, total = tfds_name(options.name or shards.name), len(shards.files)
    files = {split: f"{name}-{split}.array_record-{number:05d}-of-{total:05d}" for split in SPLITS}
    if options.held_out == 0:
        files.pop("validation")
    noted = out / JOURNAL / f"facts-{number:05d}.json"
    kept = {split: finished(file, out) for split, file in files.items()}
    if noted.is_file() and all(kept.values()):
        some = [one for one in kept.values() if one is not None]
        for one in some:
            tally.good(one.shard.count)
            if one.skipped:
                tally.bad(one.skipped)
        return some, _read_facts(noted)
    fetched = out / JOURNAL / _FETCHED
    try:
        path = shards.fetch(shards.files[number], commit, fetched)
        splits = open_splits(str(path), held_out=options.held_out, options=options.source)
        classes = splits["train"].manifest.classes
        left_out = tuple(entry for records in splits.values() for entry in records.manifest.left_out)
        serialize = example_serializer(classes)
        jobs = [ShardJob(file, split, splits[split], 0, len(splits[split])) for split, file in files.items()]
        some = [write_shard(job, out, len(classes), serialize, options, tally) for job in jobs]
        write_json(noted, dataclasses.asdict(_Facts(classes, left_out)))
    finally:
        forget(fetched)
    return some, _Facts(classes, left_out)


def _read_facts(path: Path) -> _Facts:
    tree = read_json(path)
    entries = tree["left_out"].items()
    return _Facts(
        tuple(one.text() for one in tree["classes"].items()),
        tuple(LeftOut(one["reason"].text(), one["count"].integer(), one["first"].text()) for one in entries),
    )


def _prepared(
    shards: HubShards, commit: str, done: list[Done], facts: list[_Facts], options: Options, plan: str
) -> Prepared:
    source = options.origin or f"{len(shards.files)} shards of hf://{shards.repository}@{commit[:12]}"
    splits = [split for split in SPLITS if any(one.shard.split == split for one in done)]
    return Prepared(
        name=tfds_name(options.name or shards.name),
        classes=_shared(facts, shards),
        licence=options.licence,
        sources={split: source for split in splits},
        shards=tuple(one.shard for split in splits for one in done if one.shard.split == split),
        skipped=tuple(skip for one in done for skip in one.skipped),
        plan=plan,
        max_pixels=options.max_pixels,
        cut_short=sum(one.cut_short for one in done),
        shrunk=sum((one.shrunk for one in done), NOTHING),
        left_out=together(entry for one in facts for entry in one.left_out),
    )


def _shared(facts: list[_Facts], shards: HubShards) -> tuple[str, ...]:
    """The classes of all shards: numbers up to the largest, or names that are the same in each.

    Raises ValueError for names that differ: what a label means would differ too.
    """
    longest = max((one.classes for one in facts), key=len)
    for number, one in enumerate(facts):
        if one.classes != longest[: len(one.classes)]:
            raise ValueError(
                f"{shards.files[number]} has other class names than the other shards, which are fetched one at a time: "
                "take the images without labels (--unlabelled), or copy all shards here and prepare them together"
            )
    return longest
