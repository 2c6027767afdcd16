"""Weights that a golden file does not hold but describes: a seed, and a table of [key, shape, a, b]."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_WORD = 2**64 - 1


def draw(seed: int, table: Sequence[Sequence[Any]]) -> dict[str, np.ndarray]:
    """The arrays of `table`: element `i` of array `index` is `a + b (2u - 1)` with `u` in [0, 1) hashed from both."""
    return {key: _array(seed, index, tuple(shape), a, b) for index, (key, shape, a, b) in enumerate(table)}


def wrongly_drawn(drawn: Mapping[str, np.ndarray], first: Mapping[str, np.ndarray]) -> list[str]:
    """The keys whose first eight numbers are not those of `first` (names `<key>/first8`)."""
    return [
        name
        for name, values in first.items()
        if not np.array_equal(drawn[name.removesuffix("/first8")].reshape(-1)[:8], values)
    ]


def _array(seed: int, index: int, shape: tuple[int, ...], a: float, b: float) -> np.ndarray:
    """SplitMix64 of `seed * 2^48 + index * 2^32 + i`; the upper 24 bits are the uniform number."""
    start = np.uint64(((seed << 48) + (index << 32)) & _WORD)
    z = np.arange(int(np.prod(shape)), dtype=np.uint64) + start
    z = z * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    u = (z >> np.uint64(40)).astype(np.float64) / 2**24
    return (a + b * (2 * u - 1)).astype(np.float32).reshape(shape)
