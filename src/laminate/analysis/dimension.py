"""How many dimensions a set of points has: by the spread of its covariance, and by the distances of neighbours."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from laminate.evals.neighbours import nearest

Points = Float[np.ndarray, "points dim"]


class Spectrum(NamedTuple):
    """Of the covariance: shares of its eigenvalues, falling, and the dimensions that they stand for."""

    explained: Float[np.ndarray, " components"]
    participation_ratio: float
    effective_rank: float

    def components(self, share: float) -> int:
        """The fewest components that explain at least `share` of the variance."""
        reached = np.flatnonzero(np.cumsum(self.explained) >= share)
        return int(reached[0]) + 1 if len(reached) else len(self.explained)


class TwoNn(NamedTuple):
    """By the ratio of the distances to the second and the first neighbour, of `points` that have no duplicate."""

    mle: float
    fit: float
    points: int


class NeighbourDimension(NamedTuple):
    """The inverse of the mean of the points' inverse dimensions, and the mean of their dimensions."""

    mackay_ghahramani: float
    levina_bickel: float


def spectrum(points: Points) -> Spectrum:
    """Shares `l / sum l` of the eigenvalues of the covariance (at most as many as points), in float64.

    `(sum l)^2 / sum l^2` is the participation ratio, `exp(-sum p log p)` the effective rank (Roy & Vetterli 2007). All
    of them grow with the number of points until there are many more of them than dimensions.

    Raises ValueError for fewer than two points, or points that are all the same.
    """
    _require(points, 2)
    wide = points.astype(np.float64)
    centred = wide - wide.mean(axis=0)
    # Of few long rows the products of the rows with each other have the same eigenvalues.
    square = centred @ centred.T if len(points) < points.shape[1] else centred.T @ centred
    values = np.maximum(np.linalg.eigvalsh(square)[::-1], 0.0)
    if not values.sum() > 0:
        raise ValueError("spectrum: all points are the same, and have no dimension.")
    share = values / values.sum()
    positive = share[share > 0]
    return Spectrum(
        share[: min(points.shape)],
        float(1.0 / np.square(share).sum()),
        float(np.exp(-(positive * np.log(positive)).sum())),
    )


def two_nn(points: Points, *, discarded: float = 0.1) -> TwoNn:
    """TwoNN (Facco et al. 2017): `m = r_2 / r_1` is Pareto of the dimension where the density is even over two
    neighbours.

    `mle` is `(N - 1) / sum log m`; `fit` the slope through the origin of `-log(1 - F)` on `log m`, without the share of
    the largest `m` that is `discarded`. Points with a duplicate are no points here, but stay neighbours of others. Of
    few points in many dimensions both are biased downwards.

    Raises ValueError for fewer than three points, or a share outside [0, 1).
    """
    _require(points, 3)
    if not 0.0 <= discarded < 1.0:
        raise ValueError(f"two_nn: discarded={discarded} is a share, in [0, 1).")
    near = neighbour_distances(points, 2)
    near = near[near[:, 0] > 0]
    ratio = np.sort(np.log(near[:, 1] / near[:, 0]))
    count = len(ratio)
    if not count or not ratio[-1] > 0:
        return TwoNn(float("nan"), float("nan"), count)
    kept = int(count * (1.0 - discarded))
    share = np.arange(1, kept + 1) / count
    x, y = ratio[:kept][share < 1.0], -np.log1p(-share[share < 1.0])
    across = float(x @ x)
    fit = float(x @ y) / across if across > 0 else float("nan")
    return TwoNn(float((count - 1) / ratio.sum()), fit, count)


def neighbour_dimension(points: Points, *, k: int) -> NeighbourDimension:
    """The maximum likelihood of Levina & Bickel (2004): a point's inverse dimension is the mean of `log(r_k / r_j)`
    over its `k - 1` nearer neighbours; its average is MacKay & Ghahramani's (2005).

    Raises ValueError for `k` below two or as many points, or duplicates among `k` neighbours.
    """
    if not 2 <= k < len(points):
        raise ValueError(f"neighbour_dimension: k={k} must be at least 2 and below the {len(points)} points.")
    near = neighbour_distances(points, k)
    if not near[:, 0].all():
        raise ValueError("neighbour_dimension: some points are duplicates, whose distance has no logarithm.")
    inverse = np.log(near[:, -1:] / near[:, :-1]).mean(axis=1)
    if not inverse.all():
        return NeighbourDimension(float(1.0 / inverse.mean()), float("inf"))
    return NeighbourDimension(float(1.0 / inverse.mean()), float((1.0 / inverse).mean()))


def neighbour_distances(points: Points, k: int) -> Float[np.ndarray, "points k"]:
    """Euclidean distances of each point to its `k` nearest other ones, rising, in float64; of duplicates, zero."""
    return np.sqrt(nearest(points, points, k, itself=True).values)


def _require(points: Points, least: int) -> None:
    if len(points) < least:
        raise ValueError(f"A dimension needs {least} points, got {len(points)}.")
    if not np.isfinite(points).all():
        raise ValueError("The points hold a NaN or an infinity.")
