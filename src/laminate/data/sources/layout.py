"""Splits and classes of a tree of images, by their paths: the same rule for folders and for the inside of archives."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from laminate.data.options import SourceOptions
from laminate.data.records import RecordFileError
from laminate.data.sources.split_names import Reading, read_siblings, split_name, words_of

MOSTLY = 4
"""So many times more of one kind than of another, and the other kind is a stray."""

_SHOWN = 6


@dataclass(frozen=True)
class Part:
    """One split: the folder that holds it (with a slash, '' for the root), which paths, and the class of each (None
    where there are no labels)."""

    base: str
    paths: list[int]
    names: list[str] | None


@dataclass
class Layout:
    """The splits, what was left out (reason to paths), and what is worth saying of how it was read."""

    parts: dict[str, Part] = field(default_factory=dict)
    left_out: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Level:
    """What lies below one folder: paths by sub-folder, and those that lie in it directly."""

    folders: dict[str, list[int]]
    loose: list[int]


def _level(paths: Sequence[str], chosen: Sequence[int], base: str) -> _Level:
    folders: dict[str, list[int]] = {}
    loose: list[int] = []
    for index in chosen:
        first, slash, _ = paths[index][len(base) :].partition("/")
        if slash:
            folders.setdefault(first, []).append(index)
        else:
            loose.append(index)
    return _Level(folders, loose)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in sorted(names)[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def arrange(
    paths: Sequence[str],
    where: str,
    options: SourceOptions,
    *,
    below_shared: bool = False,
    splits: bool = True,
) -> Layout:
    """The splits and classes of images at `paths` below `where`.

    Args:
      paths: of the images, with forward slashes.
      where: what to call their root in messages.
      options: what decides where two readings are possible.
      below_shared: classes are looked for below the folders that all images share.
      splits: whether folders may be splits at all; not where the names of files have said so.

    Raises:
      RecordFileError: two readings are possible; the message gives both, and the flags.
    """
    layout = Layout()
    everything = list(range(len(paths)))
    base = _split_level(paths, everything, where, options) if splits and not options.classes else None
    if base is None:
        layout.parts["train"] = _part(paths, everything, "", where, options, layout, below_shared)
        return layout
    level = _level(paths, [index for index in everything if paths[index].startswith(base)], base)
    by_split: dict[str, list[str]] = {}
    for name in level.folders:
        found = split_name(name)
        words = words_of(name) if found is None and options.split_folders else set[str]()
        split = found.split if found else next(iter(words)) if len(words) == 1 else None
        if split is None:
            layout.left_out.setdefault("beside the folders of the splits", []).extend(level.folders[name])
        elif split == "test":
            layout.left_out.setdefault("of a test split, which is not used", []).extend(level.folders[name])
        else:
            by_split.setdefault(split, []).append(name)
    if level.loose:
        layout.left_out.setdefault("beside the folders of the splits", []).extend(level.loose)
    for split, names in by_split.items():
        chosen = sorted(index for name in names for index in level.folders[name])
        if len(names) == 1:
            layout.parts[split] = _part(paths, chosen, f"{base}{names[0]}/", where, options, layout)
        else:
            layout.notes.append(f"{split} is {len(names)} folders: {_listed(names)}")
            layout.parts[split] = _shards(paths, chosen, base, where, options, layout)
    return layout


def _split_level(
    paths: Sequence[str], chosen: Sequence[int], where: str, options: SourceOptions
) -> str | None:
    """The folder whose sub-folders are the splits, with a slash; None where there are none."""
    base = ""
    while True:
        level = _level(paths, chosen, base)
        names = list(level.folders)
        if options.split_folders:
            if {split.split for name in names if (split := split_name(name))} or any(map(words_of, names)):
                return base
        else:
            reading = _reading(paths, level, base)
            if reading == "splits":
                return base
            if reading == "unclear":
                raise RecordFileError(_two_readings(where, base, names))
        if len(names) != 1 or level.loose:
            break
        base += f"{names[0]}/"
    if options.split_folders:
        raise RecordFileError(
            f"--split-folders: no folder in {where} has the name of a split (train, val, ...)"
        )
    _refuse_splits_in_classes(paths, chosen, where)
    return None


def _reading(paths: Sequence[str], level: _Level, base: str) -> Reading:
    """`read_siblings`, and what lies in the folders: a class ``train`` among others holds what they hold."""
    names = list(level.folders)
    reading = read_siblings(names)
    lone = [name for name in names if split_name(name)]
    if reading != "plain" or not lone or len(names) == len(lone):
        return reading
    nested = {
        name: bool(_level(paths, inside, f"{base}{name}/").folders) for name, inside in level.folders.items()
    }
    return "plain" if not nested[lone[0]] or all(nested.values()) else "unclear"


def _two_readings(where: str, base: str, names: Sequence[str]) -> str:
    inside = f"{where}/{base}".rstrip("/")
    return (
        f"{inside} holds the folders {_listed(names)}, which can be read in two ways: as splits, with "
        "what bears no name of a split left out (--split-folders), or as classes, all of them "
        "(--classes). Give one of these flags, or name the folder to train on"
    )


def _refuse_splits_in_classes(paths: Sequence[str], chosen: Sequence[int], where: str) -> None:
    """CLASS/train and CLASS/val in every class: neither are these the splits, nor may val be trained on unsaid."""
    tops = _level(paths, chosen, "")
    if tops.loose or len(tops.folders) < 2:
        return
    inner: set[str] = set()
    for name, inside in tops.folders.items():
        level = _level(paths, inside, f"{name}/")
        if level.loose or any(split_name(each) is None for each in level.folders):
            return
        inner.update(level.folders)
    if len({found.split for name in inner if (found := split_name(name))}) > 1:
        raise RecordFileError(
            f"{where} holds the splits {_listed(sorted(inner))} inside each of {_listed(list(tops.folders))}: with "
            "--classes the outer folders are classes and all that lies in them is trained on; for splits, move them to "
            "the top (train/CLASS, val/CLASS)"
        )


def _shards(
    paths: Sequence[str], chosen: list[int], base: str, where: str, options: SourceOptions, layout: Layout
) -> Part:
    """Several folders of one split: their sub-folders of one name are one class."""
    names = [paths[index][len(base) :].split("/") for index in chosen]
    flat = [index for index, parts in zip(chosen, names, strict=True) if len(parts) == 2]
    if flat and len(flat) < len(chosen) and not options.unlabelled:
        chosen, dropped = _without_strays(chosen, flat, where, options)
        layout.left_out.setdefault("beside class folders", []).extend(dropped)
        flat = [index for index in flat if index in set(chosen)]
    if options.unlabelled or flat:
        return Part(base, chosen, None)
    return Part(base, chosen, [paths[index][len(base) :].split("/")[1] for index in chosen])


def _part(
    paths: Sequence[str],
    chosen: list[int],
    base: str,
    where: str,
    options: SourceOptions,
    layout: Layout,
    below_shared: bool = False,
) -> Part:
    """One split, whose sub-folders are the classes."""
    if options.unlabelled:
        return Part(base, chosen, None)
    top = base
    while below_shared:
        level = _level(paths, chosen, top)
        if level.loose or len(level.folders) != 1:
            break
        top += f"{next(iter(level.folders))}/"
    level = _level(paths, chosen, top)
    if level.loose and level.folders:
        inside = f"{where}/{top}".rstrip("/")
        chosen, dropped = _without_strays(chosen, level.loose, inside, options)
        layout.left_out.setdefault("beside class folders", []).extend(dropped)
    if any("/" not in paths[index][len(top) :] for index in chosen):
        return Part(base, chosen, None)
    return Part(base, chosen, [PurePosixPath(paths[index][len(top) :]).parts[0] for index in chosen])


def _without_strays(
    chosen: list[int], loose: list[int], where: str, options: SourceOptions
) -> tuple[list[int], list[int]]:
    """(what is taken, what is left out) where loose images lie beside class folders: whichever is the most by far."""
    nested = len(chosen) - len(loose)
    if options.classes or nested >= MOSTLY * len(loose):
        strays = set(loose)
        return [index for index in chosen if index not in strays], loose
    if len(loose) >= MOSTLY * nested:
        return chosen, []
    raise RecordFileError(
        f"{where} holds {len(loose)} images itself and {nested} in sub-folders, which can be read in two "
        "ways: the sub-folders are classes and the others are left out (--classes), or all are taken "
        "without labels (--unlabelled). Give one of these flags"
    )
