"""Where images come from: one specification string in, `Records` out.

======================================  ==================================================================
``embedded``, ``embedded:NAME``         the real images that are shipped inside the package
a folder with ``manifest.json``         what ``python -m laminate.data prepare`` wrote
``tfds:NAME[/CONFIG][:VERSION][@DIR]``  a TFDS data set in array_record format (also: the folder itself)
a folder of images                      class sub-folders give labels; ``train`` and ``val`` sub-folders,
                                        where all sub-folders are such, splits
``*.tar`` file, glob or folder          WebDataset shards (``key.jpg`` + ``key.cls``), or class folders inside;
                                        ``name-{000..010}.tar`` too
``*.parquet`` file, glob or folder      Hugging Face's layout, with ``pip install -e '.[parquet]'``
``hf://ORG/NAME[@REV]/x-{000..099}.tar`` WebDataset shards of the Hugging Face hub, fetched one at a time
several of these, with commas between   all of them, with the classes of all by their names
======================================  ==================================================================

What can be read in two ways is refused with both, and with the field of `SourceOptions` that decides. What is left out
stands in the manifest of the train split, by reason.
"""

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from laminate.data.options import AS_IT_SAYS, MAX_BAD_IMAGES, SourceOptions
from laminate.data.prepared import JOURNAL, is_prepared, open_prepared, splits_of
from laminate.data.records import HELD_OUT_FRACTION, KeyedRecords, Records, fingerprint, hold_out
from laminate.data.sources import embedded, kinds, parquet, tar, tfds
from laminate.data.sources.any_size import AnySizes
from laminate.data.sources.files import expand_braces, named_files
from laminate.data.sources.hub_shards import HUB, hub_shards
from laminate.data.sources.kinds import Splits
from laminate.data.sources.mixed import Mixed, parts_of, without_small

SPLITS = ("train", "validation")
CACHE = "LAMINATE_CACHE"
"""The environment variable that names the folder of shards that were converted; ~/.cache/laminate without it."""
logger = logging.getLogger("laminate.data")


def _prepared_splits(location: Path, options: SourceOptions) -> Splits:
    """Raises ValueError for options that decide how a source is read: this one has been read."""
    given = dataclasses.replace(options, max_pixels=None, min_size=None)
    for field in dataclasses.fields(given):
        if getattr(given, field.name) != field.default:
            raise ValueError(
                f"--{field.name.replace('_', '-')} says how a source is read, and {location} is prepared: give it to "
                "'python -m laminate.data prepare SOURCE OUT'"
            )
    return {split: lambda split=split: open_prepared(location, split) for split in splits_of(location)}


def _splits(spec: str, options: SourceOptions) -> Splits:
    if spec == embedded.ANY_SIZE:
        photographs, emoji = (
            _prepared_splits(embedded.location(f"embedded:{name}"), options)
            for name in ("photographs", "emoji")
        )
        return {split: lambda split=split: AnySizes(photographs[split](), emoji[split]()) for split in SPLITS}
    if spec == "embedded" or spec.startswith("embedded:"):
        return _prepared_splits(embedded.location(spec), options)
    if spec.startswith(HUB):
        return _prepared_splits(_from_hub(spec, options), AS_IT_SAYS)
    if spec.startswith("tfds:"):
        return tfds.splits(tfds.location(spec), options)
    where = Path(spec).expanduser()
    if where.is_dir():
        if is_prepared(where) or (where / JOURNAL).is_dir():
            return _prepared_splits(where, options)
        return kinds.splits(where, options)
    first = expand_braces(spec)[0].lower()
    for kind in (tar, parquet):
        if first.endswith(kind.SUFFIX):
            return kind.splits(named_files(spec), None, options)
    raise FileNotFoundError(
        f"no data at '{spec}': expected 'embedded', an existing folder (prepared, or of images), "
        "a .tar or .parquet file or glob, or tfds:NAME[@DIR]"
    )


def _from_hub(spec: str, options: SourceOptions) -> Path:
    """The prepared folder of shards of the hub, which are fetched and converted the first time."""
    from laminate.data.prepare import Options  # which opens sources itself
    from laminate.data.prepare_hub import prepare_hub

    shards = hub_shards(spec)
    root = Path(os.environ.get(CACHE, Path.home() / ".cache" / "laminate")).expanduser()
    folder = root / f"{shards.name}-{fingerprint((spec, options))[:12]}"
    if not is_prepared(folder):
        logger.warning(
            "shards of %s are fetched and converted one at a time, in %s", shards.repository, folder
        )
    made = Options(source=options, max_bad=MAX_BAD_IMAGES * len(shards.files))
    prepare_hub(spec, folder, made, on_shard=lambda text: logger.warning("shard %s", text))
    return folder


def open_splits(
    spec: str, *, held_out: float = HELD_OUT_FRACTION, options: SourceOptions = AS_IT_SAYS
) -> dict[str, Records]:
    """Both splits of a source, or only ``train`` where it has no other and `held_out` is 0.

    A source without a validation split gives up the fraction `held_out` of its images, chosen by the hash of
    their keys; the manifest's `source` says so.

    Args:
      spec: where the images are; the table above lists the forms.
      held_out: between 0 and 1.
      options: what decides where a source can be read in two ways, and the limits.

    Raises:
      ValueError: a source that cannot be used, or whose splits do not fit each other, with what to do about it.
      FileNotFoundError: nothing is there.
    """
    parts = (spec,) if Path(spec).expanduser().exists() else parts_of(spec)
    if len(parts) > 1:
        return _mixed([open_splits(part, held_out=held_out, options=options) for part in parts])
    found = _splits(spec, options)
    if "train" not in found:
        raise ValueError(f"'{spec}' has no train split; it has {sorted(found) or 'none'}")
    least = None if spec.startswith(HUB) else options.min_size  # those were filtered when they were converted
    large: Callable[[KeyedRecords], KeyedRecords] = lambda records: (
        records if least is None else without_small(records, least)
    )
    train = large(found["train"]())
    if "validation" in found:
        splits: dict[str, Records] = {"train": train, "validation": large(found["validation"]())}
    elif held_out == 0:
        splits = {"train": train}
    else:
        splits = {split: hold_out(train, split, held_out) for split in SPLITS}
    shared_classes(splits)
    for records in splits.values():
        _limit(records, options)
    return splits


def _mixed(sources: Sequence[Mapping[str, Records]]) -> dict[str, Records]:
    """Each split of several sources, of those that have it."""
    every = [[source[split] for source in sources if split in source] for split in SPLITS]
    return {split: Mixed(found) for split, found in zip(SPLITS, every, strict=True) if found}


def _limit(records: Records, options: SourceOptions) -> None:
    """Write the limit on pixels into the manifest, if one was given; else it is that of the source."""
    if options.max_pixels is not None:
        manifest = dataclasses.replace(records.manifest, max_pixels=options.max_pixels)
        records.manifest = manifest  # pyright: ignore[reportAttributeAccessIssue]


def shared_classes(splits: Mapping[str, Records]) -> tuple[str, ...]:
    """The classes of all splits, of which one may have no label at all, or fewer classes.

    Raises:
      ValueError: they disagree on what a label means.
    """
    lists = sorted((records.manifest.classes for records in splits.values()), key=len)
    if any(names != lists[-1][: len(names)] for names in lists):
        raise ValueError(
            f"the splits have different classes: {[list(names[:5]) for names in lists]} ... Mend them, or take "
            "the images without labels: --unlabelled"
        )
    return lists[-1]


def open_records(
    spec: str, split: str, *, held_out: float = HELD_OUT_FRACTION, options: SourceOptions = AS_IT_SAYS
) -> Records:
    """The records of one split of a source; otherwise as `open_splits`.

    Raises:
      ValueError: an unknown split, or as `open_splits`.
      FileNotFoundError: nothing is there.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split '{split}': expected one of {', '.join(SPLITS)}")
    return open_splits(spec, held_out=held_out, options=options)[split]
