"""Dataclasses as JSON and back, exactly, read strictly.

A class that is one of several says which by a class variable `KIND`, written under "kind", or by a field that can have
but one value, as `view: Literal["crop"]`. `WITHOUT_EFFECT` names fields of earlier versions that are read and dropped.
"""

import dataclasses
import json
import sys
import types
from collections.abc import Iterable
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from laminate.storage import strict_json

KIND = "kind"
JSON = "json"
"""Metadata of a field: its name in JSON, where that is not its own."""
ABSENT = "absent"
"""Metadata of a field that earlier versions did not write: the value that it had in them."""
UNSAID = "unsaid"
"""Metadata of a field that earlier versions did not know: the value, as JSON, that it had in them. While it has it,
nothing of it is written, so that what they would have written stays as it is to the byte."""
FOUND = "found"
"""Metadata of a field that is not a user's to say: what its value is found out of."""
_NONE = type(None)

T = TypeVar("T")


def plain(value: Any) -> Any:
    """`value` as dictionaries, lists and scalars, every field written out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value).__dict__.get("KIND")
        tag = {} if kind is None else {KIND: kind}
        return tag | {
            json_name(field): plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def said(value: Any) -> Any:
    """`plain(value)` without the fields that are `UNSAID`: what is written into files."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        tree = plain(value)
        for field in dataclasses.fields(value):
            name = json_name(field)
            if UNSAID in field.metadata and tree[name] == field.metadata[UNSAID]:
                del tree[name]
            else:
                tree[name] = said(getattr(value, field.name))
        return tree
    return [said(item) for item in value] if isinstance(value, tuple) else value


def json_name(field: dataclasses.Field[Any]) -> str:
    """What a field is called in JSON."""
    return field.metadata.get(JSON, field.name)


def tag_of(cls: type) -> tuple[str, str] | None:
    """Key and value by which a class that is one of several is told; None for a class that stands alone."""
    kind = cls.__dict__.get("KIND")
    if kind is not None:
        return KIND, kind
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if not field.init and get_origin(hints[field.name]) is Literal:
            return field.name, str(field.default)
    return None


def parse_json(text: str) -> Any:
    """What `text` holds. Raises `ValueError` with the place of the fault."""
    try:
        return strict_json.parse_json(text, "The recipe")
    except strict_json.JsonError as error:
        raise ValueError(f"{error}.") from error


def read(tree: Any, cls: type[T], *, where: str = "") -> T:
    """The `cls` that `plain` or `said` made `tree` of; `where` is the path of `tree` in what is read.

    Raises `ValueError` that names the field if one is missing, unknown, of another type or impossible.
    """
    if not isinstance(tree, dict):
        raise ValueError(f"{where} must be an object, got {_kind(tree)}.")
    known = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
    names = [json_name(field) for field in known]
    dropped = cls.__dict__.get("WITHOUT_EFFECT", ())
    before = {
        json_name(field): field.metadata[key]
        for field in known
        for key in (ABSENT, UNSAID)
        if key in field.metadata
    }
    tree = before | {name: value for name, value in tree.items() if name not in dropped}
    prefix = f"{where}." if where else ""
    for problem, found in (
        ("misses", [name for name in names if name not in tree]),
        ("has unknown", [name for name in tree if name not in names]),
    ):
        if found:
            raise ValueError(f"The recipe {problem} {', '.join(prefix + name for name in found)}.")
    hints = get_type_hints(cls)
    values = {
        field.name: read_value(tree[name], hints[field.name], where=prefix + name)
        for field, name in zip(known, names, strict=True)
    }
    return cls(**{field.name: values[field.name] for field in known if field.init})


def read_value(value: Any, hint: Any, *, where: str) -> Any:
    """`value` read as `hint`: a dataclass, a union, a tuple, a literal or a plain type. Raises as `read`."""
    origin = get_origin(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return read(value, hint, where=where)
    if origin in (Union, types.UnionType):
        return _union(value, get_args(hint), where=where)
    if origin is tuple:
        return _tuple(value, get_args(hint), where=where)
    if origin is Literal:
        if value not in get_args(hint):
            raise ValueError(f"{where} must be one of {', '.join(get_args(hint))}; got {value!r}.")
        return value
    return _scalar(value, hint, where=where)


def _union(value: Any, members: tuple[Any, ...], *, where: str) -> Any:
    if value is None and _NONE in members:
        return None
    rest = [member for member in members if member is not _NONE]
    if len(rest) == 1:
        return read_value(value, rest[0], where=where)
    key, by_tag = tagged(rest)
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object, got {_kind(value)}.")
    tag = value.get(key)
    if not isinstance(tag, str) or tag not in by_tag:
        raise ValueError(f'{where} must say "{key}": one of {", ".join(by_tag)}; got {tag!r}.')
    return read({name: item for name, item in value.items() if name != KIND}, by_tag[tag], where=where)


def tagged(members: Iterable[type]) -> tuple[str, dict[str, type]]:
    """The key that tells the members of a union apart, and the member of each of its values."""
    tags = {member: tag_of(member) for member in members}
    (key,) = {tag[0] for tag in tags.values() if tag is not None}
    return key, {tag[1]: member for member, tag in tags.items() if tag is not None}


def _tuple(value: Any, items: tuple[Any, ...], *, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list, got {_kind(value)}.")
    hints = [items[0]] * len(value) if items[-1] is Ellipsis else list(items)
    if len(hints) != len(value):
        raise ValueError(f"{where} must hold {len(hints)} values, got {len(value)}.")
    return tuple(
        read_value(item, hint, where=f"{where}[{index}]")
        for index, (item, hint) in enumerate(zip(value, hints, strict=True))
    )


def _scalar(value: Any, hint: type, *, where: str) -> Any:
    if hint is float and type(value) in (int, float):
        if not -sys.float_info.max <= value <= sys.float_info.max:
            raise ValueError(f"{where} must be a finite number of double precision.")
        return float(value)
    if type(value) is not hint:
        raise ValueError(f"{where} must be {hint.__name__}, got {_kind(value)}.")
    return value


def _kind(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} {json.dumps(value)}"
