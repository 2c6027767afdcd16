"""The Fréchet distance of two sets of features, from moments gathered in float64."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.models.inception import InceptionV3, Rule, inception_input
from laminate.types import Image


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
        self._combine(wide.shape[0], mean, (wide - mean).T @ (wide - mean))

    def merge(self, other: "FeatureMoments") -> None:
        """Take in what another host has gathered. Raises ValueError for features of another width."""
        if other._mean.shape != self._mean.shape:
            raise ValueError(f"FeatureMoments: cannot merge {other._mean.shape} into {self._mean.shape}.")
        if other._count:
            self._combine(other._count, other._mean, other._scatter)

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
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    return vectors * np.sqrt(np.maximum(values, 0.0))
