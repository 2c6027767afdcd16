"""The labels of the nearest features."""

import numpy as np
from jaxtyping import Float, Int

NEIGHBOURS = 5
_ROWS = 256  # images that are compared at a time


def classify(
    queries: Float[np.ndarray, "queries numbers"],
    known: Float[np.ndarray, "images numbers"],
    labels: Int[np.ndarray, " images"],
    *,
    neighbours: int = NEIGHBOURS,
) -> tuple[Int[np.ndarray, " queries"], Float[np.ndarray, " queries"]]:
    """The label that most of the nearest `known` have (of equals the nearer), and the distance to the nearest."""
    found, nearest = np.empty(len(queries), labels.dtype), np.empty(len(queries), np.float32)
    squares = np.einsum("ij,ij->i", known, known)
    classes = int(labels.max()) + 1
    for start in range(0, len(queries), _ROWS):
        part = queries[start : start + _ROWS]
        gaps = np.einsum("ij,ij->i", part, part)[:, None] + squares - 2.0 * (part @ known.T)
        count = min(neighbours, len(known))
        order = np.argsort(gaps, axis=1)[:, :count]
        votes = np.zeros((len(part), classes))
        # A little more for the nearer one decides between classes of equally many neighbours.
        for place in range(count):
            votes[np.arange(len(part)), labels[order[:, place]]] += 1.0 + (count - place) / (10.0 * count**2)
        found[start : start + len(part)] = votes.argmax(1)
        nearest[start : start + len(part)] = np.sqrt(np.maximum(gaps[np.arange(len(part)), order[:, 0]], 0.0))
    return found, nearest
