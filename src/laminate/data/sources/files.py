"""Files that make up a source, the splits that their names speak of, and classes by their names."""

import glob
import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from laminate.data.left_out import LeftOut, is_text, shown
from laminate.data.options import SourceOptions
from laminate.data.records import RecordFileError
from laminate.data.schema import NO_LABEL
from laminate.data.sources.split_names import SPLIT_OF, SplitName, one_stem, split_name, words_of

MAX_CLASSES = 10**6
_MAX_BRACES = 10**6
_SHOWN = 4
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_TAIL = re.compile(r"(?:[-_.]?\d+)?(?:-of-\d+)?(?:-[0-9a-f]{16})?")


def expand_braces(spec: str) -> list[str]:
    """``a-{000..002}.tar`` and ``{a,b}.tar`` as a shell writes them out; numbers keep their leading zeros.

    Raises:
      ValueError: more names than any data set has files.
    """
    opened = re.search(r"\{([^{}]*)\}", spec)
    if opened is None:
        return [spec]
    inner = opened[1]
    numbers = _RANGE.fullmatch(inner)
    if numbers is None and "," not in inner:
        return [spec]
    if numbers is not None:
        first, last = int(numbers[1]), int(numbers[2])
        if abs(last - first) >= _MAX_BRACES:
            raise ValueError(f"'{spec}' stands for more than {_MAX_BRACES} files: is the range right?")
        step = 1 if first <= last else -1
        words = [str(number).zfill(len(numbers[1])) for number in range(first, last + step, step)]
    else:
        words = inner.split(",")
    before, after = spec[: opened.start()], spec[opened.end() :]
    rest = expand_braces(after)
    if len(rest) * len(words) > _MAX_BRACES:
        raise ValueError(f"'{spec}' stands for more than {_MAX_BRACES} files: is the range right?")
    return [before + word + tail for word, tail in itertools.product(words, rest)]


def named_files(spec: str) -> list[Path]:
    """The files that a path, a glob, or either with braces names, sorted and each once.

    Raises:
      FileNotFoundError: none matches, or one that is written out is missing.
    """
    whole = Path(spec).expanduser()
    if whole.is_file():
        return [whole]
    names = [str(Path(name).expanduser()) for name in expand_braces(spec)]
    found: set[Path] = set()
    missing: list[str] = []
    for name in names:
        matched = [Path(name)] if Path(name).is_file() else [Path(one) for one in glob.glob(name)]
        matched = [path for path in matched if path.is_file()]
        found.update(matched)
        if not matched:
            missing.append(name)
    foreign = sorted(str(path) for path in found if not is_text(str(path)))
    if foreign:
        raise ValueError(f"the name of '{shown(foreign[0])}' is not UTF-8: rename the file")
    if not found:
        suffix = whole.suffix
        raise FileNotFoundError(
            f"no {suffix} file matches '{spec}': check the path (quote a glob in the shell)"
        )
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the files that '{spec}' names are missing, the first is {missing[0]}: copy them, or "
            "name only those that are there"
        )
    return sorted(found)


@dataclass(frozen=True)
class SplitFiles:
    """Files by split, and what of them is not used."""

    by_split: dict[str, list[Path]]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def named(self) -> bool:
        """Whether the names of the files told the splits."""
        return "validation" in self.by_split or bool(self.left_out)


def _file_split(path: Path, root: Path | None) -> tuple[str, SplitName] | None:
    """(what else stands in the path, the split) of a file's name, or of the folder that it lies in."""
    parents = list((path if root is None else path.relative_to(root)).parts[:-1])
    stem = path.name[: -len(path.suffix)] if path.suffix else path.name
    for word in reversed(list(re.finditer(r"[A-Za-z]+", stem))):
        tail, text = stem[word.end() :], word[0].lower()
        if text in SPLIT_OF and _TAIL.fullmatch(tail):
            number = re.sub(r"^[-_.]|-of-.*|-[0-9a-f]{16}$", "", tail)
            others = [part for part in parents if split_name(part) is None]  # train/train-0.tar
            return "/".join([*others, stem[: word.start()]]), SplitName(SPLIT_OF[text], text, number)
    for depth in range(len(parents) - 1, -1 if root is not None else len(parents) - 2, -1):
        before, _, last = (
            ("", "", parents[depth]) if split_name(parents[depth]) else parents[depth].rpartition("-")
        )
        found = split_name(last)
        if found is not None:
            return "/".join([*parents[:depth], before]), found
    return None


def by_split(paths: Sequence[Path], root: Path | None, options: SourceOptions) -> SplitFiles:
    """`paths` by the split that each names, alone (``train-00000-of-00002``) or with one stem that all share
    (``imagenet-train-3``), or that the folder below `root` names; all of them are ``train`` where none names one.

    Raises:
      RecordFileError: two readings are possible; the message gives both, and the flags.
    """
    if options.classes:
        return SplitFiles({"train": list(paths)})
    named = {path: _file_split(path, root) for path in paths}
    stems = {found[0] for found in named.values() if found is not None}
    splits = {found[1].split for found in named.values() if found is not None}
    others = [path for path, found in named.items() if found is None]
    if options.split_folders:
        return _by_words(named, paths)
    weak = all(found[0].rpartition("/")[2] for found in named.values() if found is not None)
    if len(splits) == 1 and weak:  # a class, or one name for all: nothing is lost either way
        return SplitFiles({"train": list(paths)})
    one_of_each = not others and len(stems) == 1 and _numbered(named)
    # Files that the user names are what is to be trained on, whatever they are called.
    if not splits or (len(splits) == 1 and not others and (root is None or one_of_each)):
        return SplitFiles({"train": list(paths)})
    clear = one_of_each and "train" in splits
    if not clear:
        raise RecordFileError(_two_readings(paths, others, root))
    return _sorted_by({path: found[1].split for path, found in named.items() if found is not None}, [])


def _numbered(named: dict[Path, tuple[str, SplitName] | None]) -> bool:
    """Whether the files of each split are one, or shards that are numbered on."""
    found = [one[1] for one in named.values() if one is not None]
    # A folder ``train`` may hold any number of files.
    distinct = {(one.split, one.word, one.number) for one in found}
    names = [SplitName(*each) for each in distinct]
    return all(one_stem(one for one in names if one.split == split) for split in {one.split for one in names})


def _by_words(named: dict[Path, tuple[str, SplitName] | None], paths: Sequence[Path]) -> SplitFiles:
    """With ``--split-folders``: the word decides, wherever it stands."""
    split_of: dict[Path, str] = {}
    others: list[Path] = []
    for path in paths:
        found = named[path]
        words = words_of(path.name) or words_of(path.parent.name)
        if found is not None:
            split_of[path] = found[1].split
        elif len(words) == 1:
            split_of[path] = next(iter(words))
        else:
            others.append(path)
    if "train" not in split_of.values():
        raise RecordFileError(f"--split-folders: no file beside {paths[0]} has the name of a train split")
    return _sorted_by(split_of, others)


def _sorted_by(split_of: dict[Path, str], others: list[Path]) -> SplitFiles:
    found: dict[str, list[Path]] = {}
    for path, split in split_of.items():
        found.setdefault(split, []).append(path)
    left_out: list[LeftOut] = []
    if test := found.pop("test", None):
        left_out.append(LeftOut("file of a test split, which is not used", len(test), test[0].name))
    if others:
        left_out.append(LeftOut("file beside those of the splits", len(others), others[0].name))
    return SplitFiles(found, tuple(left_out))


def _two_readings(paths: Sequence[Path], others: Sequence[Path], root: Path | None) -> str:
    first = list(others[:2]) + [path for path in paths if path not in others]
    short = dict(zip(paths, distinct_names(paths), strict=True))
    names = sorted(short[path] for path in first[:_SHOWN])
    listed = ", ".join(names) + (", ..." if len(paths) > _SHOWN else "")
    return (
        f"{root or paths[0].parent} holds the {paths[0].suffix[1:]} files {listed}, whose names can be "
        "read in two ways: they say which are the splits, and the others are left out (--split-folders), "
        "or they say nothing and all are trained on (--classes). Give one of these flags, or name the "
        f"files, such as 'FOLDER/train-*{paths[0].suffix}'"
    )


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """A short name for each path: the part that is left when the folders that all share are taken away."""
    parents = [path.absolute().parent.parts for path in paths]
    shared = 0
    while all(len(parts) > shared and parts[shared] == parents[0][shared] for parts in parents):
        shared += 1
    return ["/".join(path.absolute().parts[shared:]) for path in paths]


def _one_form(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def class_list(names: Sequence[str]) -> list[str]:
    """The distinct names, sorted; names that only differ in how their accents are coded (NFC, NFD) are one class."""
    spellings: dict[str, str] = {}
    for name in set(names):
        form = _one_form(name)
        spellings[form] = name if spellings.get(form, name) == name else form
    return sorted(spellings.values())


def class_labels(
    names: Sequence[str], source: str, reference: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[int]]:
    """(classes, the label of each name): the distinct names, sorted, or `reference` where the classes are
    known.

    Raises:
      RecordFileError: a name is not among the `reference`.
    """
    classes = tuple(class_list(names) if reference is None else reference)
    position = {_one_form(name): label for label, name in enumerate(classes)}
    forms = {name: _one_form(name) for name in set(names)}
    unknown = sorted(name for name, form in forms.items() if form not in position)
    if unknown:
        raise RecordFileError(
            f"{source} has the class '{unknown[0]}', which its train split has not: the splits must "
            "have the same classes (or take all without labels: --unlabelled)"
        )
    return classes, [position[forms[name]] for name in names]


def labels_of(
    names: Sequence[str] | None, count: int, source: str, reference: Sequence[str] | None
) -> tuple[tuple[str, ...], list[int]]:
    """(classes, labels) of `count` images with these class names; without names, none of them has a label."""
    if names is None:
        return tuple(reference or ()), [NO_LABEL] * count
    return class_labels(names, source, reference)
