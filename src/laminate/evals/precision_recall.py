"""Precision and recall of generated images: how many are like real ones, and how many real ones are like them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from laminate.evals.neighbours import in_balls, nearest


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
    radii, real_radii = squared_radii(generated, k), squared_radii(real, k)
    precise, recalled = in_balls(generated, real, radii, real_radii)
    return PrecisionRecall(float(precise.mean()), float(recalled.mean()))


def squared_radii(features: Float[np.ndarray, "features dim"], k: int) -> Float[np.ndarray, " features"]:
    """The squared distance of every feature to its `k`-th nearest other one."""
    return nearest(features, features, k, itself=True).values[:, -1]
