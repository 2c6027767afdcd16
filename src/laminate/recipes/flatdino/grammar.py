"""The shape that FlatDINO's experiment names share: `variant-tokens-sizes-tail[-options]`.

A name is split here; what its parts mean is said by the family (`vae_names`, `fsq_names`). Options may stand
in any order, each at most once.
"""

import difflib
import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from laminate.recipes.sizes import SIZES

EPOCHS = {"fast": 50, "med": 100, "long": 150, "ext": 300}
SIZE_LETTERS = tuple(letter for letter in SIZES if len(letter) == 1)
_TOKENS = "0*[1-9][0-9]{0,8}"


@dataclass(frozen=True)
class Option:
    """One optional suffix.

    `usage` is how it is written down, `template` has `{}` in the place of its number, `sample` is such a
    number.
    """

    key: str
    pattern: str
    usage: str
    template: str
    sample: str
    meaning: str


@dataclass(frozen=True)
class Grammar:
    """The names of one family; `tail` is the pattern of the fourth part and `tail_sample` a text of it."""

    family: str
    tail: str
    tail_usage: str
    tail_sample: str
    options: tuple[Option, ...]
    statics: tuple[str, ...]
    hint: Callable[[str], str]

    @property
    def usage(self) -> str:
        options = "".join(f"[-{option.usage}]" for option in self.options)
        return f"variant-tokens-xy-{self.tail_usage}{options}"


@dataclass(frozen=True)
class Parts:
    """A name cut into its parts; `options` maps the key of an option to what its pattern captured."""

    variant: str
    tokens: int
    encoder: str
    decoder: str
    tail: str
    options: dict[str, tuple[str, ...]]


def split(name: str, grammar: Grammar) -> Parts:
    """`name` cut into its parts. Raises `ValueError` with the wrong part and the nearest valid names."""
    parts = _cut(name, grammar)
    if isinstance(parts, str):
        raise ValueError(refusal(name, parts, grammar))
    return parts


def refusal(name: str, reason: str, grammar: Grammar) -> str:
    """The message for a name that is not of `grammar`: the fault, the nearest valid names, the grammar."""
    sentences = [
        f"Unknown {grammar.family} experiment {name!r}: {reason}.",
        f"Did you mean {' or '.join(suggestions(name, grammar))}?",
        grammar.hint(name),
        f"Names are {grammar.usage} with variant {'|'.join(EPOCHS)} and sizes x, y {'|'.join(SIZE_LETTERS)}; "
        f"or {', '.join(grammar.statics)}.",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _cut(name: str, grammar: Grammar) -> Parts | str:
    """The parts of `name`, or the reason why it has none."""
    words = name.split("-")
    if len(words) < 4:
        return "it has fewer than four parts"
    variant, tokens, sizes, tail, *rest = words
    if reason := _head_fault(variant, tokens, sizes):
        return reason
    if not re.fullmatch(grammar.tail, tail):
        return f"{tail!r} is not {grammar.tail_usage}"
    options: dict[str, tuple[str, ...]] = {}
    for word in rest:
        found = match_option(word, grammar)
        if found is None:
            return f"there is no option {word!r}"
        key, groups = found
        if key in options:
            return f"option {word!r} is given twice"
        options[key] = groups
    return Parts(variant, int(tokens), sizes[0], sizes[1], tail, options)


def _head_fault(variant: str, tokens: str, sizes: str) -> str:
    if variant not in EPOCHS:
        return f"there is no variant {variant!r}"
    if not re.fullmatch(_TOKENS, tokens):
        return f"{tokens!r} is not a number of tokens"
    if len(sizes) != 2 or not set(sizes) <= set(SIZE_LETTERS):
        return f"{sizes!r} is not an encoder and a decoder size"
    return ""


def match_option(word: str, grammar: Grammar) -> tuple[str, tuple[str, ...]] | None:
    """The key of the option that `word` is, and what its pattern captured."""
    for option in grammar.options:
        if match := re.fullmatch(option.pattern, word):
            return option.key, tuple(group or "" for group in match.groups())
    return None


def suggestions(name: str, grammar: Grammar, limit: int = 3) -> list[str]:
    """The valid names nearest to `name`, nearest first, never empty: each wrong part is repaired."""
    words = [word for word in name.strip().lower().split("-") if word]
    repaired = _repairs(words, name, grammar) if len(words) >= 3 else []
    valid = [candidate for candidate in repaired if isinstance(_cut(candidate, grammar), Parts)]
    fixed = difflib.get_close_matches("-".join(words), grammar.statics, n=limit, cutoff=0.6)
    pool = [*valid, *(fixed if len(words) < 4 else [])] or list(grammar.statics)
    nearest = sorted(dict.fromkeys(pool), key=lambda candidate: -_likeness(candidate, name))
    return nearest[:limit]


def _repairs(words: list[str], name: str, grammar: Grammar) -> list[str]:
    variant, tokens, sizes, *rest = words
    tail, options = (rest[0], rest[1:]) if rest else ("", [])
    choices: list[list[str]] = [
        _nearest(variant, EPOCHS, 2),
        [_digits(tokens) or "32"],
        _size_repairs(sizes),
        _tail_repairs(tail, name, grammar),
        *(_option_repairs(word, grammar) for word in _without_repeats(options, grammar)),
    ]
    return ["-".join(choice) for choice in itertools.islice(itertools.product(*choices), 256)]


def _without_repeats(words: list[str], grammar: Grammar) -> list[str]:
    """`words` without those whose option stood before."""
    first: dict[str, str] = {}
    for word in words:
        found = match_option(word, grammar)
        first.setdefault(found[0] if found else word, word)
    return list(first.values())


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _nearest(word: str, known: Iterable[str], count: int) -> list[str]:
    names = list(known)
    return [word] if word in names else sorted(names, key=lambda known: -_likeness(known, word))[:count]


def _digits(text: str) -> str:
    return re.sub(r"[^0-9]", "", text).lstrip("0")


def _size_repairs(sizes: str) -> list[str]:
    letters = [
        [letter] if letter in SIZE_LETTERS else ["b", "l", "s"]
        for letter in (sizes + "??")[:2].replace("-", "?")
    ]
    return ["".join(pair) for pair in itertools.product(*letters)]


def _tail_repairs(tail: str, name: str, grammar: Grammar) -> list[str]:
    for text in (tail, tail.upper(), _digits(tail)):
        if re.fullmatch(grammar.tail, text) and not grammar.hint(name):
            return [text]
    return [grammar.tail_sample]


def _option_repairs(word: str, grammar: Grammar) -> list[str]:
    """`word` itself if it is an option, else the two options nearest to it with the number of `word`."""
    if match_option(word, grammar):
        return [word]
    number = re.search(r"[0-9.]+", word)
    candidates = [
        candidate
        for option in grammar.options
        for text in ([number[0], option.sample] if number else [option.sample])
        if match_option(candidate := option.template.format(text), grammar)
    ]
    return _nearest(word, dict.fromkeys(candidates), 2)
