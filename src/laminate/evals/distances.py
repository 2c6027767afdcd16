"""Distances between all features of two sets."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

ROWS = 4096
"""Features whose distances to all others are held at once."""


def squared_distances(
    x: Float[np.ndarray, "rows dim"], y: Float[np.ndarray, "columns dim"]
) -> Float[np.ndarray, "rows columns"]:
    """`|x_i - y_j|^2` in float64, never negative."""
    # Around a common centre, so that a large mean costs no digits.
    centre = x.astype(np.float64).mean(axis=0)
    x, y = x - centre, y - centre
    lengths = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)[None, :]
    return np.maximum(lengths - 2.0 * (x @ y.T), 0.0)


def parts(features: Float[np.ndarray, "features dim"]) -> Iterator[Float[np.ndarray, "_ dim"]]:
    """In rows, so that the distances between all features are never held at once."""
    return (features[start : start + ROWS] for start in range(0, len(features), ROWS))
