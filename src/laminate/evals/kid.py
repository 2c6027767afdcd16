"""The kernel Inception distance."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Float

from laminate.evals.distances import squared_distances

KidKernel = Literal["polynomial", "gaussian"]


def kid(
    features: Float[np.ndarray, "images dim"],
    others: Float[np.ndarray, "others dim"],
    *,
    kernel: KidKernel = "polynomial",
    sigma: float = 10.0,
) -> float:
    """The unbiased squared maximum mean discrepancy of two sets, in float64 (Gretton et al. 2012; Bińkowski et al.
    2018):

    `mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_ij k(x_i, y_j)`,

    where `k` is `(x.y / dim + 1)^3` or, Gaussian, `exp(-|x - y|^2 / (2 sigma^2))`. Its mean over any subsets is the
    same, so that large sets may be measured in parts. It may be negative.

    Raises ValueError for sets of fewer than two features.
    """
    if min(len(features), len(others)) < 2:
        raise ValueError(f"kid: both sets need two features, got {len(features)} and {len(others)}.")
    x, y = features.astype(np.float64), others.astype(np.float64)
    k: Callable[[np.ndarray, np.ndarray], np.ndarray] = (
        _polynomial if kernel == "polynomial" else partial(_gaussian, sigma=sigma)
    )
    return float(_off_diagonal_mean(k(x, x)) + _off_diagonal_mean(k(y, y)) - 2.0 * k(x, y).mean())


def _polynomial(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def _gaussian(x: np.ndarray, y: np.ndarray, *, sigma: float) -> np.ndarray:
    return np.exp(-squared_distances(x, y) / (2.0 * sigma**2))


def _off_diagonal_mean(k: np.ndarray) -> float:
    count = len(k)
    return float((k.sum() - np.trace(k)) / (count * (count - 1)))
