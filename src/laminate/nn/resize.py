"""Resizing as two matrix products, with the sampling rules of the frameworks that published networks come from."""

from functools import lru_cache
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

Resampling = Literal["bilinear", "bilinear-antialias", "bicubic", "bicubic-antialias", "bilinear-corner"]
"""How an output pixel weighs input pixels, which are unit squares.

`bilinear`, `bicubic`: the two or four nearest pixels, those outside replaced by the border pixel; the cubic
has A = -0.75 (PyTorch's `interpolate`). `-antialias`: the kernel is stretched by the factor of shrinking and
what falls outside is left out; the cubic has A = -0.5 (Pillow, `antialias=True`, `jax.image.resize`).
`bilinear-corner`: output `i` reads position `i * source / target` (TensorFlow 1).
"""


def resize(
    image: Float[Array, "height width channels"], to: tuple[int, int], resampling: Resampling
) -> Float[Array, "new_height new_width channels"]:
    """`image` at `to` = (rows, columns), computed in float32, in the dtype of `image`; no value is clipped.

    An image that has the size already is returned as it is.
    """
    if image.shape[:2] == to:
        return image
    rows, columns = (
        jnp.asarray(resize_matrix(old, new, resampling), jnp.float32)
        for old, new in zip(image.shape[:2], to, strict=True)
    )
    wide = jnp.einsum("hy,yxc->hxc", rows, image.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)
    wide = jnp.einsum("wx,hxc->hwc", columns, wide, precision=jax.lax.Precision.HIGHEST)
    return wide.astype(image.dtype)


@lru_cache(maxsize=64)
def resize_matrix(source: int, target: int, resampling: Resampling) -> Float[np.ndarray, "target source"]:
    """The weights of one axis in float64; every row sums to one."""
    if source < 1 or target < 1:
        raise ValueError(f"Cannot resize {source} pixels to {target}: both must be at least 1.")
    if resampling == "bilinear-corner":
        centres = np.minimum(np.arange(target) * (source / target), source - 1)
    else:
        centres = (np.arange(target) + 0.5) * (source / target) - 0.5
    if resampling.endswith("-antialias"):
        matrix = _stretched(centres, source, target, resampling)
    else:
        matrix = _clamped(centres, source, cubic=resampling == "bicubic")
    matrix.setflags(write=False)
    return matrix


def resize_bytes(
    image: UInt8[np.ndarray, "height width channels"], to: tuple[int, int], resampling: Resampling
) -> UInt8[np.ndarray, "new_height new_width channels"]:
    """`image` resized in integers, bit for bit as PyTorch resizes uint8 images: columns, then rows.

    The weights are 16-bit fixed-point numbers with as many fraction bits as the largest of them allows, and every
    pass is rounded to bytes. Only the antialiased kinds exist in this arithmetic; others raise ValueError.
    """
    if not resampling.endswith("-antialias"):
        raise ValueError(f"Bytes are resized with an antialiased kernel, not with {resampling!r}.")
    wide = _pass_of_bytes(image, resize_matrix(image.shape[1], to[1], resampling), axis=1)
    return _pass_of_bytes(wide, resize_matrix(image.shape[0], to[0], resampling), axis=0)


def _pass_of_bytes(image: np.ndarray, matrix: np.ndarray, *, axis: int) -> np.ndarray:
    if matrix.shape[0] == matrix.shape[1]:
        return image
    bits = next(b for b in range(22) if int(0.5 + matrix.max() * 2 ** (b + 1)) >= 2**15)
    weights = np.trunc(matrix * 2**bits + np.where(matrix < 0, -0.5, 0.5)).astype(np.int64)
    total = np.tensordot(weights, image.astype(np.int64), axes=(1, axis)) + 2 ** (bits - 1)
    return np.moveaxis(np.clip(total >> bits, 0, 255), 0, axis).astype(np.uint8)


def _clamped(centres: np.ndarray, source: int, *, cubic: bool) -> np.ndarray:
    taps = np.arange(-1, 3) if cubic else np.arange(2)
    if not cubic:
        centres = np.clip(centres, 0, None)
    first = np.floor(centres).astype(int)
    places = first[:, None] + taps
    distances = centres[:, None] - places
    weights = _cubic(distances, -0.75) if cubic else _triangle(distances)
    matrix = np.zeros((len(centres), source))
    np.add.at(matrix, (np.arange(len(centres))[:, None], np.clip(places, 0, source - 1)), weights)
    return matrix


def _stretched(centres: np.ndarray, source: int, target: int, resampling: Resampling) -> np.ndarray:
    stretch = max(source / target, 1.0)
    distances = (np.arange(source)[None, :] - centres[:, None]) / stretch
    weights = _cubic(distances, -0.5) if resampling == "bicubic-antialias" else _triangle(distances)
    return weights / weights.sum(axis=1, keepdims=True)


def _triangle(distances: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - np.abs(distances), 0.0)


def _cubic(distances: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel (1981), zero beyond a distance of two."""
    d = np.abs(distances)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
