"""Safetensors files: memory-mapped, checked before a number is used, and refused in one sentence when damaged.

The arrays are read-only views of the mapped file, bfloat16 included, so opening costs no copy and no memory. The
reference reader copies every tensor, which takes as long as reading the file once more.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from laminate.pretrained.pickles import ZIP, is_pickle, refuse_pickle
from laminate.storage.strict_json import JsonError, parse_json

SUFFIX = ".safetensors"
_LARGEST_HEADER = 100_000_000
_HEADER = "its header"  # in messages
_START = 256
"""Bytes that say which other kind of file one is."""
_FOREIGN = {
    ZIP: "an npz of NumPy arrays, such as samples or their moments",  # a pickle's zip is told before
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF\r\n": "an HDF5 file, as Keras and TensorFlow write",
    b"\x89PNG\r\n": "an image",
    b"\xff\xd8\xff": "an image",
}
_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_FLOATS = ("F64", "F32", "F16", "BF16")
_WEIGHT_NAMES = (".weight", ".bias", "/kernel", "/bias", "/scale", ".gamma", ".lambda1")
_CHUNK = 1 << 20  # numbers that are looked at together: they stay in the cache


class WeightsError(ValueError):
    """A file of weights that cannot be used; the message says which, why, and how to mend it."""


@dataclass(frozen=True)
class Entry:
    """What a header says of one tensor: stored dtype, shape, and its bytes behind the header."""

    stored: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class TensorHeader:
    """The head of a safetensors file: its tensors, its free text, and where the numbers begin."""

    entries: dict[str, Entry]
    metadata: dict[str, str]
    begin: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self.entries.items()}


def open_tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of the file at `path` by name.

    Raises:
        WeightsError: the file is truncated, no safetensors file, inconsistent, or of a dtype that is not read.
        OSError: it is not there, or cannot be read.
    """
    buffer = _mapped(path)
    header = parse_header(buffer, len(buffer), os.fspath(path))
    return {
        name: _view(buffer[header.begin + entry.start : header.begin + entry.stop], entry)
        for name, entry in _readable(header, os.fspath(path)).items()
    }


def read_header(path: str | os.PathLike[str]) -> TensorHeader:
    """The checked header of the file at `path`; the numbers are not touched. Raises as `open_tensors` does."""
    buffer = _mapped(path)
    return parse_header(buffer, len(buffer), os.fspath(path))


def require_finite(weights: Mapping[str, np.ndarray], where: str) -> None:
    """Raises WeightsError that names every tensor of `weights` with a NaN or an infinity in it."""
    wrong = [name for name, array in weights.items() if not _is_finite(array)]
    if wrong:
        count = "1 tensor" if len(wrong) == 1 else f"{len(wrong)} tensors"
        raise WeightsError(
            f"{where}: {count} with NaN or infinity ({_some(wrong)}). The training that wrote it diverged, or the "
            "file is damaged: use another checkpoint, or fetch it again."
        )


def weights_hash(weights: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of names, dtypes, shapes and numbers: the same for one file and for shards of it."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        digest.update(json.dumps([name, str(array.dtype), array.shape]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def parse_header(buffer: Any, size: int, where: str) -> TensorHeader:
    """The header at the beginning of `buffer`, which stands for a file of `size` bytes.

    Raises WeightsError unless the tensors cover the rest of the file exactly, without a hole or an overlap.
    """
    if size < 8:
        raise WeightsError(f"{where} is no safetensors file: it has {size} bytes. Fetch it again.")
    start = bytes(buffer[:8])
    length = int.from_bytes(start, "little")
    if length > min(size - 8, _LARGEST_HEADER):
        _refuse_foreign(bytes(buffer[:_START]), where)
        raise WeightsError(
            f"{where} is damaged: it says that its header has {length} bytes, and the file has {size}. Fetch it again."
        )
    entries, metadata = _entries(_json(bytes(buffer[8 : 8 + length]), where), where)
    _require_covered(entries, size - 8 - length, where)
    return TensorHeader(entries, metadata, 8 + length)


def _mapped(path: str | os.PathLike[str]) -> np.ndarray:
    text = os.fspath(path)
    if "://" in text:
        return np.frombuffer(epath.Path(text).read_bytes(), np.uint8)
    if Path(path).is_dir():
        raise IsADirectoryError(f"{text} is a folder: a {SUFFIX} file was expected.")
    if not Path(path).exists():
        raise FileNotFoundError(f"There is no file {text}.")
    if not Path(path).stat().st_size:
        return np.zeros(0, np.uint8)
    return np.memmap(path, np.uint8, mode="r").view(np.ndarray)


def _refuse_foreign(start: bytes, where: str) -> None:
    if is_pickle(start):
        refuse_pickle(where)
    what = next((what for begins, what in _FOREIGN.items() if start.startswith(begins)), None)
    if what is not None:
        raise WeightsError(
            f"{where} is {what}: weights are read from {SUFFIX} files. Give the network's own."
        )
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{where} is a Git LFS pointer, not the weights: run `git lfs pull` where it lies."
        )
    if start.lstrip()[:1] in (b"<", b"{"):
        raise WeightsError(f"{where} is no safetensors file but text: {start!r}. Download the file itself.")


def _json(header: bytes, where: str) -> dict[str, Any]:
    try:
        tree = parse_json(header, _HEADER)
    except JsonError as error:
        what = error.within(_HEADER)
        said = f"{_HEADER} {what[3:]}" if what.startswith("it ") else f"{error}"
        raise WeightsError(f"{where} is damaged: {said}. Fetch it again.") from error
    if not isinstance(tree, dict):
        raise WeightsError(f"{where} is damaged: its header is no JSON object. Fetch it again.")
    return tree


def _entries(tree: dict[str, Any], where: str) -> tuple[dict[str, Entry], dict[str, str]]:
    metadata = tree.pop("__metadata__", {})
    entries: dict[str, Entry] = {}
    for name, described in tree.items():
        match described:
            case {"dtype": str(stored), "shape": list(shape), "data_offsets": [int(start), int(stop)]} if all(
                type(side) is int and side >= 0 for side in shape
            ):
                entries[name] = Entry(stored, tuple(shape), start, stop)
            case _:
                raise WeightsError(f"{where} is damaged: its header describes {name} as {described!r}.")
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise WeightsError(f"{where} is damaged: the metadata in its header are no texts. Fetch it again.")
    return entries, metadata


def _require_covered(entries: Mapping[str, Entry], size: int, where: str) -> None:
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        dtype = _DTYPES.get(entry.stored)
        wanted = entry.stop - entry.start if dtype is None else entry.count * dtype.itemsize
        if entry.start != end or entry.stop - entry.start != wanted:
            raise WeightsError(
                f"{where} is damaged: {name} ({entry.stored}{list(entry.shape)}) is said to lie in the bytes "
                f"{entry.start} to {entry.stop}, and {end} to {end + wanted} were expected. Fetch it again."
            )
        end = entry.stop
    if end > size:
        raise WeightsError(
            f"{where} is truncated: {size} of {end} bytes of weights are there. Fetch or copy it again."
        )
    if end < size:
        raise WeightsError(f"{where} is damaged: {size - end} bytes follow the last tensor. Fetch it again.")


def _readable(header: TensorHeader, where: str) -> dict[str, Entry]:
    foreign = {name: entry.stored for name, entry in header.entries.items() if entry.stored not in _DTYPES}
    if foreign:
        raise WeightsError(
            f"{where} is stored as {_some(sorted(set(foreign.values())))}, which is not read "
            f"({_some(sorted(foreign))}): convert it to one of {', '.join(_FLOATS)}, or use an unquantised copy."
        )
    whole = [
        f"{name} ({entry.stored})"
        for name, entry in header.entries.items()
        if entry.stored not in _FLOATS and name.endswith(_WEIGHT_NAMES)
    ]
    if whole:
        raise WeightsError(
            f"{where} holds weights as whole numbers: {_some(whole)}. It is quantised, or no file of weights: use the "
            f"copy in one of {', '.join(_FLOATS)}."
        )
    return header.entries


def _view(piece: np.ndarray, entry: Entry) -> np.ndarray:
    return piece.view(_DTYPES[entry.stored]).reshape(entry.shape)


def _is_finite(array: np.ndarray) -> bool:
    if array.dtype.kind in "iub":
        return True
    flat = array.reshape(-1)
    pieces = (flat[start : start + _CHUNK] for start in range(0, flat.size, _CHUNK))
    if array.dtype == ml_dtypes.bfloat16:
        return all(bool(np.all((piece.view(np.uint16) & 0x7F80) != 0x7F80)) for piece in pieces)
    return all(bool(np.isfinite(piece).all()) for piece in pieces)


def _some(names: list[str], shown: int = 4) -> str:
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
