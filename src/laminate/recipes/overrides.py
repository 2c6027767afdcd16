"""Fields of a recipe set by their dotted paths, as `--set schedule.peak=3e-4` does, read strictly by their types."""

import copy
import dataclasses
import difflib
import hashlib
import json
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from laminate.recipes.serialization import FOUND, json_name, plain, read, read_value, tagged

HELP = "help"
_NAME = "name"  # the recipe's own: it says what was set
_NONE = type(None)
_LONGEST_SAID = 40  # characters of one value in a name, which is that of a folder
_LONGEST_NAME = 160  # with all that was set: file systems bear 255, and more is added to the name of a plan

R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a recipe: its path, its type, and its value as JSON holds it."""

    path: str
    hint: Any
    value: Any
    is_tag: bool = False
    """Its value says which of several classes the part around it is."""
    is_part: bool = False
    """It has fields of its own, and may be absent as a whole."""
    found: str = ""
    """What the value is found out of, where it is not for a user to say."""
    also: str = ""
    """The path by the names of the attributes, which earlier versions and the code know it by."""

    @property
    def kind(self) -> str:
        """The type, for a person."""
        return f"found out of {self.found}" if self.found else _kind_text(self.hint)

    @property
    def text(self) -> str:
        """The value as `--set` takes it."""
        return value_text(self.value)


def fields_of(recipe: Any) -> tuple[Field, ...]:
    """Every field that can be set, in the order of the recipe; of a part that is absent, the part alone."""
    return tuple(field for field in _known(plain(recipe), type(recipe)).values() if not field.is_part)


def _known(tree: dict[str, Any], cls: type) -> dict[str, Field]:
    return {field.path: field for field in _fields(tree, cls, Field("", None, None)) if field.path != _NAME}


def _fields(tree: dict[str, Any], cls: type, around: Field) -> Iterable[Field]:
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):  # pyright: ignore[reportArgumentType]
        name = json_name(field)
        if not field.init or name not in tree:
            continue
        path, hint, held = _join(around.path, name), hints[field.name], tree[name]
        classes = _classes(hint)
        is_part = bool(classes) and held is not None
        found, also = field.metadata.get(FOUND, around.found), _join(around.also, field.name)
        one = Field(path, hint, held, is_part=is_part, found=found, also=also)
        if not is_part or _NONE in _members(hint):
            yield one
        if not classes or held is None:
            continue
        part = classes[0]
        if len(classes) > 1:
            key, by_tag = tagged(classes)
            yield Field(f"{path}.{key}", Literal[tuple(by_tag)], held[key], is_tag=True)
            part = by_tag[held[key]]
        yield from _fields(held, part, one)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def without_help(settings: Iterable[str]) -> tuple[str, ...]:
    """What is set beside `--set help`, whose list shows the values after it."""
    return tuple(setting for setting in settings if setting != HELP)


def override(recipe: R, settings: Iterable[str], *, named: bool = True) -> R:
    """`recipe` with each `PATH=VALUE` of `settings`; its name says what was changed, unless not `named`.

    All are set before the recipe's own rules are asked. Where a part can be of several classes, as `bottleneck.kind` or
    `augment.view` say, another one keeps the fields that both have and takes the defaults of its own.

    Raises `ValueError` for a path that does not exist, with the nearest ones, for one that is set twice, for a value
    that its field cannot have, and for one that is found out of weights or a tokenizer.
    """
    typed = _each_once([_split(setting) for setting in settings])
    before = plain(recipe)
    tree = _with_classes(copy.deepcopy(before), type(recipe), typed)
    known = _known(tree, type(recipe))
    for path, text in typed.items():
        if path not in known:
            raise ValueError(_unknown(path, known))
        if not known[path].is_tag:
            _put(tree, path, _settable(text, known[path]))
    if tree == before:
        return recipe
    _require_whole(tree, known)
    try:
        made = read(tree, type(recipe))
    except ValueError as error:
        said = ", ".join(f"{path}={text}" for path, text in typed.items())
        raise ValueError(f"--set {said}: {error}") from error
    changed = {path: text for path, text in typed.items() if _held(before, path) != _get(tree, path)}
    return with_name(made, changed) if named else made


def _each_once(split: list[tuple[str, str]]) -> dict[str, str]:
    typed: dict[str, str] = {}
    for path, text in split:
        if path in typed:
            raise ValueError(f"--set {path} is given twice: {typed[path]} and {text}.")
        typed[path] = text
    for path in typed:
        inside = next((other for other in typed if other.startswith(f"{path}.")), None)
        if inside is not None:
            raise ValueError(
                f"--set {path} is all of that part and --set {inside} is in it: give one of them."
            )
    return typed


def _settable(text: str, field: Field) -> Any:
    """`text` as JSON of the field. Raises ValueError if it is not of its type, or not for a user to say."""
    value = plain(_parse(text, field))
    if field.found and value != field.value:
        raise ValueError(f"--set {field.path}: it is found out of {field.found}, so leave it out.")
    return value


def _require_whole(tree: dict[str, Any], known: Mapping[str, Field]) -> None:
    """Raises ValueError for a field of a part of another class that has no default and was not set too."""
    for path, field in known.items():
        if _held(tree, path) is None and _NONE not in _members(field.hint):
            part = path.rpartition(".")[0]
            tag = next(one for one in known.values() if one.is_tag and one.path.rpartition(".")[0] == part)
            raise ValueError(
                f"--set {tag.path}={_get(tree, tag.path)}: it needs {path} as well. Add --set {path}=..., which takes "
                f"{field.kind}."
            )


def _with_classes(tree: dict[str, Any], cls: type, typed: Mapping[str, str]) -> dict[str, Any]:
    """`tree` with every part of the class that its tag in `typed` asks for."""
    for path, field in _known(tree, cls).items():
        if field.is_tag and path in typed and typed[path] != field.value:
            _parse(typed[path], field)
            part, _, key = path.rpartition(".")
            held = _get(tree, part)
            _put(tree, part, _as_class(held, _class_of(cls, part, typed[path]), key, typed[path]))
    return tree


def _class_of(cls: type, part: str, tag: str) -> type:
    """The class of the part at a path whose tag is `tag`."""
    first, _, rest = part.partition(".")
    (name,) = (field.name for field in dataclasses.fields(cls) if json_name(field) == first)  # pyright: ignore[reportArgumentType]
    classes = _classes(get_type_hints(cls)[name])
    return tagged(classes)[1][tag] if not rest else _class_of(classes[0], rest, tag)


def _as_class(held: dict[str, Any], cls: type, key: str, tag: str) -> dict[str, Any]:
    made: dict[str, Any] = {key: tag}
    for field in dataclasses.fields(cls):  # pyright: ignore[reportArgumentType]
        name = json_name(field)
        if name in held and name != key:
            made[name] = held[name]
        elif field.default is not dataclasses.MISSING:
            made[name] = plain(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            made[name] = plain(field.default_factory())
        else:
            made[name] = None  # must be set too, or the recipe is refused
    return made


def _get(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree[name]
    return tree


def _held(tree: Any, path: str) -> Any:
    """What `_get` finds, or what no value equals."""
    try:
        return _get(tree, path)
    except (KeyError, TypeError):  # in a part that is absent, or was of another class
        return dataclasses.MISSING


def _put(tree: Any, path: str, value: Any) -> None:
    around, _, last = path.rpartition(".")
    (_get(tree, around) if around else tree)[last] = value


def with_name(recipe: R, changed: Mapping[str, str]) -> R:
    """`recipe` under a name that says what was changed: `NAME+schedule.peak=3e-4`, each path once, the latest value."""
    base, *earlier = str(getattr(recipe, _NAME)).split("+")
    said = {word.partition("=")[0]: word for word in earlier}
    said |= {path: f"{path}={_plain_text(text)}" for path, text in changed.items()}
    words = [base, *said.values()]
    return dataclasses.replace(recipe, **{_NAME: _fitting(words)})  # pyright: ignore[reportArgumentType, reportCallIssue, reportUnknownVariableType, reportReturnType]


def _fitting(words: list[str]) -> str:
    """The words as one name; of more than a folder's can bear the first ones, and the hash of all."""
    whole = "+".join(words)
    if len(whole) <= _LONGEST_NAME:
        return whole
    kept = max((n for n in range(len(words)) if len("+".join(words[:n])) <= _LONGEST_NAME - 24), default=1)
    digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
    return "+".join([*words[: max(kept, 1)], f"{len(words) - max(kept, 1)}-more-{digest}"])


def require_kept(asked: Iterable[str], recipe: Any, *, flags: Mapping[str, str] | None = None) -> None:
    """Raises ValueError if what `--set` asked for is not what the recipe has once data and tokenizer are known.

    `flags` are the words of settings that a flag of its own asked for.
    """
    known = _known(plain(recipe), type(recipe))
    for setting in asked:
        path, text = _split(setting)
        if path in known and plain(_parse(text, known[path])) != known[path].value:
            words = (flags or {}).get(setting, f"--set {path}={text}")
            raise ValueError(
                f"{words}: it becomes {known[path].text}, which the tokenizer, the teacher or the data "
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
    renamed = [one.path for one in known.values() if path == one.also or leaf == one.also.rpartition(".")[2]]
    same_leaf = [one for one in known if one.rpartition(".")[2] == leaf]
    near = dict.fromkeys([*renamed, *same_leaf, *difflib.get_close_matches(path, known, n=3, cutoff=0.4)])
    did = f" Did you mean {' or '.join(list(near)[:4])}?" if near else ""
    return f"--set {path}: the recipe has no such field.{did} `--set {HELP}` lists all."


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
        if text.lower() == "none" and get_args(members[0])[-1] is Ellipsis:
            return []
        text = f"[{text}]" if text else "[]"
        if any(item is str or get_origin(item) is Literal for item in get_args(members[0])):
            return [word.strip() for word in text[1:-1].split(",") if word.strip()]
    if str in members:
        return text
    if bool in members and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (json.JSONDecodeError, RecursionError):
        return text


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number to train with.")


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _classes(hint: Any) -> list[type]:
    return [one for one in _members(hint) if isinstance(one, type) and dataclasses.is_dataclass(one)]


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


def value_text(value: Any) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(value_text(item) for item in value)
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _plain_text(text: str) -> str:
    """`text` with what a folder's name cannot bear left out; a number keeps its signs, a long text ends in a hash."""
    kept = re.sub(r"[^A-Za-z0-9._,=-]+", "-", re.sub(r"(?<=\d)([eE])\+", r"\1", text))
    kept = (kept.rstrip("-") if re.match(r"-[.\d]", text) else kept.strip("-")) or "none"
    if len(kept) <= _LONGEST_SAID:
        return kept
    return f"{kept[:24]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
