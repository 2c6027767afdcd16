"""The Fréchet distance of two sets of features, from moments gathered in float64."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.evals.distances import parts
from laminate.models.inception import InceptionV3, Rule, inception_input
from laminate.types import Image

_ROUNDED = 1e-3
"""What float16 may leave of the largest eigenvalue of a covariance in place of zero."""
_ROWS = 4096
"""Features that are made wide at once."""


class FeatureMoments:
    """Streaming mean and covariance of features, on the host in float64.

    Batches are combined pairwise (Chan, Golub & LeVeque 1983), so the result depends neither on how the features are
    cut into batches nor on a large mean, beyond float64 rounding.
    """

    def __init__(self, dim: int) -> None:
        """Raises ValueError when `dim` is not positive."""
        if dim < 1:
            raise ValueError(f"FeatureMoments: dim must be at least 1, got {dim}.")
        self._count = 0
        self._mean = np.zeros(dim, np.float64)
        self._scatter = np.zeros((dim, dim), np.float64)

    @property
    def count(self) -> int:
        """The number of features seen."""
        return self._count

    @property
    def mean(self) -> Float[np.ndarray, " dim"]:
        """The mean. Raises ValueError before the first feature."""
        self._require(1)
        return self._mean.copy()

    @property
    def covariance(self) -> Float[np.ndarray, "dim dim"]:
        """The unbiased covariance, over `count - 1`. Raises ValueError before the second feature."""
        self._require(2)
        return self._scatter / (self._count - 1)

    def update(self, features: Float[np.ndarray, "batch dim"]) -> None:
        """Take in a batch of any floating dtype and size; leave padding rows out before.

        Raises ValueError for features of another width, or a number that is not finite.
        """
        if features.ndim != 2 or features.shape[1] != self._mean.shape[0]:
            raise ValueError(
                f"FeatureMoments: expected features of shape (any, {self._mean.shape[0]}), got {features.shape}."
            )
        if not features.shape[0]:
            return
        wide = features.astype(np.float64)
        if not np.isfinite(wide).all():
            raise ValueError("FeatureMoments: the batch holds a NaN or an infinity; nothing was added.")
        mean = wide.mean(axis=0)
        wide -= mean
        self._combine(wide.shape[0], mean, wide.T @ wide)

    def merge(self, other: "FeatureMoments") -> None:
        """Take in what another host has gathered. Raises ValueError for features of another width."""
        if other._mean.shape != self._mean.shape:
            raise ValueError(f"FeatureMoments: cannot merge {other._mean.shape} into {self._mean.shape}.")
        if other._count:
            self._combine(other._count, other._mean, other._scatter)

    @classmethod
    def of(cls, features: Float[np.ndarray, "images dim"]) -> "FeatureMoments":
        """Those of a set that is held whole, of which a part at a time is made wide."""
        made = cls(features.shape[1])
        for part in parts(features, _ROWS):
            made.update(part)
        return made

    @classmethod
    def known(
        cls, mean: Float[np.ndarray, " dim"], covariance: Float[np.ndarray, "rows columns"], count: int = 2
    ) -> "FeatureMoments":
        """Moments that a file holds, as if of `count` features.

        Raises ValueError for a covariance of another width, not symmetric to rounding, or with a number that is not
        finite, and for what is none: a direction in which it varies by less than nothing.
        """
        made = cls(len(mean))
        if covariance.shape != (len(mean), len(mean)):
            raise ValueError(
                f"FeatureMoments: a mean of {len(mean)} numbers and a covariance of shape {covariance.shape}."
            )
        wide = covariance.astype(np.float64)
        if not (np.isfinite(wide).all() and np.isfinite(mean).all()):
            raise ValueError("FeatureMoments: the moments hold a NaN or an infinity.")
        if np.abs(wide - wide.T).max(initial=0.0) > 1e-6 * np.abs(wide).max(initial=0.0):
            raise ValueError("FeatureMoments: the covariance is not symmetric.")
        values = np.linalg.eigvalsh(wide)
        if values[0] < -_ROUNDED * max(float(values[-1]), 0.0):
            raise ValueError(
                f"FeatureMoments: the covariance has the eigenvalue {values[0]:.3g}, and no variance is below zero."
            )
        made._count, made._mean = count, mean.astype(np.float64)
        made._scatter = (wide + wide.T) / 2.0 * (count - 1)
        return made

    def _combine(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        total = self._count + count
        difference = mean - self._mean
        self._mean = self._mean + difference * (count / total)
        between = np.outer(difference, difference) * (self._count * count / total)
        self._scatter = self._scatter + scatter + between
        self._count = total

    def _require(self, features: int) -> None:
        if self._count < features:
            raise ValueError(
                f"FeatureMoments: {self._count} features have been seen and {features} are needed; call update first."
            )


class FrechetCheck(NamedTuple):
    """A Fréchet distance by eigenvalues, and what says whether its covariances were fit for it.

    `M = C1^(1/2) C2 C1^(1/2)` of two covariances has no negative eigenvalues; of rounded files it may. Those are taken
    as zero: `clipped_mass` is the sum of what was cut off, `clipped_root_mass` that of the roots of it, the imaginary
    part that the trace of the root would have. Ranks are the eigenvalues of the covariances above rounding.
    """

    distance: float
    clipped_mass: float
    clipped_root_mass: float
    rank: int
    other_rank: int


def frechet_check(
    mean: Float[np.ndarray, " dim"],
    covariance: Float[np.ndarray, "dim dim"],
    other_mean: Float[np.ndarray, " dim"],
    other_covariance: Float[np.ndarray, "dim dim"],
) -> FrechetCheck:
    """`frechet_distance` from the eigenvalues of `M`, whose root is that of the first covariance.

    Traces are those of the covariances as given. Of singular covariances it has half the digits of `frechet_distance`.
    """
    half = _factor(covariance)
    # F^T C2 F has the eigenvalues of C1^(1/2) C2 C1^(1/2), which is this one in other axes.
    product = half.T @ other_covariance.astype(np.float64) @ half
    values = np.linalg.eigvalsh((product + product.T) / 2.0)
    below = np.maximum(-values, 0.0)
    root = np.sqrt(np.maximum(values, 0.0)).sum()
    apart = np.square(mean.astype(np.float64) - other_mean).sum()
    distance = apart + np.trace(covariance) + np.trace(other_covariance) - 2.0 * root
    ranks = (int(np.linalg.matrix_rank(c, hermitian=True)) for c in (covariance, other_covariance))
    return FrechetCheck(float(distance), float(below.sum()), float(np.sqrt(below).sum()), *ranks)


def few(features: Float[np.ndarray, "images dim"]) -> bool:
    """Whether these are no more than their dimensions: their covariance is singular."""
    return len(features) <= features.shape[1]


def fid_of_few(features: Float[np.ndarray, "images dim"], others: Float[np.ndarray, "others dim"]) -> float:
    """The Fréchet distance of two sets that are held whole.

    The centred features are factors of their covariances, so that of two sets that are `few` no matrix of `dim x dim`
    is ever made, and singular covariances lose no digits. Else it is the distance of their moments.

    Raises ValueError for sets of fewer than two features.
    """
    if min(len(features), len(others)) < 2:
        raise ValueError(f"fid_of_few: both sets need two features, got {len(features)} and {len(others)}.")
    if not (few(features) and few(others)):
        return fid(FeatureMoments.of(features), FeatureMoments.of(others))
    x, y = features.astype(np.float64), others.astype(np.float64)
    (a, mean), (b, other_mean) = (
        ((z - z.mean(axis=0)) / np.sqrt(len(z) - 1), z.mean(axis=0)) for z in (x, y)
    )
    # The singular values of a b^T are those of the product of any factors of both covariances.
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(np.square(mean - other_mean).sum() + np.square(a).sum() + np.square(b).sum() - 2.0 * root)


def frechet_spread(
    features: Float[np.ndarray, "images dim"],
    mean: Float[np.ndarray, " dim"],
    covariance: Float[np.ndarray, "dim dim"],
    *,
    resamples: int,
    seed: int,
) -> float:
    """The deviation of the Fréchet distance to these moments over bootstrap resamples of the features."""
    half, rng, found = _factor(covariance), np.random.default_rng(seed), np.empty(resamples)
    for place in range(resamples):
        rows = rng.integers(0, len(features), len(features))
        own = FeatureMoments(features.shape[1])
        for some in np.array_split(rows, -(-len(rows) // _ROWS)):
            own.update(features[some])
        values = np.linalg.eigvalsh(half.T @ own.covariance @ half)
        root = np.sqrt(np.maximum(values, 0.0)).sum()
        trace = np.trace(own.covariance) + np.trace(covariance)
        found[place] = np.square(own.mean - mean).sum() + trace - 2.0 * root
    return float(found.std())


def frechet_distance(
    mean: Float[np.ndarray, " dim"],
    covariance: Float[np.ndarray, "dim dim"],
    other_mean: Float[np.ndarray, " dim"],
    other_covariance: Float[np.ndarray, "dim dim"],
) -> float:
    """`|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))` of two Gaussians (Heusel et al. 2017; Dowson & Landau 1982).

    With `Ci = Fi Fi^T`, the trace of the root is the sum of the singular values of `F1^T F2`: no root of a matrix that
    is not symmetric is taken, and covariances of fewer features than dimensions need no jitter.
    """
    first, second = _factor(covariance), _factor(other_covariance)
    root = np.linalg.svd(first.T @ second, compute_uv=False).sum()
    apart = np.square(mean.astype(np.float64) - other_mean).sum()
    return float(apart + np.trace(covariance) + np.trace(other_covariance) - 2.0 * root)


def fid(features: FeatureMoments, others: FeatureMoments) -> float:
    """The Fréchet distance of two sets of features; of Inception features, the FID. Symmetric.

    With reconstructions as one set and their originals as the other it is the rFID.
    """
    return frechet_distance(features.mean, features.covariance, others.mean, others.covariance)


def fid_features(
    network: InceptionV3, image: Image, *, rule: Rule = "tensorflow"
) -> Float[Array, " features"]:
    """The 2048 Inception features that the FID is defined on, of an image in [0, 1] (beyond, it is clipped)."""
    return network(inception_input(jnp.clip(image, 0.0, 1.0), rule)).pool2048


def _factor(covariance: Float[np.ndarray, "dim dim"]) -> Float[np.ndarray, "dim dim"]:
    """`F` of `F F^T = covariance`, which may have eigenvalues a rounding below zero."""
    wide = covariance.astype(np.float64)
    try:
        return np.linalg.cholesky(wide)
    except np.linalg.LinAlgError:  # a direction in which nothing varies
        values, vectors = np.linalg.eigh(wide)
    return vectors * np.sqrt(np.maximum(values, 0.0))
