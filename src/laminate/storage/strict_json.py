"""JSON that somebody else wrote: a limit on size and depth, plain numbers only, and errors with file and field.

    manifest = read_json(folder / "manifest.json")
    count = manifest["shards"][0]["count"].integer(least=0)

`json.loads` alone takes NaN, infinities and integers of thousands of digits, answers deep nesting with a
RecursionError, keeps the last of two values of one name, and what comes out fails far from where it was read.
"""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from etils import epath

MAX_BYTES = 256 * 2**20
"""Size of the largest file that is read: the list of what was left out of a large preparation is the longest."""
MAX_DEPTH = 64
_MAX_INTEGER = 2**64
_SHOWN = 60


class JsonError(ValueError):
    """A text that is no JSON within the limits, or a field that is not what it must be: `FILE: what is wrong`."""

    def within(self, file: object) -> str:
        """What is wrong, for a sentence that names the file already."""
        return f"{self}".removeprefix(f"{file}: ")


@dataclass(frozen=True)
class Field:
    """A value that was read, with the file that it is from and its path in it. `value` is plain JSON."""

    value: Any
    file: str
    path: str = ""

    def __getitem__(self, name: str | int) -> "Field":
        """The member `name`. Raises JsonError if there is none."""
        if isinstance(name, int):
            items = self.items()
            if not 0 <= name < len(items):
                self.refuse(f"a list of more than {name} values")
            return items[name]
        if name not in self.members():
            raise JsonError(f"{self.file}: {self._below(name)} is missing")
        return self.get(name)

    def get(self, name: str, default: Any = None) -> "Field":
        """The member `name`, or `default` in its place."""
        return Field(self.members().get(name, default), self.file, self._below(name))

    def members(self) -> dict[str, Any]:
        """The members of an object, by name."""
        return self.value if isinstance(self.value, dict) else self.refuse("an object")

    def fields(self) -> Iterator[tuple[str, "Field"]]:
        """The members of an object, each as a `Field`."""
        return ((name, self[name]) for name in self.members())

    def items(self) -> "list[Field]":
        """The values of a list."""
        values = self.value if isinstance(self.value, list) else self.refuse("a list")
        return [Field(value, self.file, f"{self.path}[{index}]") for index, value in enumerate(values)]

    def text(self) -> str:
        return self.value if isinstance(self.value, str) else self.refuse("a text")

    def integer(self, *, least: int | None = None) -> int:
        if type(self.value) is not int or (least is not None and self.value < least):
            self.refuse("an integer" if least is None else f"an integer from {least} on")
        return self.value

    def number(self) -> float:
        return float(self.value) if type(self.value) in (int, float) else self.refuse("a number")

    def refuse(self, wanted: str) -> NoReturn:
        """Raises JsonError that this value is not what is `wanted`."""
        shown = json.dumps(self.value, ensure_ascii=False)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        raise JsonError(f"{self.file}: {self.path or 'all of it'} must be {wanted}, got {shown}")

    def _below(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


def read_json(
    path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH
) -> Field:
    """What the file at `path` holds.

    Raises:
        JsonError: it is no JSON within the limits.
        OSError: it is not there, or cannot be read.
    """
    place = epath.Path(path)
    size = place.stat().length
    if size > max_bytes:
        raise JsonError(f"{place}: it has {size} bytes, more than the {max_bytes} that are read")
    return Field(parse_json(place.read_bytes(), os.fspath(place), max_depth=max_depth), os.fspath(place))


def parse_json(text: str | bytes, where: str, *, max_depth: int = MAX_DEPTH) -> Any:
    """What `text` holds, as dictionaries, lists, texts, finite numbers, booleans and None. Raises JsonError."""
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(
            decoded,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except UnicodeDecodeError as error:
        raise JsonError(f"{where}: it is not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise JsonError(
            f"{where}: it is not JSON ({error.msg} at line {error.lineno}, column {error.colno})"
        ) from error
    except RecursionError as error:
        raise JsonError(f"{where}: it is nested more than {max_depth} deep") from error
    except ValueError as error:
        raise JsonError(f"{where}: {error}") from error
    _require_plain(value, where, max_depth)
    return value


def _require_plain(value: Any, where: str, max_depth: int) -> None:
    """Refuse deep nesting, and texts that no file can hold."""
    level, depth = [value], 0
    while level:
        below: list[Any] = []
        for one in level:
            if isinstance(one, str) and not one.isascii():
                _require_text(one, where)
            elif isinstance(one, dict):
                below += [*one.keys(), *one.values()]
            elif isinstance(one, list):
                below += one
        level, depth = below, depth + 1
        if depth >= max_depth and any(isinstance(one, dict | list) for one in level):
            raise JsonError(f"{where}: it is nested more than {max_depth} deep")


def _require_text(text: str, where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise JsonError(
            f"{where}: it holds half of a surrogate pair, which is no text: {text[:20]!r}"
        ) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"the name {twice[:_SHOWN]!r} is used twice")
    return tree


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= _MAX_INTEGER:
        raise ValueError(f"the integer {text[:12]}... of {len(text)} digits is too large")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:24]} is too large")
    return number
