"""The kernel Inception distance."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from laminate.evals.distances import squared_distances

KidKernel = Literal["polynomial", "gaussian"]


class Spread(NamedTuple):
    """Mean and population deviation over subsets."""

    mean: float
    std: float


def kid(
    features: Float[np.ndarray, "images dim"],
    others: Float[np.ndarray, "others dim"],
    *,
    kernel: KidKernel = "polynomial",
    sigma: float = 10.0,
    degree: int = 3,
    coef0: float = 1.0,
) -> float:
    """The unbiased squared maximum mean discrepancy of two sets, in float64 (Gretton et al. 2012; Bińkowski et al.
    2018):

    `mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_ij k(x_i, y_j)`,

    where `k` is `(x.y / dim + coef0)^degree` or, Gaussian, `exp(-|x - y|^2 / (2 sigma^2))`. Its mean over any subsets
    is the same, so that large sets may be measured in parts. It may be negative.

    Raises ValueError for sets of fewer than two features, or a degree below one.
    """
    if degree < 1:
        raise ValueError(f"kid: degree={degree} must be at least 1.")
    if min(len(features), len(others)) < 2:
        raise ValueError(f"kid: both sets need two features, got {len(features)} and {len(others)}.")
    x, y = features.astype(np.float64), others.astype(np.float64)
    k: Callable[[np.ndarray, np.ndarray], np.ndarray] = (
        partial(_polynomial, degree=degree, coef0=coef0)
        if kernel == "polynomial"
        else partial(_gaussian, sigma=sigma)
    )
    return float(_off_diagonal_mean(k(x, x)) + _off_diagonal_mean(k(y, y)) - 2.0 * k(x, y).mean())


def kid_of_subsets(
    features: Float[np.ndarray, "images dim"],
    others: Float[np.ndarray, "others dim"],
    rows: Int[np.ndarray, "subsets size"],
    other_rows: Int[np.ndarray, "subsets size"],
    *,
    degree: int = 3,
    coef0: float = 1.0,
) -> Spread:
    """Mean and deviation of the polynomial `kid` over given subsets of both sets.

    Raises ValueError for no subsets, or subsets of fewer than two.
    """
    if not len(rows) or len(rows) != len(other_rows):
        raise ValueError(f"kid_of_subsets: got {len(rows)} and {len(other_rows)} subsets of the two sets.")
    values = [
        kid(features[mine], others[theirs], degree=degree, coef0=coef0)
        for mine, theirs in zip(rows, other_rows, strict=True)
    ]
    return Spread(float(np.mean(values)), float(np.std(values)))


def draw_subsets(
    count: int, other_count: int, *, subsets: int, size: int, seed: int = 2020
) -> tuple[Int[np.ndarray, "subsets size"], Int[np.ndarray, "subsets size"]]:
    """Rows without repetition for `kid_of_subsets`, as torch-fidelity draws them of one seed.

    Raises ValueError for subsets larger than a set.
    """
    if not 2 <= size <= min(count, other_count):
        raise ValueError(
            f"draw_subsets: size={size} must be at least 2 and no more than the {count} and {other_count} features."
        )
    draws = np.random.RandomState(seed)
    drawn = [
        [draws.choice(many, size, replace=False) for many in (count, other_count)] for _ in range(subsets)
    ]
    mine, theirs = zip(*drawn, strict=True)
    return np.stack(mine), np.stack(theirs)


def _polynomial(x: np.ndarray, y: np.ndarray, *, degree: int, coef0: float) -> np.ndarray:
    base = x @ y.T / x.shape[1] + coef0
    powered = base
    for _ in range(degree - 1):  # much faster than a power
        powered = powered * base
    return powered


def _gaussian(x: np.ndarray, y: np.ndarray, *, sigma: float) -> np.ndarray:
    return np.exp(-squared_distances(x, y) / (2.0 * sigma**2))


def _off_diagonal_mean(k: np.ndarray) -> float:
    count = len(k)
    return float((k.sum() - np.trace(k)) / (count * (count - 1)))
