"""Centred kernel alignment: how alike two networks see the same images."""

import numpy as np
from jaxtyping import Float

Rows = Float[np.ndarray, "images dim"]
OtherRows = Float[np.ndarray, "others other_dim"]


def linear_cka(features: Rows, others: OtherRows) -> float:
    """`|Y^T X|^2 / (|X^T X| |Y^T Y|)` of centred features of the same images, in float64 (Kornblith et al. 2019).

    Between 0 and 1, and biased upwards where there are few images for the width of the features. NaN of features that
    do not vary.

    Raises ValueError for sets of different sizes.
    """
    x, y = _paired(features, others)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    across, own, other = (np.linalg.norm(a.T @ b) for a, b in ((y, x), (x, x), (y, y)))
    return float(across**2 / (own * other)) if own > 0 and other > 0 else float("nan")


def unbiased_cka(features: Rows, others: OtherRows) -> float:
    """The ratio of unbiased estimates `H(K, L) / sqrt(H(K, K) H(L, L))`, which may be negative.

    Raises ValueError for sets of different sizes, or fewer than four images.
    """
    k, l = _kernels(features, others)
    own = _unbiased(k, k) * _unbiased(l, l)
    return float(_unbiased(k, l) / np.sqrt(own)) if own > 0 else float("nan")


def unbiased_hsic(features: Rows, others: OtherRows) -> float:
    """The Hilbert-Schmidt independence criterion of linear kernels without bias (Song et al. 2012, eq. 5).

    Raises ValueError for sets of different sizes, or fewer than four images.
    """
    return _unbiased(*_kernels(features, others))


def _paired(features: Rows, others: OtherRows) -> tuple[np.ndarray, np.ndarray]:
    if len(features) != len(others) or not len(features):
        raise ValueError(
            f"Alignment compares two features of each image, got {len(features)} and {len(others)} of them."
        )
    return features.astype(np.float64), others.astype(np.float64)


def _kernels(features: Rows, others: OtherRows) -> tuple[np.ndarray, np.ndarray]:
    x, y = _paired(features, others)
    if len(x) < 4:
        raise ValueError(f"An unbiased alignment needs four images, got {len(x)}.")
    k, l = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0.0)
    np.fill_diagonal(l, 0.0)
    return k, l


def _unbiased(k: np.ndarray, l: np.ndarray) -> float:
    n = len(k)
    trace = (k * l).sum()
    product = k.sum() * l.sum() / ((n - 1) * (n - 2))
    mixed = 2.0 / (n - 2) * (k.sum(axis=0) @ l.sum(axis=1))
    return float((trace + product - mixed) / (n * (n - 3)))
