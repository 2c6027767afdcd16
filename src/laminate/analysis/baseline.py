"""What the same number of numbers gives without training: principal components of images, or of their patches."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

MOST_IMAGES = 1536  # that components of whole images are fitted on: their eigenvectors take a second or two
MOST_NUMBERS = 48_000_000  # of all of them together


class Components(NamedTuple):
    """A mean and orthonormal directions, the most important first."""

    mean: Float[np.ndarray, " numbers"]
    directions: Float[np.ndarray, "components numbers"]

    def rebuilt(self, rows: Float[np.ndarray, "rows numbers"]) -> Float[np.ndarray, "rows numbers"]:
        """What is left of `rows` in these directions."""
        return self.mean + ((rows - self.mean) @ self.directions.T) @ self.directions


def principal_components(rows: Float[np.ndarray, "rows numbers"], count: int) -> Components:
    """The first `count` principal components of `rows`; fewer where the rows span fewer directions.

    Of few long rows they come from the products of the rows with each other, which have the same eigenvalues.
    """
    mean = rows.mean(axis=0)
    centred = rows - mean
    if len(rows) < rows.shape[1]:
        values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
        kept = np.flatnonzero(values > max(float(values[-1]), 0.0) * 1e-6)[::-1][:count]
        directions = (vectors[:, kept] / np.sqrt(values[kept])).T.astype(np.float32) @ centred
    else:
        values, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        directions = vectors[:, ::-1][:, :count].T.astype(np.float32)
    return Components(mean, directions)


class Baseline(NamedTuple):
    """One way to spend as many numbers: in words, and what it makes of held-out features."""

    said: str
    rebuilt: Float[np.ndarray, "images patches dim"]


def baselines(
    known: Float[np.ndarray, "known patches dim"],
    features: Float[np.ndarray, "images patches dim"],
    numbers: int,
) -> list[Baseline]:
    """Principal components fitted on `known` features: `numbers` of the whole image, and as many in all of patches,
    each with the same share."""
    count, patches, dim = features.shape
    images = principal_components(known.reshape(len(known), -1), numbers)
    found = [
        Baseline(
            f"{len(images.directions):,} principal components of {len(known):,} training images",
            images.rebuilt(features.reshape(count, -1)).reshape(features.shape),
        )
    ]
    each = min(numbers // patches, dim)
    if each:
        parts = principal_components(known.reshape(-1, dim), each)
        rebuilt = parts.rebuilt(features.reshape(-1, dim)).reshape(features.shape)
        said = f"{each} principal components of each of {patches} patches, {each * patches:,} numbers in all"
        found.append(Baseline(said, rebuilt))
    return found


def explained(
    features: Float[np.ndarray, "images patches dim"], rebuilt: Float[np.ndarray, "images patches dim"]
) -> float:
    """R² as validation has it: over the squared deviation of each feature from its mean over images and patches."""
    flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
    deviation = float(np.sum(np.square(flat - flat.mean(axis=0))))
    error = float(np.sum(np.square(rebuilt.astype(np.float64) - features)))
    return 1.0 - error / deviation if deviation else float("nan")
