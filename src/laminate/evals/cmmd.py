"""CMMD: the maximum mean discrepancy of directions, as it is measured on CLIP features."""

import numpy as np
from jaxtyping import Float

from laminate.evals.distances import parts, squared_distances


def cmmd(
    features: Float[np.ndarray, "images dim"],
    others: Float[np.ndarray, "others dim"],
    *,
    sigma: float = 10.0,
    scale: float = 1000.0,
) -> float:
    """`scale (mean k(x, x) + mean k(y, y) - 2 mean k(x, y))` of features divided by their length, in float64
    (Jayasumana et al. 2024), with `k(a, b) = exp(-|a - b|^2 / (2 sigma^2))`.

    The means are over all pairs, a feature with itself included: biased upwards by about `scale (1 / n + 1 / m)` times
    the mean of `1 - k`.

    Raises ValueError for an empty set, or a feature of length zero, which has no direction.
    """
    if not len(features) or not len(others):
        raise ValueError(f"cmmd: both sets need a feature, got {len(features)} and {len(others)}.")
    x, y = _directions(features), _directions(others)
    return float(scale * (_mean(x, x, sigma) + _mean(y, y, sigma) - 2.0 * _mean(x, y, sigma)))


def _mean(x: np.ndarray, y: np.ndarray, sigma: float) -> float:
    # 1 - k, which is small, keeps the digits that the difference of the means needs; the ones cancel.
    lost = sum(np.expm1(-squared_distances(part, y) / (2.0 * sigma**2)).sum() for part in parts(x))
    return float(lost / (len(x) * len(y)))


def _directions(features: Float[np.ndarray, "images dim"]) -> Float[np.ndarray, "images dim"]:
    wide = features.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    if not (length > 0).all():
        raise ValueError("cmmd: a feature of length zero has no direction.")
    return wide / length
