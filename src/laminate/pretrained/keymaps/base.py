"""Published checkpoints into modules and back, with every name accounted for."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from laminate.types import RandomKey, is_buffer

M = TypeVar("M")

Pick = Callable[[Any], Any]
"""Picks a part out of the module that slots are for."""

_NAMED = 3  # names of one kind that do not fit, in a message
_CONSTANT_TOLERANCE = 1e-5  # constants are recomputed; a published copy differs in its last bits at most


class KeyMapError(ValueError):
    """A checkpoint that does not fit the module; the message lists every name that is wrong."""


@dataclasses.dataclass(frozen=True)
class ArrayLayout:
    """How an array is laid out: `read` turns the published one into the module's, `write` turns it back."""

    read: Callable[[np.ndarray], np.ndarray]
    write: Callable[[np.ndarray], np.ndarray]


SAME = ArrayLayout(lambda a: a, lambda a: a)
TRANSPOSED = ArrayLayout(lambda a: a.T, lambda a: a.T)
LEADING_ONE = ArrayLayout(lambda a: a[0], lambda a: a[None])
AS_ROW = ArrayLayout(lambda a: a[None], lambda a: a[0])


@dataclasses.dataclass(frozen=True)
class Slot:
    """Leaves of a module and the published names that fill them.

    `leaf` picks the array out of the module. `keys` is one name; or, for a depth-stacked leaf (`stacked=True`), one
    name per layer in order. A `constant` is a table that the module computes itself: a published copy is compared
    with it and never loaded.

    `joined` names in a row, equal parts along the first axis, fill one leaf (query, key and value in a fused
    projection). The other way round, a `leaf` that picks a tuple of arrays shares the rows of one published array
    among them, in order.
    """

    keys: tuple[str, ...]
    leaf: Callable[[Any], Any]
    layout: ArrayLayout = SAME
    stacked: bool = False
    constant: bool = False
    joined: int = 1

    def leaves(self, module: Any) -> tuple[Any, ...]:
        """The arrays of `module` that this slot fills."""
        picked = self.leaf(module)
        return picked if isinstance(picked, tuple) else (picked,)

    def groups(self) -> list[tuple[str, ...]]:
        """The names, layer by layer."""
        return [self.keys[i : i + self.joined] for i in range(0, len(self.keys), self.joined)]


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A published array that is no parameter, and whose value every checkpoint of the module must have."""

    key: str
    value: np.ndarray


def load_new(
    make: Callable[[RandomKey], M],
    slots: Callable[[M], Sequence[Slot | Fixed]],
    weights: Mapping[str, np.ndarray],
    *,
    ignored: Sequence[str] = (),
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
    on_host: bool = False,
) -> M:
    """What `make(key)` would make, with every parameter from `weights` and stored in `dtype`; nothing is drawn.

    `on_host` is that of `load`. Raises what `load` raises.
    """
    shapes = eqx.filter_eval_shape(make, jax.random.key(0))
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype) if _is_abstract(leaf) else leaf, shapes
    )
    return load(shapes, slots(shapes), weights, ignored=ignored, on_host=on_host)


def load(
    module: M,
    slots: Sequence[Slot | Fixed],
    weights: Mapping[str, np.ndarray],
    *,
    ignored: Sequence[str] = (),
    on_host: bool = False,
) -> M:
    """`module` with the leaves of `slots` replaced by published `weights`, in the leaves' own dtypes.

    The leaves may be abstract (`jax.ShapeDtypeStruct`). `ignored` holds shell patterns of published names that carry
    no weights. `on_host` leaves the arrays to NumPy, for a module that is to be laid out over many devices.

    Raises:
        KeyMapError: names are missing, unexpected, of the wrong shape or dtype, or a constant differs; they are counted
            and the first of them named.
        ValueError: the map itself leaves out a parameter of the module, or fills one twice.
    """
    _require_complete(module, slots)
    expected = export(_hollow(module), slots)
    given = _unwrapped(weights, expected)
    given = {key: a for key, a in given.items() if not any(fnmatchcase(key, name) for name in ignored)}
    problems = _mismatches(expected, given)
    if not any(problems):
        constants = export(module, [s for s in slots if isinstance(s, Fixed) or s.constant])
        problems = [
            [f"{key} is not this module's table" for key, a in constants.items() if _differ(given[key], a)]
        ]
    if any(problems):
        listed = "; ".join(text for kind in problems for text in _first(kind))
        raise KeyMapError(f"The checkpoint does not fit ({sum(map(len, problems))} names): {listed}")
    filled = [slot for slot in slots if isinstance(slot, Slot) and not slot.constant]
    arrays = [array for slot in filled for array in _read(slot, given, slot.leaves(module))]
    arrays = arrays if on_host else jax.device_put(arrays, may_alias=False)
    return eqx.tree_at(lambda tree: [leaf for slot in filled for leaf in slot.leaves(tree)], module, arrays)


def export(module: Any, slots: Sequence[Slot | Fixed]) -> dict[str, np.ndarray]:
    """The arrays of `module` under their published names and layouts; the inverse of `load`.

    It also renames any tree of the module's structure, such as its gradients.
    """
    published: dict[str, np.ndarray] = {}
    for slot in slots:
        if isinstance(slot, Fixed):
            published[slot.key] = slot.value
            continue
        leaves = [np.asarray(leaf) for leaf in slot.leaves(module)]
        layers = zip(*leaves, strict=True) if slot.stacked else [tuple(leaves)]
        for keys, layer in zip(slot.groups(), layers, strict=True):
            whole = np.asarray(layer[0]) if len(layer) == 1 else np.concatenate(layer)
            parts = [whole] if slot.joined == 1 else np.split(whole, slot.joined)
            published |= {key: slot.layout.write(part) for key, part in zip(keys, parts, strict=True)}
    return published


def _read(slot: Slot, weights: Mapping[str, np.ndarray], old: tuple[Any, ...]) -> list[np.ndarray]:
    """New leaves for `old`, every published array copied once, straight to its place."""
    axis, (first, *others) = int(slot.stacked), old
    shape = list(first.shape)
    if others:
        shape[axis] = sum(leaf.shape[axis] for leaf in old)
    whole = np.empty(shape, first.dtype)
    for number, keys in enumerate(slot.groups()):
        layer, start = whole[number, ...] if slot.stacked else whole, 0
        for key in keys:
            part = slot.layout.read(np.asarray(weights[key]))
            place = layer if slot.joined == 1 else layer[start : start + len(part)]
            place[...] = part
            start += len(part) if slot.joined > 1 else 0
    if not others:
        return [whole]
    ends = np.cumsum([leaf.shape[axis] for leaf in old])[:-1]
    return [np.asarray(a, leaf.dtype) for a, leaf in zip(np.split(whole, ends, axis=axis), old, strict=True)]


def _is_abstract(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def _hollow(module: M) -> M:
    """Arrays of the module's shapes that take no memory."""
    return jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), np.float32), leaf.shape), module)


def _unwrapped(weights: Mapping[str, np.ndarray], expected: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
    """`weights` without what a wrapper (`module.`, `_orig_mod.`, a model around this one) put before every name.

    What is beside a whole set of such names stays, to be named as unexpected.
    """
    if not expected or any(name in weights for name in expected):
        return weights
    first = next(iter(expected))
    for wrapped in weights:
        prefix = wrapped.removesuffix(first)
        if not wrapped.endswith(f".{first}"):
            continue
        if all(name.startswith(prefix) for name in weights) or all(
            prefix + name in weights for name in expected
        ):
            return {name.removeprefix(prefix): array for name, array in weights.items()}
    return weights


def _mismatches(published: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray]) -> list[list[str]]:
    """What does not fit, kind by kind."""
    missing = [f"missing {key} {a.shape}" for key, a in published.items() if key not in given]
    unexpected = [f"unexpected {key} {a.shape}" for key, a in given.items() if key not in published]
    misshaped = [
        f"{key} has shape {given[key].shape}, expected {a.shape}"
        for key, a in published.items()
        if key in given and given[key].shape != a.shape
    ]
    mistyped = [
        f"{key} has dtype {given[key].dtype}, expected a floating one"
        for key in published
        if key in given and not jnp.issubdtype(given[key].dtype, jnp.floating)
    ]
    return [missing, unexpected, misshaped, mistyped]


def _first(problems: Sequence[str]) -> list[str]:
    more = len(problems) - _NAMED
    return [*problems[:_NAMED], f"and {more} more like these"] if more > 0 else list(problems)


def _differ(given: np.ndarray, computed: np.ndarray) -> bool:
    return not np.allclose(np.asarray(given, np.float64), computed, rtol=0.0, atol=_CONSTANT_TOLERANCE)


def _require_complete(module: Any, slots: Sequence[Slot | Fixed]) -> None:
    """Every trained array of the module belongs to exactly one slot, and every name to one slot."""
    paths, structure = jax.tree.flatten_with_path(module)
    numbered = jax.tree.unflatten(structure, range(len(paths)))
    filled = Counter(n for slot in slots if isinstance(slot, Slot) for n in slot.leaves(numbered))
    buffers = {
        number
        for node in jax.tree.leaves(numbered, is_leaf=is_buffer)
        if is_buffer(node)
        for number in jax.tree.leaves(node)
    }
    wrong = [
        f"{jax.tree_util.keystr(path)} has {filled[number]} names"
        for number, (path, leaf) in enumerate(paths)
        if filled[number] > 1
        or (not filled[number] and (_is_abstract(leaf) or (number not in buffers and eqx.is_array(leaf))))
    ]
    names = Counter(key for slot in slots for key in ((slot.key,) if isinstance(slot, Fixed) else slot.keys))
    wrong += [f"{key} is used twice" for key, n in names.items() if n > 1]
    if wrong:
        raise ValueError("The key map is not one to one: " + "; ".join(wrong))
