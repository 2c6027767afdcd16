"""Where images come from: one specification string in, `Records` out.

======================================  ==================================================================
``embedded``, ``embedded:NAME``         the real images that are shipped inside the package
a folder with ``manifest.json``         what ``python -m laminate.data prepare`` wrote
``tfds:NAME[/CONFIG][:VERSION][@DIR]``  a TFDS data set in array_record format (also: the folder itself)
a folder of images                      class sub-folders give labels; ``train`` and ``val`` sub-folders,
splits
``*.tar`` file, glob or folder          WebDataset shards (``key.jpg`` + ``key.cls``), or class folders inside
``*.parquet`` file, glob or folder      Hugging Face's layout, with ``pip install 'laminate-jax[parquet]'``
======================================  ==================================================================
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from laminate.data.prepared import JOURNAL, is_prepared, open_prepared, splits_of
from laminate.data.records import HELD_OUT_FRACTION, KeyedRecords, Records, hold_out
from laminate.data.sources import embedded, folder, parquet, tar, tfds
from laminate.data.sources.files import matches

SPLITS = ("train", "validation")

_Splits = Mapping[str, Callable[[], KeyedRecords]]


def _prepared_splits(location: Path) -> _Splits:
    return {split: lambda split=split: open_prepared(location, split) for split in splits_of(location)}


def _folder_splits(location: Path) -> _Splits:
    """What kind of folder it is, by what lies in it."""
    if is_prepared(location) or (location / JOURNAL).is_dir():
        return _prepared_splits(location)
    if (location / "dataset_info.json").is_file():
        return tfds.splits(location)
    for kind in (parquet, tar):
        if matches(str(location), kind.SUFFIX):
            return kind.splits(str(location))
    return folder.splits(location)


def _splits(spec: str) -> _Splits:
    if spec == "embedded" or spec.startswith("embedded:"):
        return _prepared_splits(embedded.location(spec))
    if spec.startswith("tfds:"):
        return tfds.splits(tfds.location(spec))
    if Path(spec).expanduser().is_dir():
        return _folder_splits(Path(spec).expanduser())
    for kind in (tar, parquet):
        if spec.endswith(kind.SUFFIX):
            return kind.splits(spec)
    raise FileNotFoundError(
        f"no data at '{spec}': expected 'embedded', an existing folder (prepared, or of images), "
        "a .tar or .parquet file or glob, or tfds:NAME[@DIR]"
    )


def open_splits(spec: str, *, held_out: float = HELD_OUT_FRACTION) -> dict[str, Records]:
    """Both splits of a source, or only ``train`` where it has no other and `held_out` is 0.

    Raises: as `open_records`.
    """
    if held_out == 0 and "validation" not in (found := _splits(spec)):
        return {"train": _train(found, spec)()}
    return {split: open_records(spec, split, held_out=held_out) for split in SPLITS}


def _train(found: _Splits, spec: str) -> Callable[[], KeyedRecords]:
    if "train" not in found:
        raise ValueError(f"'{spec}' has no train split; it has {sorted(found) or 'none'}")
    return found["train"]


def open_records(spec: str, split: str, *, held_out: float = HELD_OUT_FRACTION) -> Records:
    """The records of one split of a source.

    A source without a validation split gives up the fraction `held_out` of its images, chosen by the hash of
    their keys; the manifest's `source` says so.

    Args:
      spec: where the images are; the table above lists the forms.
      split: ``train`` or ``validation``.
      held_out: between 0 and 1.

    Raises:
      ValueError: an unknown split, or a source that cannot be used, with what to do about it.
      FileNotFoundError: nothing is there.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split '{split}': expected one of {', '.join(SPLITS)}")
    found = _splits(spec)
    train = _train(found, spec)
    if split in found and "validation" in found:
        return found[split]()
    return hold_out(train(), split, held_out)
