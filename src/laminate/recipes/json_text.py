"""Recipes as JSON text and back, exactly, with strict reading; and the differences of two recipes."""

import dataclasses
import json
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from laminate.recipes.bottleneck import FsqBottleneck, GaussianBottleneck
from laminate.recipes.decoder import DecoderRecipe
from laminate.recipes.families import Recipe
from laminate.recipes.flatdino import FlatDinoRecipe
from laminate.recipes.generator import GeneratorRecipe
from laminate.recipes.network import Teacher

FAMILIES: dict[str, type[Recipe]] = {
    "flatdino": FlatDinoRecipe,
    "generator": GeneratorRecipe,
    "decoder": DecoderRecipe,
}
TAGS: dict[type, str] = {GaussianBottleneck: "gaussian", FsqBottleneck: "fsq"}
TAG = "kind"
VIEW = "view"  # a field of every view, with the name of the view: the tag of that union
RUN = "run"  # what a run folder notes beside its recipe: seed and data
_NONE = type(None)


def to_json(recipe: Recipe) -> str:
    """The full recipe, every field written out."""
    return json.dumps(to_tree(recipe), indent=2) + "\n"


def to_tree(recipe: Recipe) -> dict[str, Any]:
    """What `to_json` writes, as dictionaries and lists."""
    return {"family": family_of(recipe), **_plain(recipe)}


def family_of(recipe: Recipe) -> str:
    """The name under which recipes of this kind are written."""
    return next(name for name, kind in FAMILIES.items() if isinstance(recipe, kind))


def from_json(text: str) -> Recipe:
    """The recipe that `text` holds.

    Raises `ValueError` that names the field if one is missing, unknown, of another type or impossible.
    """
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"The recipe is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    return from_tree(tree)


def from_tree(tree: Any) -> Recipe:
    """The recipe of `to_tree`. Raises `ValueError` as `from_json` does."""
    if not isinstance(tree, dict):
        raise ValueError(f"The recipe must be a JSON object, got {_kind(tree)}.")
    family = tree.get("family")
    if not isinstance(family, str) or family not in FAMILIES:
        raise ValueError(f'The recipe must say "family": one of {", ".join(FAMILIES)}; got {family!r}.')
    fields = {key: value for key, value in tree.items() if key not in ("family", RUN)}
    return _dataclass(fields, FAMILIES[family], where="")


def rewritten(tree: dict[str, Any]) -> dict[str, Any]:
    """What an earlier version wrote into a run folder, as this one writes it; what is no recipe stays as it is.

    So a run goes on whose recipe has fields that are read and dropped.
    """
    try:
        recipe = to_tree(from_tree(tree))
    except ValueError:
        return tree
    return recipe | ({RUN: tree[RUN]} if RUN in tree else {})


def teacher_tree(teacher: Teacher) -> dict[str, Any]:
    """A teacher as a dictionary, for those who note which one they used."""
    return _plain(teacher)


def teacher_of(tree: Any) -> Teacher:
    """The teacher of `teacher_tree`. Raises `ValueError` as `from_json` does."""
    return _dataclass(tree, Teacher, where="teacher")


def differences(a: Recipe, b: Recipe) -> list[str]:
    """One line `field: value in a -> value in b` per field that differs, in the order of the fields."""
    left, right = _flat(_plain(a)), _flat(_plain(b))
    return [
        f"{field}: {_shown(left, field)} -> {_shown(right, field)}"
        for field in left | right
        if (field in left, left.get(field)) != (field in right, right.get(field))
    ]


def _shown(tree: dict[str, Any], field: str) -> str:
    return json.dumps(tree[field]) if field in tree else "(absent)"


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return leaves


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        tag = {TAG: TAGS[type(value)]} if type(value) in TAGS else {}
        return tag | {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _dataclass(tree: Any, cls: type[Any], *, where: str) -> Any:
    if not isinstance(tree, dict):
        raise ValueError(f"{where} must be an object, got {_kind(tree)}.")
    dropped = getattr(cls, "WITHOUT_EFFECT", ())
    tree = {name: value for name, value in tree.items() if name not in dropped}
    names = [field.name for field in dataclasses.fields(cls)]
    prefix = f"{where}." if where else ""
    for problem, found in (
        ("misses", [name for name in names if name not in tree]),
        ("has unknown", [name for name in tree if name not in names]),
    ):
        if found:
            raise ValueError(f"The recipe {problem} {', '.join(prefix + name for name in found)}.")
    hints = get_type_hints(cls)
    values = {name: _value(tree[name], hints[name], where=prefix + name) for name in names}
    return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls) if field.init})


def _value(value: Any, hint: Any, *, where: str) -> Any:
    """`value` read as `hint`: a dataclass, a union, a tuple, a literal or a plain type."""
    origin = get_origin(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass(value, hint, where=where)
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
        return _value(value, rest[0], where=where)
    key = TAG if rest[0] in TAGS else VIEW
    by_tag = {TAGS[member] if key == TAG else member.view: member for member in rest}
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object, got {_kind(value)}.")
    tag = value.get(key)
    if not isinstance(tag, str) or tag not in by_tag:
        raise ValueError(f'{where} must say "{key}": one of {", ".join(by_tag)}; got {tag!r}.')
    fields = {name: item for name, item in value.items() if name != TAG}
    return _dataclass(fields, by_tag[tag], where=where)


def _tuple(value: Any, items: tuple[Any, ...], *, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list, got {_kind(value)}.")
    hints = [items[0]] * len(value) if items[-1] is Ellipsis else list(items)
    if len(hints) != len(value):
        raise ValueError(f"{where} must hold {len(hints)} values, got {len(value)}.")
    return tuple(
        _value(item, hint, where=f"{where}[{index}]")
        for index, (item, hint) in enumerate(zip(value, hints, strict=True))
    )


def _scalar(value: Any, hint: type, *, where: str) -> Any:
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ValueError(f"{where} must be {hint.__name__}, got {_kind(value)}.")
    return value


def _kind(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} {json.dumps(value)}"
