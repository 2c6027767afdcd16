"""The kernel Inception distance."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from laminate.evals.distances import kernel_sum

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
    """The unbiased squared maximum mean discrepancy of two sets (Gretton et al. 2012; Bińkowski et al. 2018):

    `mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_ij k(x_i, y_j)`,

    where `k` is `(x.y / dim + coef0)^degree` or, Gaussian, `exp(-|x - y|^2 / (2 sigma^2))`. Its mean over any subsets
    is the same, so that large sets may be measured in parts. It may be negative. Kernels and sums are float64;
    features of float32 are multiplied in float32, by tiles.

    Raises ValueError for sets of fewer than two features, or a degree below one.
    """
    if degree < 1:
        raise ValueError(f"kid: degree={degree} must be at least 1.")
    if min(len(features), len(others)) < 2:
        raise ValueError(f"kid: both sets need two features, got {len(features)} and {len(others)}.")
    own, other = len(features), len(others)
    k, centre = _Polynomial(features.shape[1], degree, coef0), None
    if kernel == "gaussian":
        k, centre = _Gaussian(sigma), features.mean(axis=0, dtype=np.float64)
    return (
        kernel_sum(features, None, k, centre) / (own * (own - 1))
        + kernel_sum(others, None, k, centre) / (other * (other - 1))
        - 2.0 * kernel_sum(features, others, k, centre) / (own * other)
    )


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


@dataclass(frozen=True)
class _Polynomial:
    dim: int
    degree: int
    coef0: float
    wide: bool = False

    def __call__(self, product: Array, squares: Array, other_squares: Array) -> Array:
        return (product / self.dim + self.coef0) ** self.degree


@dataclass(frozen=True)
class _Gaussian:
    sigma: float
    wide: bool = True

    def __call__(self, product: Array, squares: Array, other_squares: Array) -> Array:
        gaps = jnp.maximum(squares + other_squares - 2.0 * product, 0.0)
        return jnp.exp(-gaps / (2.0 * self.sigma**2))
