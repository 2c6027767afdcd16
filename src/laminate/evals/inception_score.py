"""The Inception score."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from laminate.evals.distances import parts

_ROWS = 64
"""Images whose logits are made wide at once: of a thousand classes they stay in the cache."""


class InceptionScore(NamedTuple):
    """Mean and population deviation over the splits."""

    mean: float
    std: float


def inception_score(
    logits: Float[np.ndarray, "images classes"],
    *,
    splits: int = 10,
    order: Int[np.ndarray, " images"] | None = None,
) -> InceptionScore:
    """`exp(E_x KL(p(y|x) || p(y)))` of each of `splits` consecutive parts, in float64 (Salimans et al. 2016), of the
    images as they come or in the `order` of such places.

    Between 1 and the number of classes. The usual logits are those of `models.inception` without the bias. A part
    needs many more images than there are classes for `p(y)` to be known.

    Raises ValueError for more splits than images, or none.
    """
    if not 1 <= splits <= len(logits):
        raise ValueError(f"inception_score: splits={splits} must be between 1 and the {len(logits)} images.")
    ends = [split * len(logits) // splits for split in range(splits + 1)]
    places = (slice(start, end) if order is None else order[start:end] for start, end in pairwise(ends))
    scores = [_score(logits[some]) for some in places]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def inception_scores(
    logits: Float[np.ndarray, "images classes"], *, size: int = 5000
) -> Float[np.ndarray, " splits"]:
    """The score of each `size` consecutive images, of which the last may be fewer (ADM's evaluator).

    Parts are taken in the order of the file, so that of samples sorted by class each part holds few classes, and the
    score is lower than that of the same samples in another order.

    Raises ValueError for a size below one, or no images.
    """
    if size < 1 or not len(logits):
        raise ValueError(
            f"inception_scores: size={size} must be at least 1, and there are {len(logits)} images."
        )
    return np.asarray([_score(part) for part in parts(logits, size)])


def _score(logits: Float[np.ndarray, "images classes"]) -> float:
    # E KL(p(y|x) || p(y)) is the entropy of p(y) less the mean one of p(y|x): one exponential of each number.
    of_all, entropies = np.zeros(logits.shape[1]), 0.0
    for part in parts(logits, _ROWS):
        wide = part.astype(np.float64)
        wide -= wide.max(axis=1, keepdims=True)
        p = np.exp(wide)
        total = p.sum(axis=1, keepdims=True)
        p /= total
        of_all += p.sum(axis=0)
        entropies += float(np.log(total).sum() - np.vdot(p, wide))
    of_all /= len(logits)
    # A class of probability zero adds nothing: its p log p is zero.
    entropy = -float(of_all @ np.log(np.where(of_all > 0, of_all, 1.0)))
    return float(np.exp(entropy - entropies / len(logits)))
