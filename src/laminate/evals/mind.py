"""MIND: a sliced Wasserstein distance of features that needs few samples."""

import numpy as np
from jaxtyping import Float

from laminate.evals.distances import parts

_AT_ONCE, _ROWS = 128, 4096
"""Directions, and images whose features are made wide at once."""


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
    total = 0.0
    for some in parts(wide / np.linalg.norm(wide, axis=1, keepdims=True), _AT_ONCE):
        apart = _ranked(features, some)
        apart -= _ranked(others, some)
        total += float(np.square(apart, out=apart).sum())
    return 3.0 * features.shape[1] * total / (len(gaussians) * len(features))


def _ranked(
    features: Float[np.ndarray, "images dim"], directions: Float[np.ndarray, "directions dim"]
) -> Float[np.ndarray, "directions images"]:
    """The projections on each direction, rising."""
    found = np.empty((len(directions), len(features)))
    for place, part in enumerate(parts(features, _ROWS)):
        found[:, place * _ROWS : place * _ROWS + len(part)] = directions @ part.astype(np.float64).T
    found.sort(axis=1)
    return found


def draw_directions(dim: int, *, directions: int, seed: int) -> Float[np.ndarray, "directions dim"]:
    """Gaussians for `mind`."""
    return np.random.default_rng(seed).standard_normal((directions, dim))
