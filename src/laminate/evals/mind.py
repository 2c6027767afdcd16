"""MIND: a sliced Wasserstein distance of features that needs few samples."""

import numpy as np
from jaxtyping import Float


def mind(
    features: Float[np.ndarray, "images dim"],
    others: Float[np.ndarray, "others dim"],
    gaussians: Float[np.ndarray, "directions dim"],
) -> float:
    """`3 dim E_u E_rank (sort(x u) - sort(y u))^2` over directions `u = g / |g|`, in float64.

    The squared Wasserstein distance of the projections of two sets of equally many features, averaged over directions.

    Raises ValueError for sets of different sizes: leave out some of the larger one, drawn at random.
    """
    if len(features) != len(others) or not len(features):
        raise ValueError(
            f"mind: compares sets of equally many features, got {len(features)} and {len(others)}: draw as many of the "
            "larger one."
        )
    wide = gaussians.astype(np.float64)
    directions = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    x, y = (np.sort(each.astype(np.float64) @ directions.T, axis=0) for each in (features, others))
    return float(3.0 * features.shape[1] * np.square(x - y).mean())


def draw_directions(dim: int, *, directions: int, seed: int) -> Float[np.ndarray, "directions dim"]:
    """Gaussians for `mind`."""
    return np.random.default_rng(seed).standard_normal((directions, dim))
