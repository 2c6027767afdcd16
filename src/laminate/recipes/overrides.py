"""Fields of a recipe set by their dotted paths, as `--set schedule.peak=3e-4` does, read strictly by their types."""

import dataclasses
import difflib
import json
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from laminate.recipes.serialization import plain, read_value

HELP = "help"
_NAME = "name"  # the recipe's own: it says what was set
_NONE = type(None)

R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a recipe: its path, its type as it is written down, and its value."""

    path: str
    hint: Any
    value: Any

    @property
    def kind(self) -> str:
        """The type, for a person."""
        return _kind_text(self.hint)

    @property
    def text(self) -> str:
        """The value as `--set` takes it."""
        return _value_text(self.value)


def fields_of(recipe: Any) -> tuple[Field, ...]:
    """Every field that can be set, in the order of the recipe; of a part that is absent, the part alone."""
    return tuple(field for field in _fields(recipe, "") if field.path != _NAME)


def _fields(value: Any, prefix: str) -> Iterable[Field]:
    hints = get_type_hints(type(value))
    for field in dataclasses.fields(value):
        held, path = getattr(value, field.name), prefix + field.name
        if dataclasses.is_dataclass(held):
            yield from _fields(held, f"{path}.")
        else:
            yield Field(path, hints[field.name], held)


def override(recipe: R, settings: Iterable[str], *, named: bool = True) -> R:
    """`recipe` with each `PATH=VALUE` of `settings`; its name says what was changed, unless not `named`.

    What the recipe's own rules refuse together is refused: all of them are set before any is checked.

    Raises `ValueError` for a path that does not exist, with the nearest ones, for one that is set twice, and for a
    value that its field cannot have.
    """
    wanted: dict[str, Any] = {}
    typed: dict[str, str] = {}
    known = {field.path: field for field in fields_of(recipe)}
    for setting in settings:
        path, text = _split(setting)
        if path not in known:
            raise ValueError(_unknown(path, known))
        if path in wanted:
            raise ValueError(f"--set {path} is given twice: {typed[path]} and {text}.")
        wanted[path], typed[path] = _parse(text, known[path]), text
    changed = {path: value for path, value in wanted.items() if value != known[path].value}
    if not changed:
        return recipe
    try:
        made = _replaced(recipe, changed)
    except ValueError as error:
        said = ", ".join(f"{path}={typed[path]}" for path in changed)
        raise ValueError(f"--set {said}: {error}") from error
    return with_name(made, {path: typed[path] for path in changed}) if named else made


def with_name(recipe: R, changed: Mapping[str, str]) -> R:
    """`recipe` under a name that says what was changed: `NAME+schedule.peak=3e-4`, each path once, the latest value."""
    base, *earlier = str(getattr(recipe, _NAME)).split("+")
    said = dict(word.partition("=")[::2] for word in earlier) | dict(changed)
    words = [base, *(f"{path}={_plain_text(text)}" for path, text in said.items())]
    return dataclasses.replace(recipe, **{_NAME: "+".join(words)})  # pyright: ignore[reportArgumentType, reportCallIssue, reportUnknownVariableType, reportReturnType]


def require_kept(asked: Iterable[str], recipe: Any) -> None:
    """Raises ValueError if what `--set` asked for is not what the recipe has once data and tokenizer are known."""
    known = {field.path: field for field in fields_of(recipe)}
    for setting in asked:
        path, text = _split(setting)
        if path in known and _parse(text, known[path]) != known[path].value:
            raise ValueError(
                f"--set {path}={text}: it becomes {known[path].text}, which the tokenizer, the teacher or the data "
                "decide: leave it out."
            )


def _split(setting: str) -> tuple[str, str]:
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise ValueError(
            f"--set {setting}: write PATH=VALUE, as schedule.peak=3e-4; `--set {HELP}` lists all."
        )
    return path.strip(), text.strip()


def _unknown(path: str, known: Mapping[str, Field]) -> str:
    inside = [one for one in known if one.startswith(f"{path}.")]
    if inside:
        return f"--set {path}: it has parts of its own, set these: {', '.join(inside)}."
    leaf = path.rpartition(".")[2]
    same_leaf = [one for one in known if one.rpartition(".")[2] == leaf]
    near = dict.fromkeys([*same_leaf, *difflib.get_close_matches(path, known, n=3, cutoff=0.4)])
    did = f" Did you mean {' or '.join(list(near)[:4])}?" if near else ""
    return f"--set {path}: the recipe has no such field.{did} `--set {HELP}` lists all."


def _replaced(value: Any, changed: Mapping[str, Any]) -> Any:
    """`value` with these dotted paths changed, every part built once."""
    parts: dict[str, dict[str, Any]] = {}
    direct: dict[str, Any] = {}
    for path, new in changed.items():
        first, _, rest = path.partition(".")
        if rest:
            parts.setdefault(first, {})[rest] = new
        else:
            direct[first] = new
    made = {name: _replaced(getattr(value, name), inner) for name, inner in parts.items()}
    return dataclasses.replace(value, **direct, **made)


def _parse(text: str, field: Field) -> Any:
    """`text` as the type of the field."""
    try:
        return read_value(_tree(text, field.hint), field.hint, where=field.path)
    except ValueError as error:
        raise ValueError(f"--set {field.path}={text}: {error} It takes {field.kind}.") from error


def _tree(text: str, hint: Any) -> Any:
    """`text` as JSON would hold it: words stand for themselves where a word is expected."""
    members = _members(hint)
    if any(get_origin(one) is Literal and text in get_args(one) for one in members):
        return text
    if _NONE in members and text.lower() in ("none", "null"):
        return None
    if any(get_origin(one) is tuple for one in members) and not text.startswith("["):
        text = f"[{text}]" if text else "[]"
        if str in get_args(members[0]):
            return [word.strip() for word in text[1:-1].split(",") if word.strip()]
    if str in members:
        return text
    if bool in members and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError:
        return text


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number to train with.")


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _kind_text(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", _NONE: "none"}
    words: list[str] = []
    for one in _members(hint):
        if get_origin(one) is Literal:
            words.append(" | ".join(map(str, get_args(one))))
        elif get_origin(one) is tuple:
            items = get_args(one)
            each = _kind_text(items[0]).removeprefix("a ")
            words.append(f"{each}, ..." if items[-1] is Ellipsis else ",".join([each] * len(items)))
        elif dataclasses.is_dataclass(one):
            words.append(f"JSON of {getattr(one, '__name__', one)}")
        else:
            words.append(names.get(one, str(one)))
    return " or ".join(words)


def _value_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(_value_text(item) for item in value)
    return json.dumps(plain(value)) if dataclasses.is_dataclass(value) else str(value)


def _plain_text(text: str) -> str:
    """`text` with what a folder's name cannot bear left out."""
    return re.sub(r"[^A-Za-z0-9._,=-]+", "-", text).strip("-") or "none"
