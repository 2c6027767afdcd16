"""Resizing of matrices, images and bytes."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from laminate.nn import Resampling, resize, resize_bytes, resize_matrix

from ..options import Options
from ..reader import CannotRun, Golden

_KINDS: dict[str, Resampling] = {
    "bilinear": "bilinear",
    "bilinear_aa": "bilinear-antialias",
    "bicubic": "bicubic",
    "bicubic_aa": "bicubic-antialias",
}
_MATRIX = re.compile("matrix/([a-z_]+)/([0-9]+)to([0-9]+)")
_IMAGE = re.compile("(image|uint8)/([a-z_]+)/([0-9]+)x([0-9]+)")
_ROW = re.compile("big/([a-z_]+)_taps_row([0-9]+)")
_FIRST = re.compile("big/([a-z_]+)_first_tap")


def produce(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    big = options.take("big")
    options.ignore("note", "pairs", "tolerance")
    options.none_left()
    produced: dict[str, np.ndarray] = {}
    for name in golden.outputs:
        if match := _MATRIX.fullmatch(name):
            kind, source, target = match.groups()
            produced[name] = resize_matrix(int(source), int(target), _kind(golden, name, kind))
        elif match := _IMAGE.fullmatch(name):
            what, kind, height, width = match.groups()
            to = (int(height), int(width))
            make = _bytes if what == "uint8" else _floats
            produced[name] = make(golden, to, _kind(golden, name, kind))
        elif match := _ROW.fullmatch(name):
            row = resize_matrix(*big, _kind(golden, name, match[1]))[int(match[2])]
            produced[name] = row[np.flatnonzero(row)]
        elif match := _FIRST.fullmatch(name):
            matrix = resize_matrix(*big, _kind(golden, name, match[1]))
            produced[name] = np.argmax(matrix[_rows_shown(golden, match[1])] != 0, axis=1)
    return produced


def _rows_shown(golden: Golden, kind: str) -> list[int]:
    rows = [_ROW.fullmatch(name) for name in golden.outputs]
    return sorted(int(match[2]) for match in rows if match and match[1] == kind)


def _kind(golden: Golden, name: str, kind: str) -> Resampling:
    if kind not in _KINDS:
        raise CannotRun(f"{golden.path}: outputs/{name} asks for an unknown kernel {kind!r}")
    return _KINDS[kind]


def _floats(golden: Golden, to: tuple[int, int], kind: Resampling) -> np.ndarray:
    images = jnp.asarray(golden.input("image").transpose(0, 2, 3, 1))
    return np.asarray(jax.vmap(lambda image: resize(image, to, kind))(images)).transpose(0, 3, 1, 2)


def _bytes(golden: Golden, to: tuple[int, int], kind: Resampling) -> np.ndarray:
    image = golden.input("image_uint8").transpose(1, 2, 0)
    return resize_bytes(image, to, kind).transpose(2, 0, 1)[None]
