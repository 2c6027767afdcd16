"""Distances between all features of two sets."""

import numpy as np
from jaxtyping import Float


def squared_distances(
    x: Float[np.ndarray, "rows dim"], y: Float[np.ndarray, "columns dim"]
) -> Float[np.ndarray, "rows columns"]:
    """`|x_i - y_j|^2` in float64, never negative."""
    # Around a common centre, so that a large mean costs no digits.
    centre = x.astype(np.float64).mean(axis=0)
    x, y = x - centre, y - centre
    lengths = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)[None, :]
    return np.maximum(lengths - 2.0 * (x @ y.T), 0.0)
