"""What kind of source a folder is: decided by what it mostly holds, and refused where that is not clear."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from laminate.data.options import SourceOptions
from laminate.data.records import KeyedRecords, RecordFileError
from laminate.data.sources import folder, parquet, tar, tfds
from laminate.data.sources.layout import MOSTLY
from laminate.data.sources.survey import Survey, survey

Splits = Mapping[str, Callable[[], KeyedRecords]]

_BESIDE = {
    "images": "image beside {kind}",
    "tar": "archive beside {kind}",
    "parquet": "parquet file beside {kind}",
    "arrow": "Arrow file beside {kind}",
    "packed": "packed archive, which is not read (unpack it)",
    "array_record": "record file without its metadata",
    "tfrecord": "TFRecord file, which is not read",
}


class _Metadata(NamedTuple):
    """Parquet files of a folder: those that hold images, and those that only say something about some."""

    images: list[Path]
    facts: list[Path]


def splits(root: Path, options: SourceOptions) -> Splits:
    """The splits of a folder that is neither prepared nor empty of a description.

    Raises:
      FileNotFoundError: nothing in it can be read.
      RecordFileError: it is of a kind that is not read, or of several kinds.
    """
    found = survey(root)
    if _is_tfds(root, found):
        return tfds.splits(root, options)
    parquets = _parquet_files(root, found)
    archives = [root / path for path in found.of("tar")]
    kind = _main_kind(root, found, len(archives), len(parquets.images))
    if kind == "images":
        if not found.images:
            _refuse_arrow(root, found)
            _refuse_packed(root, found)
        _leave_out(found, kind, found.of("tar"), found.of("parquet"))
        return folder.splits(root, options, found)
    facts = [path.relative_to(root).as_posix() for path in parquets.facts]
    others = [path.relative_to(root).as_posix() for path in parquets.images]
    _leave_out(
        found,
        kind,
        found.of("tar") if kind == "parquet" else [],
        others if kind == "tar" else [],
        facts,
    )
    stray = (*found.left_out.entries(),)
    if kind == "tar":
        return tar.splits(archives, root, options, stray)
    return parquet.splits(parquets.images, root, options, stray)


def _is_tfds(root: Path, found: Survey) -> bool:
    """TFDS's metadata with records, or what an older TFDS wrote; `dataset_info.json` alone is also Hugging Face's."""
    if not (root / "dataset_info.json").is_file():
        return False
    if (root / "features.json").is_file():
        return True
    return bool(found.of("array_record") or found.of("tfrecord"))


def _parquet_files(root: Path, found: Survey) -> _Metadata:
    """Parquet files that lie beside other data are looked into; where nothing else is, they must be the data."""
    paths = [root / path for path in found.of("parquet")]
    if not paths or not (found.images or found.of("tar")):
        return _Metadata(paths, [])
    stems = {Path(path).stem for path in found.of("tar")}
    facts = [path for path in paths if path.stem in stems or path.stem == "metadata"]
    holding, more = parquet.of_images([path for path in paths if path not in set(facts)])
    return _Metadata(holding, [*facts, *more])


def _main_kind(root: Path, found: Survey, archives: int, parquets: int) -> str:
    """``images``, ``tar`` or ``parquet``: the one of which there is the most by far."""
    counts = {"images": len(found.images), "tar": archives, "parquet": parquets}
    present = {kind: count for kind, count in counts.items() if count}
    if len(present) < 2:
        return next(iter(present), "images")
    # One file may hold thousands of images, so a few pictures beside archives are the strays.
    files = {kind: count for kind, count in present.items() if kind != "images"}
    images = counts["images"]
    if images > MOSTLY * sum(files.values()):
        return "images"
    most = max(files, key=lambda kind: files[kind])
    if images <= files[most] and all(files[most] > MOSTLY * n for kind, n in files.items() if kind != most):
        return most
    listed = ", ".join(f"{count} {_PLURAL[kind]}" for kind, count in present.items())
    raise RecordFileError(
        f"{root} holds {listed}, and none of these is most of it: name those to read, such as "
        f"'{root}/*.tar' (in quotes), or the folder of the images; or move the others away"
    )


_PLURAL = {"images": "images", "tar": "tar files", "parquet": "parquet files"}


def _leave_out(
    found: Survey, kind: str, tars: list[str], parquets: list[str], facts: Sequence[str] = ()
) -> None:
    """Count what lies beside files of `kind`."""
    beside = _PLURAL[kind]
    strays = {
        "images": [] if kind == "images" else [file.path for file in found.images],
        "tar": tars,
        "parquet": parquets,
        **{name: found.of(name) for name in ("arrow", "packed", "array_record", "tfrecord")},
    }
    if kind == "images" and not found.images:
        return  # the message of an empty folder says what is there
    for name, paths in strays.items():
        if paths:
            found.left_out.add(_BESIDE[name].format(kind=beside), paths[0], len(paths))
    if facts:
        found.left_out.add("parquet file without images", facts[0], len(facts))


def _refuse_arrow(root: Path, found: Survey) -> None:
    arrows = found.of("arrow")
    if arrows:
        raise RecordFileError(
            f"{root} holds {len(arrows)} Arrow files (as {arrows[0]}), as save_to_disk of Hugging Face's "
            "`datasets` and its "
            'cache leave them, which are not read. Write parquet: python -c "import datasets; '
            f"datasets.load_from_disk('{root}').to_parquet('train.parquet')\" (of each split, if it holds "
            "several), and give that file"
        )


def _refuse_packed(root: Path, found: Survey) -> None:
    for kind, advice in (
        ("packed", "unpack them first (a .tar.gz to .tar)"),
        ("tfrecord", "write ArrayRecord instead: tfds build NAME --file_format=array_record"),
    ):
        paths = found.of(kind)
        if paths:
            raise FileNotFoundError(
                f"no image in {root}: it holds {len(paths)} files as {paths[0]}, which are not read; {advice}"
            )
