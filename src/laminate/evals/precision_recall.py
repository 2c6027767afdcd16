"""Precision and recall of generated images: how many are like real ones, and how many real ones are like them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from laminate.evals.distances import squared_distances

_ROWS = 4096


class PrecisionRecall(NamedTuple):
    """Two parts of one: of the generated features near real ones, and of the real ones near generated ones."""

    precision: float
    recall: float


def precision_recall(
    generated: Float[np.ndarray, "generated dim"], real: Float[np.ndarray, "real dim"], *, k: int = 3
) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019).

    A feature is near a set if it lies in the ball around one of the set's features that reaches to that feature's
    `k`-th nearest neighbour, not counting itself.

    Raises ValueError for sets of at most `k` features, or a `k` below one.
    """
    if not 1 <= k < min(len(generated), len(real)):
        raise ValueError(
            f"precision_recall: k={k} must be at least 1 and below the {len(generated)} and {len(real)} features."
        )
    return PrecisionRecall(float(_near(generated, real, k).mean()), float(_near(real, generated, k).mean()))


def _near(
    features: Float[np.ndarray, "features dim"], others: Float[np.ndarray, "others dim"], k: int
) -> Bool[np.ndarray, " features"]:
    radii = np.concatenate(
        # The smallest distance is that to itself.
        [np.partition(squared_distances(part, others), k, axis=1)[:, k] for part in _parts(others)]
    )
    return np.concatenate(
        [(squared_distances(part, others) <= radii[None, :]).any(axis=1) for part in _parts(features)]
    )


def _parts(features: Float[np.ndarray, "features dim"]) -> list[Float[np.ndarray, "_ dim"]]:
    """In rows, so that the distances between all features are never held at once."""
    return [features[start : start + _ROWS] for start in range(0, len(features), _ROWS)]
