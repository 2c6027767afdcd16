"""The Inception score."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from laminate.evals.distances import parts

_ROWS = 4096
"""Images whose logits are made wide at once."""


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
    of_all = sum(np.exp(_log_p(part)).sum(axis=0) for part in parts(logits, _ROWS)) / len(logits)
    # A class of probability zero adds nothing: its p log p is zero.
    log_of_all = np.log(np.where(of_all > 0, of_all, 1.0))
    divergence = sum(_divergence(_log_p(part), log_of_all) for part in parts(logits, _ROWS))
    return float(np.exp(divergence / len(logits)))


def _log_p(logits: Float[np.ndarray, "images classes"]) -> Float[np.ndarray, "images classes"]:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


def _divergence(
    log_p: Float[np.ndarray, "images classes"], log_of_all: Float[np.ndarray, " classes"]
) -> float:
    return float((np.exp(log_p) * (log_p - log_of_all)).sum())
