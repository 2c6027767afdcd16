"""Which names are those of splits: exact words, alone or as numbered shards of one stem."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

SPLIT_OF = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""The split that a word means; ``test`` is known so that it is not taken for anything else."""

_SHARD = re.compile(r"(?P<word>[a-z]+)(?:(?P<number>[-_. ]?\d+)|[-_. ](?P<letter>[0-9a-f]))?(?:-of-\d+)?")
_YEAR = re.compile(r"(?:19|20)\d\d")

Reading = Literal["splits", "plain", "unclear"]


class SplitName(NamedTuple):
    """A name that is a split's: which split, the word that says so, and the number of the shard ('' for none)."""

    split: str
    word: str
    number: str


def split_name(name: str) -> SplitName | None:
    """`name` as that of a split, or of a numbered shard of one; None where it is another name.

    ``train``, ``Val``, ``train_03``, ``train-00000-of-00002`` and ``train2017`` are; ``bullet_train`` and
    ``train_extra``
    are not.
    """
    found = _SHARD.fullmatch(name.lower())
    if found is None or found["word"] not in SPLIT_OF:
        return None
    number = (found["number"] or found["letter"] or "").lstrip("-_. ")
    return SplitName(SPLIT_OF[found["word"]], found["word"], number)


def words_of(name: str) -> set[str]:
    """The splits whose words stand anywhere in a name: {'train'} for ``bullet_train``."""
    return {SPLIT_OF[word] for word in re.split(r"[^a-z]+", name.lower()) if word in SPLIT_OF}


def one_stem(names: Iterable[SplitName]) -> bool:
    """Whether names of one split are one folder, or shards that are numbered on: no two words, no two years."""
    shards = list(names)
    if len(shards) == 1:
        return True
    words, numbers = {name.word for name in shards}, [name.number for name in shards]
    return len(words) == 1 and all(numbers) and not any(_YEAR.fullmatch(number) for number in numbers)


def read_siblings(names: Sequence[str]) -> Reading:
    """What folders beside each other are, by their names.

    ``splits`` where every one is a split, with some to train on, and each split one stem. ``plain`` where none is, or
    where one lies among others that have nothing to do with splits (CIFAR's class ``train``). Else ``unclear``.
    """
    found = {name: split_name(name) for name in names}
    named = [split for split in found.values() if split is not None]
    present = {split.split for split in named}
    others = [name for name, split in found.items() if split is None]
    if named and not others:
        stems = all(one_stem(one for one in named if one.split == split) for split in present)
        return "splits" if "train" in present and stems else "unclear"
    if not named:
        everywhere = [words_of(name) for name in others]
        every_one = bool(others) and all(everywhere) and {"train"} < set().union(*everywhere)
        return "unclear" if every_one else "plain"
    # A name that begins with the word of a split (train_extra, val-old) speaks of splits; bullet_train does not.
    related = any(re.split(r"[^a-z]+", name.lower())[0] in SPLIT_OF for name in others)
    return "unclear" if related or len(named) > 1 else "plain"
