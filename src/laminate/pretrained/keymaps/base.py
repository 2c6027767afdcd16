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

from laminate.types import is_buffer

M = TypeVar("M")

_CONSTANT_TOLERANCE = 1e-5  # constants are recomputed; a published copy differs in its last bits at most


class KeyMapError(ValueError):
    """A checkpoint that does not fit the module; the message lists every name that is wrong."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How an array is laid out: `read` turns the published one into the module's, `write` turns it back."""

    read: Callable[[np.ndarray], np.ndarray]
    write: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda a: a, lambda a: a)
TRANSPOSED = Layout(lambda a: a.T, lambda a: a.T)
LEADING_ONE = Layout(lambda a: a[0], lambda a: a[None])


@dataclasses.dataclass(frozen=True)
class Slot:
    """One leaf of a module and the published names that fill it.

    `leaf` picks the array out of the module. `keys` is one name; or, for a depth-stacked leaf
    (`stacked=True`), one name per layer in order. A `constant` is a table that the module computes itself:
    a published copy is compared with it and never loaded.
    """

    keys: tuple[str, ...]
    leaf: Callable[[Any], Any]
    layout: Layout = SAME
    stacked: bool = False
    constant: bool = False


def load(
    module: M, slots: Sequence[Slot], weights: Mapping[str, np.ndarray], *, ignored: Sequence[str] = ()
) -> M:
    """`module` with the leaves of `slots` replaced by published `weights`, in the leaves' own dtypes.

    `ignored` holds shell patterns of published names that carry no weights.

    Raises:
        KeyMapError: names are missing, unexpected, of the wrong shape, or a constant differs; all are listed.
        ValueError: the map itself leaves out a parameter of the module, or fills one twice.
    """
    _require_complete(module, slots)
    given = {key: a for key, a in weights.items() if not any(fnmatchcase(key, name) for name in ignored)}
    published = export(module, slots)
    problems = _mismatches(published, given)
    if not problems:
        constants = [key for slot in slots if slot.constant for key in slot.keys]
        problems = [
            f"{key} is not this module's table" for key in constants if _differ(given, published, key)
        ]
    if problems:
        raise KeyMapError(f"The checkpoint does not fit ({len(problems)} names): {'; '.join(problems)}")
    filled = [slot for slot in slots if not slot.constant]
    leaves = [_read(slot, given, slot.leaf(module)) for slot in filled]
    return eqx.tree_at(lambda tree: [slot.leaf(tree) for slot in filled], module, leaves)


def export(module: Any, slots: Sequence[Slot]) -> dict[str, np.ndarray]:
    """The arrays of `module` under their published names and layouts; the inverse of `load`.

    It also renames any tree of the module's structure, such as its gradients.
    """
    published: dict[str, np.ndarray] = {}
    for slot in slots:
        leaf = np.asarray(slot.leaf(module))
        for key, layer in zip(slot.keys, leaf if slot.stacked else [leaf], strict=True):
            published[key] = slot.layout.write(layer)
    return published


def _read(slot: Slot, weights: Mapping[str, np.ndarray], old: jax.Array) -> jax.Array:
    layers = [slot.layout.read(np.asarray(weights[key])) for key in slot.keys]
    return jnp.asarray(np.stack(layers) if slot.stacked else layers[0], old.dtype)


def _mismatches(published: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray]) -> list[str]:
    missing = [f"missing {key} {a.shape}" for key, a in published.items() if key not in given]
    unexpected = [f"unexpected {key} {a.shape}" for key, a in given.items() if key not in published]
    misshaped = [
        f"{key} has shape {given[key].shape}, expected {a.shape}"
        for key, a in published.items()
        if key in given and given[key].shape != a.shape
    ]
    return missing + unexpected + misshaped


def _differ(given: Mapping[str, np.ndarray], published: Mapping[str, np.ndarray], key: str) -> bool:
    return not np.allclose(given[key], published[key], rtol=0.0, atol=_CONSTANT_TOLERANCE)


def _require_complete(module: Any, slots: Sequence[Slot]) -> None:
    """Every trained array of the module belongs to exactly one slot, and every name to one slot."""
    paths, structure = jax.tree.flatten_with_path(module)
    numbered = jax.tree.unflatten(structure, range(len(paths)))
    filled = Counter(slot.leaf(numbered) for slot in slots)
    buffers = {
        number
        for node in jax.tree.leaves(numbered, is_leaf=is_buffer)
        if is_buffer(node)
        for number in jax.tree.leaves(node)
    }
    wrong = [
        f"{jax.tree_util.keystr(path)} has {filled[number]} names"
        for number, (path, leaf) in enumerate(paths)
        if filled[number] > 1 or (not filled[number] and number not in buffers and eqx.is_array(leaf))
    ]
    wrong += [
        f"{key} is used twice" for key, n in Counter(key for s in slots for key in s.keys).items() if n > 1
    ]
    if wrong:
        raise ValueError("The key map is not one to one: " + "; ".join(wrong))
