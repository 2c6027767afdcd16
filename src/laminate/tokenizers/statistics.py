"""Mean and variance of the latents, gathered over a data set and kept with the tokenizer."""

import numpy as np
from jaxtyping import Float


class RunningStatistics:
    """Streaming mean and population variance of every (latent, feature), on the host in float64.

    Batches are combined pairwise (Chan, Golub & LeVeque 1983), so the result depends neither on how the
    examples are cut into batches nor on a large mean, beyond float64 rounding:
    `mean' = mean + d b / n'`, `M2' = M2 + M2_b + d^2 n b / n'` with `d = mean_b - mean`, `n' = n + b`.
    """

    def __init__(self, latents: int, features: int) -> None:
        """Raises ValueError when a size is not positive."""
        if latents < 1 or features < 1:
            raise ValueError(f"RunningStatistics: sizes must be positive, got {latents} x {features}.")
        self._count = 0
        self._mean = np.zeros((latents, features), np.float64)
        self._squares = np.zeros((latents, features), np.float64)

    @staticmethod
    def of(
        count: int,
        mean: Float[np.ndarray, "latents latent_dim"],
        variance: Float[np.ndarray, "latents latent_dim"],
    ) -> "RunningStatistics":
        """What has seen `count` examples of this mean and population variance."""
        made = RunningStatistics(*mean.shape)
        made._combine(count, mean.astype(np.float64), variance.astype(np.float64) * count)
        return made

    @property
    def count(self) -> int:
        """The number of examples seen."""
        return self._count

    @property
    def mean(self) -> Float[np.ndarray, "latents latent_dim"]:
        """The mean, float64. Raises ValueError before the first example."""
        self._require_examples()
        return self._mean.copy()

    @property
    def variance(self) -> Float[np.ndarray, "latents latent_dim"]:
        """The population variance, float64, never negative. Raises ValueError before the first example."""
        self._require_examples()
        return self._squares / self._count

    def update(self, batch: Float[np.ndarray, "batch latents latent_dim"]) -> None:
        """Take in `batch`, of any floating dtype; leave padding rows out before.

        Raises:
            ValueError: the batch is not `[batch, latents, features]` of the sizes given at the start, or
                holds a number that is not finite.
        """
        if batch.ndim != 3 or batch.shape[1:] != self._mean.shape:
            raise ValueError(
                f"RunningStatistics: expected a batch of shape (any, {self._mean.shape[0]}, "
                f"{self._mean.shape[1]}), got {batch.shape}."
            )
        if not batch.shape[0]:
            return
        wide = batch.astype(np.float64)
        if not np.isfinite(wide).all():
            raise ValueError("RunningStatistics: the batch holds a NaN or an infinity; nothing was added.")
        self._combine(wide.shape[0], wide.mean(axis=0), np.square(wide - wide.mean(axis=0)).sum(axis=0))

    def merge(self, other: "RunningStatistics") -> None:
        """Take in what another host has gathered.

        Raises:
            ValueError: `other` is over latents of another shape.
        """
        if other._mean.shape != self._mean.shape:
            raise ValueError(f"RunningStatistics: cannot merge {other._mean.shape} into {self._mean.shape}.")
        if other._count:
            self._combine(other._count, other._mean, other._squares)

    def _combine(self, count: int, mean: np.ndarray, squares: np.ndarray) -> None:
        total = self._count + count
        difference = mean - self._mean
        self._mean = self._mean + difference * (count / total)
        self._squares = self._squares + squares + np.square(difference) * (self._count * count / total)
        self._count = total

    def _require_examples(self) -> None:
        if not self._count:
            raise ValueError("RunningStatistics: no example has been seen; call update first.")
