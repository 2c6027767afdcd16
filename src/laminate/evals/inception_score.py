"""The Inception score."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class InceptionScore(NamedTuple):
    """Mean and population deviation over the splits."""

    mean: float
    std: float


def inception_score(logits: Float[np.ndarray, "images classes"], *, splits: int = 10) -> InceptionScore:
    """`exp(E_x KL(p(y|x) || p(y)))` of each of `splits` consecutive parts, in float64 (Salimans et al. 2016).

    Between 1 and the number of classes. The usual logits are those of `models.inception` without the bias. A part
    needs many more images than there are classes for `p(y)` to be known.

    Raises ValueError for more splits than images, or none.
    """
    if not 1 <= splits <= len(logits):
        raise ValueError(f"inception_score: splits={splits} must be between 1 and the {len(logits)} images.")
    scores = _scores(logits, [split * len(logits) // splits for split in range(splits + 1)])
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
    return np.asarray(_scores(logits, [*range(0, len(logits), size), len(logits)]))


def _scores(logits: Float[np.ndarray, "images classes"], ends: Sequence[int]) -> list[float]:
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return [_score(log_p[start:end]) for start, end in pairwise(ends)]


def _score(log_p: Float[np.ndarray, "images classes"]) -> float:
    p = np.exp(log_p)
    of_all = p.mean(axis=0)
    # A class of probability zero adds nothing: its p log p is zero.
    log_of_all = np.log(np.where(of_all > 0, of_all, 1.0))
    return float(np.exp((p * (log_p - log_of_all)).sum(axis=1).mean()))
