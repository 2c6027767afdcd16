"""TFDS data sets in array_record format, read without TensorFlow and without trusting their metadata.

`tensorflow_datasets` imports whatever class ``features.json`` names and follows file templates out of the
folder. Here both are compared with an allow-list, nothing is imported, and the record files are read
directly.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from laminate.data.left_out import LeftOut
from laminate.data.options import AS_IT_SAYS, SourceOptions
from laminate.data.records import (
    ArrayRecords,
    RecordFile,
    RecordFileError,
    RecordsManifest,
    check_record_file,
    fingerprint,
)
from laminate.data.schema import NO_LABEL, Example, SchemaError, bytes_feature, find_features, int_feature
from laminate.data.sources.fields import LABEL_NAMES, choose_image, choose_label
from laminate.data.sources.files import MAX_CLASSES
from laminate.data.sources.split_names import SPLIT_OF
from laminate.data.vet import vet_record_files
from laminate.storage.strict_json import Field, JsonError, read_json

_FEATURE_CLASS = re.compile(r"tensorflow_datasets\.core\.features(\.[a-z0-9_]+)+\.[A-Z][A-Za-z0-9]*")
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-+]*")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_MAX_SHARDS = 10**5
_MAX_COUNT = 2**40


class Parser:
    """Turns a record of a TFDS data set into an `Example` (picklable, unlike a closure)."""

    def __init__(self, image: str, label: str | None, classes: int):
        self._image = image
        self._label = label
        self._classes = classes

    def __call__(self, record: bytes, key: str) -> Example:
        spans = find_features(record)
        label = NO_LABEL if self._label is None else int_feature(record, spans, self._label)
        # TFDS itself writes -1 where an image has no label.
        if not NO_LABEL <= label < max(self._classes, 1):
            raise SchemaError(f"its label {label} is outside 0..{self._classes - 1}")
        return Example(bytes_feature(record, spans, self._image), label, key)


def location(spec: str) -> Path:
    """The folder that ``tfds:NAME[/CONFIG][:VERSION][@DATA_DIR]`` means; the highest version where none is
    given.

    Raises:
      ValueError: the name is malformed.
      FileNotFoundError: no such data set has been prepared.
    """
    name, _, given = spec.removeprefix("tfds:").partition("@")
    root = Path(given or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    name, _, version = name.partition(":")
    parts = name.split("/")
    if not all(_WORD.fullmatch(part) for part in parts) or (version and not _VERSION.fullmatch(version)):
        raise ValueError(f"'{spec}' names no TFDS data set: expected tfds:NAME[/CONFIG][:VERSION][@DATA_DIR]")
    folder = root.joinpath(*parts)
    names = [version] if version else os.listdir(folder) if folder.is_dir() else []
    found = [
        name for name in names if _VERSION.fullmatch(name) and (folder / name / "dataset_info.json").is_file()
    ]
    if not found:
        raise FileNotFoundError(
            f"no prepared TFDS data set {version or 'of any version'} in {folder}: prepare it with "
            f"'tfds build {parts[0]} --file_format=array_record --data_dir={root}', or name its "
            "folder with @DATA_DIR"
        )
    return folder / max(found, key=lambda name: tuple(map(int, name.split("."))))


@contextmanager
def _trusted_so_far(path: Path) -> Generator[None]:
    """Whatever is wrong with the metadata at `path`, or with a field of them, is a RecordFileError."""
    try:
        yield
    except (OSError, UnicodeDecodeError, JsonError) as error:
        raise RecordFileError(f"{path} cannot be read ({error}): prepare the data set again") from error


def _check_classes(node: Any, path: Path) -> None:
    """Refuse metadata that names a class from outside `tensorflow_datasets`, anywhere in it."""
    if isinstance(node, dict):
        for key, value in node.items():
            named = key in ("pythonClassName", "type") and isinstance(value, str) and "." in value
            if named and not _FEATURE_CLASS.fullmatch(value):
                raise RecordFileError(
                    f"{path} names the class {value!r}, which is no TFDS feature: refused, never imported"
                )
            _check_classes(value, path)
    elif isinstance(node, list):
        for value in node:
            _check_classes(value, path)


class Features(NamedTuple):
    """The features to read: the image's, the label's (None for no labels), and the names of the classes."""

    image: str
    label: str | None
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def _features(folder: Path, options: SourceOptions) -> Features:
    """Raises RecordFileError where several features could be meant."""
    path = folder / "features.json"
    with _trusted_so_far(path):
        read = read_json(path)
        _check_classes(read.value, path)
        entries = dict(read.get("featuresDict", {}).get("features", {}).fields())
        kinds = {name: entry.get("pythonClassName", "").text() for name, entry in entries.items()}
    images = [name for name, kind in kinds.items() if kind.endswith(".Image")]
    classes = [name for name, kind in kinds.items() if kind.endswith(".ClassLabel")]
    image = choose_image(images, list(kinds), str(folder), options, "feature")
    label = choose_label(classes, list(kinds), str(folder), options, "feature")
    if label is None:
        usual = [name for name in LABEL_NAMES if name in kinds and not options.unlabelled]
        note = (f"its feature '{usual[0]}' is no ClassLabel, so the images have no labels",) if usual else ()
        return Features(image, None, (), note)
    return Features(image, label, _classes(folder, label, entries[label]))


def _classes(folder: Path, label: str, entry: Field) -> tuple[str, ...]:
    """The names of the classes; numbers, where the metadata only say how many there are.

    Raises:
      RecordFileError: more classes than can be, or none that are stated.
    """
    path = folder / f"{label}.labels.txt"
    stated = entry.get("classLabel", {}).value
    count = _whole(stated.get("numClasses", 0)) if isinstance(stated, dict) else 0
    if _WORD.fullmatch(label) and path.is_file():
        with _trusted_so_far(path):
            names = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        if names != [""]:
            return tuple(names)
    if not 0 < count <= MAX_CLASSES:
        raise RecordFileError(
            f"{folder / 'features.json'} says that '{label}' has {count} classes, and {path.name} names "
            f"none: expected 1 to {MAX_CLASSES}. Choose another feature with --label-key, or give "
            "--unlabelled"
        )
    return tuple(str(number) for number in range(count))


def _lengths(folder: Path, split: Field) -> list[int]:
    """The number of records in each file of a split, when its files are where they must be."""
    path = folder / "dataset_info.json"
    template = split.get("filepathTemplate", _TEMPLATE).value
    if template != _TEMPLATE:
        raise RecordFileError(
            f"{path} has the file template {template!r}; only {_TEMPLATE!r} is read, others can leave the folder: "
            "refused"
        )
    try:
        lengths = [_whole(length.value) for length in split["shardLengths"].items()]
    except JsonError as error:
        raise RecordFileError(
            f"{path} states no shard lengths ({error}): prepare the data set again"
        ) from error
    if not 0 < len(lengths) <= _MAX_SHARDS or not all(0 <= length < _MAX_COUNT for length in lengths):
        raise RecordFileError(f"{path} states impossible shard lengths: prepare the data set again")
    return lengths


def _whole(value: Any) -> int:
    """A whole number, which TFDS writes as a text; -1 for anything else."""
    text = str(value) if type(value) in (int, str) else ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1


def _files(folder: Path, name: str, split: Field) -> list[RecordFile]:
    """The record files of a split, by its shard lengths; every name stays inside the folder."""
    lengths = _lengths(folder, split)
    stem = f"{name}-{split['name'].text()}.array_record"
    paths = [folder / f"{stem}-{i:05d}-of-{len(lengths):05d}" for i in range(len(lengths))]
    strays = {path.name for path in folder.glob(f"{stem}-*")} - {path.name for path in paths}
    if strays:
        raise RecordFileError(
            f"{folder} has {sorted(strays)[0]}, which its metadata does not know: prepare it again"
        )
    return [RecordFile(path, length) for path, length in zip(paths, lengths, strict=True)]


def _open(folder: Path, name: str, split: Field, as_split: str, options: SourceOptions) -> ArrayRecords:
    features = _features(folder, options)
    files = _files(folder, name, split)
    for file in files:
        check_record_file(file.path)
    vet_record_files(files, sample=True)
    sizes = [part for file in files for part in (file.path.name, file.path.stat().st_size, file.count)]
    manifest = RecordsManifest(
        name=name,
        split=as_split,
        count=sum(file.count for file in files),
        classes=features.classes,
        source=f"tfds {folder}",
        fingerprint=fingerprint(["tfds", *features.classes, *sizes]),
        notes=features.notes,
    )
    return ArrayRecords(files, manifest, Parser(features.image, features.label, len(features.classes)))


class Description(NamedTuple):
    """What the metadata say: the name, the shard lengths of each split, and the classes."""

    name: str
    lengths: dict[str, list[int]]
    classes: tuple[str, ...]


def _entries(folder: Path) -> tuple[str, dict[str, Field]]:
    """(name, the metadata of each split), when nothing in them leaves the folder."""
    path = folder / "dataset_info.json"
    with _trusted_so_far(path):
        info = read_json(path)
        name, form = info.get("name", "").text(), info.get("fileFormat").value
    if form != "array_record":
        raise RecordFileError(
            f"{folder} is in the format {form!r}, which needs TensorFlow: prepare it again with "
            "--file_format=array_record"
        )
    with _trusted_so_far(path):
        entries = {entry["name"].text(): entry for entry in info.get("splits", []).items()}
    if not _WORD.fullmatch(name) or not all(_WORD.fullmatch(split) for split in entries):
        raise RecordFileError(f"{path} has a name that leaves the folder: refused")
    return name, entries


def describe(folder: Path) -> Description:
    """The metadata of a folder in TFDS's layout; no record file is touched.

    Raises:
      RecordFileError: the metadata is damaged, hostile, or of another file format than array_record.
    """
    name, entries = _entries(folder)
    lengths = {split: _lengths(folder, entry) for split, entry in entries.items()}
    return Description(name, lengths, _features(folder, AS_IT_SAYS).classes)


def splits(folder: Path, options: SourceOptions = AS_IT_SAYS) -> dict[str, Callable[[], ArrayRecords]]:
    """The splits ``train`` and ``validation`` (or ``val``, ``valid``) of a folder that TFDS has prepared; the images of
    others are counted as left out.

    Raises:
      RecordFileError: the metadata is damaged, hostile, of another file format than array_record, or several features
        could be meant.
    """
    name, entries = _entries(folder)
    split_of = {given: SPLIT_OF.get(given.lower()) for given in entries}
    found: dict[str, Callable[[], ArrayRecords]] = {}
    unused: list[LeftOut] = []
    for given, split in split_of.items():
        if split in ("train", "validation"):
            if split in found:
                raise RecordFileError(f"{folder} has several splits to take for '{split}': {sorted(entries)}")
            found[split] = lambda given=given, split=split: _open(
                folder, name, entries[given], split, options
            )
        else:
            unused.append(
                LeftOut(
                    f"image of the split '{given}', which is not used",
                    sum(_lengths(folder, entries[given])),
                    given,
                )
            )
    if "train" in found:
        opened = found["train"]

        def train() -> ArrayRecords:
            records = opened()
            records.manifest = dataclasses.replace(records.manifest, left_out=tuple(unused))
            return records

        found["train"] = train
    return found
