"""CMMD: the maximum mean discrepancy of directions, as it is measured on CLIP features."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.evals.distances import kernel_sum


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
    for each in (features, others):
        if not np.any(each, axis=1).all():
            raise ValueError("cmmd: a feature of length zero has no direction.")
    lost = _OfDirections(sigma)
    own, other = len(features), len(others)
    return scale * (
        kernel_sum(features, None, lost) / own**2
        + kernel_sum(others, None, lost) / other**2
        - 2.0 * kernel_sum(features, others, lost) / (own * other)
    )


@dataclass(frozen=True)
class _OfDirections:
    """`k - 1`, which is small, keeps the digits that the difference of the means needs; the ones cancel. Of a feature
    with itself it is zero."""

    sigma: float
    wide: bool = True

    def __call__(self, product: Array, squares: Array, other_squares: Array) -> Array:
        cosine = product * (1.0 / jnp.sqrt(squares)) * (1.0 / jnp.sqrt(other_squares))  # roots of rows alone
        return jnp.expm1(-jnp.maximum(2.0 - 2.0 * cosine, 0.0) / (2.0 * self.sigma**2))
