"""The weights of a trained module under stable names: one safetensors file, for readers that want nothing else.

A name is the dotted path of an array in the module, as `encoder.stack.layers.attention.qkv.weight`; that of a `Buffer`
is its own place, as `normalization.mean`. The layers of a stack are one array with a leading depth axis. Renaming a
field of a module breaks files that were shared: `RENAMED` says what their names mean today.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from etils import epath

from laminate.storage.writing import is_local, sync_folder, writing
from laminate.types import Stated, is_buffer

TOKENIZER, GENERATOR, DECODER, TEACHER = FOLDERS = ("tokenizer", "generator", "decoder", "teacher")
"""Where a training leaves its exported weights, in the folder of the run."""

# (pattern of a whole old name, its replacement), tried on names that a module does not have.
RENAMED: tuple[tuple[str, str], ...] = ((r"(.+\.)?(mean|std|positions)\.value", r"\1\2"),)


def named_weights(module: Any, *, buffers: bool = True) -> dict[str, Any]:
    """The arrays (or shapes) of `module` by name, in the order of `jax.tree.leaves`; those of a `Buffer` if asked."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(module, is_leaf=is_buffer)
    named = {jax.tree_util.keystr(path).removeprefix("."): leaf for path, leaf in leaves}
    arrays = {
        name: leaf.value if is_buffer(leaf) else leaf
        for name, leaf in named.items()
        if buffers or not is_buffer(leaf)
    }
    return {name: array for name, array in arrays.items() if array is not None}


def content_hash(module: Any) -> str:
    """SHA-256 of every array of `module` with its name, and of what is `Stated` beside them: equal exactly for equal
    weights, however they are stored."""
    digest = hashlib.sha256()
    for name, leaf in sorted(named_weights(module).items()):
        array = np.asarray(leaf, order="C")
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.tobytes())
    for name, values in _stated(module):
        digest.update(f"{name} {values!r};".encode())
    return digest.hexdigest()


def _stated(module: Any) -> list[tuple[str, dict[str, Any]]]:
    """The static fields of every `Stated` part of `module`, by its place."""
    nodes, _ = jax.tree_util.tree_flatten_with_path(module, is_leaf=lambda node: isinstance(node, Stated))
    return [
        (
            jax.tree_util.keystr(path).removeprefix("."),
            {one.name: getattr(node, one.name) for one in fields(node) if one.metadata.get("static", False)},
        )
        for path, node in nodes
        if isinstance(node, Stated)
    ]


def save_weights(path: epath.PathLike, module: Any, *, metadata: dict[str, str]) -> str:
    """Write every array of `module` to the file at `path`, whole or not at all; its SHA-256.

    Equal weights give equal bytes, as long as `metadata`, which goes into the header, has at most one entry. Raises
    `UnwritableError` if the place cannot be written.
    """
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in named_weights(module).items()}
    with writing(path):
        return _save(epath.Path(path), arrays, metadata)


def _save(place: epath.Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    if not is_local(place):
        data = safetensors.numpy.save(arrays, metadata=metadata)
        place.write_bytes(data)
        return hashlib.sha256(data).hexdigest()
    partial = f"{os.fspath(place)}.partial"
    try:
        epath.Path(partial).unlink(missing_ok=True)  # a link there would lead elsewhere
        safetensors.numpy.save_file(arrays, partial, metadata=metadata)
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.replace(partial, place)
    finally:
        epath.Path(partial).unlink(missing_ok=True)
    sync_folder(place.parent)
    return digest


def widened(saved: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`saved` in float32 if all of it is float16, in which frozen networks are exported: half the size."""
    if any(array.dtype != np.float16 for array in saved.values()):
        return dict(saved)
    return {name: array.astype(np.float32) for name, array in saved.items()}


def fill(
    like: Any,
    saved: Mapping[str, np.ndarray],
    where: str,
    *,
    renamed: Sequence[tuple[str, str]] = RENAMED,
) -> Any:
    """`like` (arrays or their shapes) with the arrays of `saved`, which may go by the names of an older version.

    Raises ValueError naming every array that is missing, unexpected, or of another shape or dtype.
    """
    wanted = named_weights(like)
    saved = today(saved, wanted, renamed=renamed)
    problems = [f"{name} is missing" for name in wanted.keys() - saved.keys()]
    problems += [f"{name} is unexpected" for name in saved.keys() - wanted.keys()]
    for name in wanted.keys() & saved.keys():
        found, expected = saved[name], wanted[name]
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            problems.append(
                f"{name} is {found.dtype}{found.shape}, expected {expected.dtype}{expected.shape}"
            )
    if problems:
        raise ValueError(f"{where} does not fit this module: {'; '.join(sorted(problems))}.")
    return jax.tree.unflatten(jax.tree.structure(like), [saved[name] for name in wanted])


def today(
    saved: Mapping[str, np.ndarray],
    wanted: Mapping[str, Any],
    *,
    renamed: Sequence[tuple[str, str]] = RENAMED,
) -> dict[str, np.ndarray]:
    """`saved` with every old name that stands for one of `wanted` replaced by it; the others as they are."""
    return {
        new if (new := _new_name(name, wanted, renamed)) not in saved else name: array
        for name, array in saved.items()
    }


def _new_name(name: str, wanted: Mapping[str, Any], renamed: Sequence[tuple[str, str]]) -> str:
    if name in wanted:
        return name
    for pattern, replacement in renamed:
        matched = re.fullmatch(pattern, name)
        if matched and matched.expand(replacement) in wanted:
            return matched.expand(replacement)
    return name
