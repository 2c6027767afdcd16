"""Files that make up a source, and the split that a file's name speaks of."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from laminate.data.records import RecordFileError

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}


def matches(spec: str, suffix: str) -> list[Path]:
    """The files of a glob, or those ending in `suffix` in a folder (and in its ``train``, ``data``, ...)."""
    where = Path(spec).expanduser()
    if where.is_dir():
        # Only these sub-folders: a folder of images may have a thousand classes.
        inner = [
            path
            for path in where.iterdir()
            if path.is_dir() and (split_word(path.name) or path.name == "data")
        ]
        found = [path for folder in (where, *inner) for path in folder.glob(f"*{suffix}")]
    elif where.is_file():
        found = [where]
    else:
        found = [Path(name) for name in glob.glob(str(where))]
    return sorted(path for path in found if path.is_file())


def split_word(name: str) -> str | None:
    """``train`` or ``validation`` where that word, or an abbreviation of it, stands in a name."""
    words = [_SPLIT_WORDS.get(word) for word in re.split(r"[^a-z]+", name.lower())]
    return next((word for word in words if word), None)


def by_split(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """`paths` by the split that their names (or their folder's) speak of; all of them are ``train`` where
    none does.
    """
    found: dict[str, list[Path]] = {}
    for path in paths:
        word = split_word(path.name) or split_word(path.parent.name)
        if word:
            found.setdefault(word, []).append(path)
    return found if "train" in found else {"train": list(paths)}


def expected(spec: str, suffix: str) -> list[Path]:
    """`matches`, where none is an error."""
    found = matches(spec, suffix)
    if not found:
        raise FileNotFoundError(
            f"no {suffix} file matches '{spec}': check the path (quote a glob in the shell)"
        )
    return found


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """A short name for each path: the part that is left when the folders that all share are taken away."""
    parents = [path.absolute().parent.parts for path in paths]
    shared = 0
    while all(len(parts) > shared and parts[shared] == parents[0][shared] for parts in parents):
        shared += 1
    return ["/".join(path.absolute().parts[shared:]) for path in paths]


def class_labels(
    names: Sequence[str], source: str, reference: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[int]]:
    """(classes, the label of each name): the distinct names, sorted, or `reference` where the classes are
    known.

    Raises:
      RecordFileError: a name is not among the `reference`.
    """
    classes = tuple(sorted(set(names))) if reference is None else tuple(reference)
    position = {name: label for label, name in enumerate(classes)}
    unknown = sorted(set(names) - set(classes))
    if unknown:
        raise RecordFileError(
            f"{source} has the class '{unknown[0]}', which its train split has not: the splits must "
            "have the same classes"
        )
    return classes, [position[name] for name in names]
