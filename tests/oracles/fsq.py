"""Finite scalar quantisation in float64, one number at a time, written from the equations."""

import itertools
import math


def bound(z: float, level: int, eps: float = 1e-3) -> float:
    half_l = (level - 1) * (1 - eps) / 2
    offset = 0.5 if level % 2 == 0 else 0.0
    return math.tanh(z + math.atan(offset / half_l)) * half_l - offset


def slope(z: float, level: int, eps: float = 1e-3) -> float:
    """The derivative of the code with respect to z, where rounding counts as the identity."""
    half_l = (level - 1) * (1 - eps) / 2
    offset = 0.5 if level % 2 == 0 else 0.0
    return (1 - math.tanh(z + math.atan(offset / half_l)) ** 2) * half_l / (level // 2)


def codebook(levels: tuple[int, ...]) -> list[tuple[float, ...]]:
    """Every code in the order of its index: the first channel counts fastest."""
    digits = itertools.product(*(range(level) for level in reversed(levels)))
    return [
        tuple((digit - level // 2) / (level // 2) for digit, level in zip(reversed(d), levels, strict=True))
        for d in digits
    ]
